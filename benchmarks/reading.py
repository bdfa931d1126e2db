"""Opening large runs: cold, and when nothing or little is new; beside TensorBoard reading the same scalars.

One run with 1,000,000 scalars; one with 20,000 proposals, decisions and commands; one with 500 snapshots of
12 layers x N 1,024. TensorBoard reads event files with the same scalars: its Python reader (EventAccumulator)
and its fast data server. In one process; the three readers of scalars take turns, three times.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # noqa: F401 - as in the web process, which has it before it reads

from benchmarks.repetitions import alternating, ratio, spread

RECORDS, KEYS = 125_000, ("train/loss", "lr", "steps_per_s", "memory_mb", "train_s", "elapsed_s", "a", "b")
DECISIONS = 20_000
SNAPSHOTS, LAYERS, STATES = 500, 12, 1024
RUNS = 1_000
TIME = "2026-11-23T18:10:41.904Z"
Row = tuple[str, ...]


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HANKELBOARD_RUNS"] = folder
        return [
            ("what", "cold, s", "nothing new, ms", "one record more, ms", "ratio"),
            *measured(Path(folder)),
        ]


def measured(runs: Path) -> Iterator[Row]:
    yield from scalars(runs)
    yield from many_decisions(runs)
    yield from large_spectra(runs)


# A million scalars, and TensorBoard.


def scalars(runs: Path) -> Iterator[Row]:
    from hankelboard.app.charts import metric_tables
    from hankelboard.app.data import runs as data

    run, values = make_scalars(runs)
    write_event_file(runs / ".tensorboard", values)

    def first_chart() -> None:
        metric_tables.chart_table(run.name, "loss")

    def ours() -> float:
        data._caches.clear()
        return timed(first_chart)

    events = runs / ".tensorboard"
    found = alternating({
        "ours": ours,
        "TensorBoard EventAccumulator": lambda: timed(lambda: read_with_accumulator(events)),
        "TensorBoard fast data server": lambda: timed(lambda: read_with_data_server(events)),
    })  # fmt: skip
    assert data.cache_of(run.name).columns.lines("b", lambda record: True)[0].values[-1] == values[-1, -1]
    seconds = found.pop("ours")
    yield ("1,000,000 scalars to the first chart", spread(seconds, digits=2), *ticks(run, first_chart), "")
    for name, theirs in found.items():
        yield (f"  {name}", spread(theirs, digits=2), "", "", f"{ratio(theirs, seconds)} ours")


def make_scalars(runs: Path) -> tuple[Path, np.ndarray]:
    run = make_run(runs, "scalars")
    values = np.random.default_rng(0).random((RECORDS, len(KEYS))).round(6)
    with (run / "metrics.jsonl").open("w") as file:
        for step, row in enumerate(values.tolist()):
            file.write(json_line({"step": step, **dict(zip(KEYS, row, strict=True))}))
    return run, values


def write_event_file(folder: Path, values: np.ndarray) -> None:
    """The same scalars as event files, one event per step and value as SummaryWriter writes them."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    folder.mkdir()
    with (folder / "events.out.tfevents.1700000000.host").open("wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=1.7e9, file_version="brain.Event:2").SerializeToString())
        for step, row in enumerate(values.tolist()):
            for key, value in zip(KEYS, row, strict=True):
                summary = Summary(value=[Summary.Value(tag=key, simple_value=value)])
                writer.write(Event(wall_time=1.7e9 + step, step=step, summary=summary).SerializeToString())


def read_with_accumulator(folder: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    accumulator = EventAccumulator(str(folder), size_guidance={SCALARS: 0})
    accumulator.Reload()
    assert len(accumulator.Scalars("train/loss")) == RECORDS


def read_with_data_server(folder: Path) -> None:
    """Until the server that `tensorboard --load_fast` starts has the last step and gives 1,000 points."""
    from tensorboard import context
    from tensorboard.data import provider, server_ingester
    from tensorboard.util import grpc_util

    ingester = server_ingester.SubprocessServerDataIngester(
        server_binary=server_ingester.get_server_binary(),
        logdir=str(folder), reload_interval=5, samples_per_plugin={},
        channel_creds_type=grpc_util.ChannelCredsType.LOCAL,
    )  # fmt: skip
    ingester.start()
    ask = context.RequestContext()
    everything = provider.RunTagFilter(runs=None, tags=["train/loss"])
    while True:
        found = ingester.data_provider.read_scalars(
            ask, experiment_id="", plugin_name="scalars", downsample=1000, run_tag_filter=everything
        )
        points = [data[-1].step for tags in found.values() for data in tags.values() if data]
        if points and points[0] == RECORDS - 1:
            return
        time.sleep(0.01)


# Large runs.


def make_decisions(runs: Path) -> Path:
    run = make_run(runs, "decisions")
    proposal = json.dumps(PROPOSAL)
    with (run / "events.jsonl").open("w") as events:
        events.write(event("attempt_started", 0, state_dims=[64], policy="auto"))
        for number in range(1, DECISIONS + 1):
            step, name = number * 5, f"01M84SVQRP6JRY79AZ4{number:07d}"
            (run / "proposals" / f"{number:06d}.json").write_text(proposal)
            (run / "inbox" / f"{name}.json").write_text(json.dumps(COMMAND))
            told = {"proposal": number, "state_dims": [64], "ranks": [60]}
            events.write(event("proposal_published", step, attempt_step=step, **told))
            events.write(event("decision_accepted", step, proposal=number, verdict="reject", by="ada",
                               ranks=[60], apply_at_step=step))  # fmt: skip
            events.write(event("command_applied", step, command_id=name, command="pause"))
    return run


def many_decisions(runs: Path) -> Iterator[Row]:
    from hankelboard.app.charts import metric_tables
    from hankelboard.app.data import proposals
    from hankelboard.app.data import runs as data

    run = make_decisions(runs)

    def look() -> None:
        data.summary(run.name)
        proposals.proposals(run.name)
        data.commands(run.name)
        data.timeline(run.name)
        metric_tables.marks_table(run.name, "loss")

    cold = timed(look)
    more = event("paused", DECISIONS * 5 + 1)
    yield (
        "20,000 proposals, decisions, commands",
        f"{cold:.2f}",
        *ticks(run, look, "events.jsonl", more),
        "",
    )


def make_spectra(runs: Path) -> tuple[Path, np.ndarray]:
    run = make_run(runs, "spectra")
    (run / "events.jsonl").write_text(event("attempt_started", 0, state_dims=[STATES] * LAYERS))
    hsv = np.sort(np.random.default_rng(0).random((50, STATES)) ** 8)[:, ::-1]
    lines = [",".join(f"{value:.6g}" for value in row) for row in hsv]
    with (run / "spectra.jsonl").open("w") as file:
        for step in range(SNAPSHOTS):
            for layer in range(LAYERS):
                head = json_line({"step": step, "layer": layer, "importance": "hsv"})[:-2]
                file.write(f'{head},"hsv":[{lines[(step + layer) % 50]}]}}\n')
    return run, hsv


def large_spectra(runs: Path) -> Iterator[Row]:
    from hankelboard.app.charts import spectra_tables

    run, hsv = make_spectra(runs)

    def look() -> None:
        spectra_tables.tables(run.name, 0, SNAPSHOTS)

    cold = timed(look)
    more = json_line({"step": SNAPSHOTS, "layer": 0, "importance": "hsv", "hsv": hsv[0].tolist()})
    name = f"{SNAPSHOTS} snapshots of {LAYERS} layers x N {STATES:,}"
    yield (name, f"{cold:.2f}", *ticks(run, look, "spectra.jsonl", more), "")


def make_many(runs: Path, count: int = RUNS) -> Path:
    metrics = "".join(
        json_line({"step": 10 * i, "train/loss": 1 / (i + 1), "val/accuracy": i / 300}) for i in range(300)
    )
    best = {"metric": "val/accuracy", "value": 0.99, "step": 2990}
    for number in range(count):
        run = make_run(runs, f"many-{number:04d}")
        (run / "metrics.jsonl").write_text(metrics)
        (run / "events.jsonl").write_text(
            event("attempt_started", 0, state_dims=[64, 64]) + event("run_finished", 3000, best=best)
        )
    return run


# Making and measuring.


CONFIG = {"training": {"steps": 1000, "seed": 0}, "data": {"task": "digits"}, "model": {"family": "lru"}}
COMMAND = {"command": "pause", "by": "ada", "via": "browser", "t": TIME}
PROPOSAL = {"t": TIME, "step": 5, "branch": 0, "layers": [{"state_dim": 64}], "ranks": [60]}


def make_run(runs: Path, name: str) -> Path:
    run = runs / name
    for folder in ("proposals", "decisions", "inbox", "notes", "checkpoints"):
        (run / folder).mkdir(parents=True)
    record = {"format_version": 1, "t": TIME, "id": name, "name": name, "created": TIME, "config": CONFIG}
    (run / "run.json").write_text(json.dumps(record))
    return run


def json_line(values: dict[str, Any]) -> str:
    return json.dumps({"t": TIME, "branch": 0, "attempt": 0, **values}, separators=(",", ":")) + "\n"


def event(kind: str, step: int, **values: Any) -> str:
    return json_line({"kind": kind, "step": step, **values})


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def ticks(
    run: Path, look: Callable[[], object], file: str = "metrics.jsonl", more: str = ""
) -> tuple[str, str]:
    """Median milliseconds of a look when nothing is new, and after one more record."""
    from hankelboard.app.data import runs as data

    idle, busy = [], []
    more = more or json_line({"step": RECORDS + 1, "train/loss": 0.5})
    for _ in range(7):
        time.sleep(data.PATIENCE_S)
        idle.append(timed(look))
        with (run / file).open("a") as journal:
            journal.write(more)
        time.sleep(data.PATIENCE_S)
        busy.append(timed(look))
    return f"{statistics.median(idle) * 1e3:.1f}", f"{statistics.median(busy) * 1e3:.1f}"


if __name__ == "__main__":
    for row in rows():
        print(" | ".join(row), flush=True)
