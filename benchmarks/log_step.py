"""Claim: logging a step of five scalars costs no more than `trackio.log`.

Our recorder, as the training loop calls it (a journal record that waits at most a second), and trackio into
its local store, as `trackio.init` sets it up but without its hardware monitors. 20,000 steps each in one
process, in turn, three times: microseconds that the caller waits per step, and of processor in all threads
until everything is written (trackio stores in a thread of its own).
"""

import contextlib
import io
import os
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from benchmarks.repetitions import Missing, alternating, ratio, spread

STEPS = 20_000
Row = tuple[str, ...]
Cost = tuple[float, float]


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        works = {"ours": ours(Path(folder) / "ours"), "trackio": trackio(Path(folder) / "theirs")}
        found = alternating(works)
    calls, cpu = ({name: [cost[i] for cost in costs] for name, costs in found.items()} for i in (0, 1))
    table: list[tuple[str, ...]] = [
        ("logger", "caller waits, µs per step", "ratio", "processor, µs per step", "ratio")
    ]
    for name, label in (("ours", "Hankelboard, recorder"), ("trackio", "trackio.log")):
        table.append((label, spread(calls[name]), ratio(calls[name], calls["ours"]), spread(cpu[name]),
                      ratio(cpu[name], cpu["ours"])))  # fmt: skip
    return table


def values(step: int) -> dict[str, float]:
    """Five scalars that differ from step to step."""
    return {
        "train/loss": 1 / (step + 1), "val/accuracy": step / STEPS, "lr": 1e-3 - step * 1e-8,
        "steps_per_s": 80 + step / 1000, "memory_mb": 410.5,
    }  # fmt: skip


def ours(folder: Path) -> Callable[[], Cost]:
    from hankelboard.storage.attempts import Fence
    from hankelboard.storage.layout import run_paths
    from hankelboard.storage.runs import create_run
    from hankelboard.trainer.compression.recorder import Recorder, StoodAt

    def measured() -> Cost:
        run = create_run(folder, name="log", config={"training": {}})
        recorder = Recorder(Fence(run_paths(folder, run.id), 0), total_steps=STEPS, tensorboard=False,
                            keep_log=False)  # fmt: skip

        position = StoodAt()
        recorder.follow(position)

        def log(step: int) -> None:
            position.state.step = step
            recorder.metrics(values(step))

        return cost(log, recorder.close)

    return measured


def trackio(folder: Path) -> Callable[[], Cost]:
    os.environ["TRACKIO_DIR"] = str(folder)
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        import trackio
    except ImportError:
        raise Missing(
            "trackio is not installed: run `.venv/bin/python -m pip install -c constraints.txt -e '.[bench]'`"
        ) from None
    numbers = count(1)

    def measured() -> Cost:
        with contextlib.redirect_stdout(io.StringIO()):
            trackio.init(project="bench", name=f"run-{next(numbers)}", auto_log_gpu=False, auto_log_cpu=False)
            return cost(lambda step: trackio.log(values(step), step=step), trackio.finish)

    return measured


def cost(log: Callable[[int], None], finish: Callable[[], None]) -> Cost:
    """Microseconds per step: those of the calls, and those of the processor until all is written."""
    wall, cpu = time.perf_counter(), time.process_time()
    for step in range(STEPS):
        log(step)
    waited = time.perf_counter() - wall
    finish()
    return 1e6 * waited / STEPS, 1e6 * (time.process_time() - cpu) / STEPS


if __name__ == "__main__":
    for row in rows():
        print(" | ".join(row), flush=True)
