"""Claim: a compressed run costs less as a whole than the full one, its evidence and checkpoints included.

    python -m benchmarks.whole_runs                     # the suites on embedded data
    python -m benchmarks.whole_runs smnist-headline     # needs HANKELBOARD_DATA

Of each suite the full run, a compressed one and one from scratch at its dimensions, by the command line's own
trainer, each in a process of its own, in turns; whole processor time from opening the run to its last record,
one thread. What is spent outside updates is evaluation, spectra, checkpoints and, of the compressed run,
evidence.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.repetitions import ratio, spread
from hankelboard.comparison.cells import csv_text
from hankelboard.comparison.report import markdown_table
from hankelboard.settings.config import parse
from hankelboard.settings.suite import Suite, SuiteSeries, load_suite
from hankelboard.settings.toml import merge
from hankelboard.storage import atomic
from hankelboard.storage.figures import percent
from hankelboard.storage.history import read_history
from hankelboard.storage.layout import RunPaths, run_paths
from hankelboard.storage.runs import create_run

ROOT = Path(__file__).parent.parent
ARMS = {
    "digits-headline": ("full", "compressed .10", "scratch as .10"),
    "tones-headline": ("full", "compressed .10", "scratch as .10"),
    "mamba-cut": ("full", "compressed", "scratch as compressed"),
    "smnist-headline": ("full", "compressed .04", "scratch as .04"),
}
"""Of each suite: full, compressed, from scratch."""
SMNIST_STEPS = 20_000
"""As long as the preset; the suite trains half of it."""


@dataclass(frozen=True)
class Whole:
    """What one run cost and came to."""

    cpu: float
    """Processor seconds."""
    outside: float
    """Share of the clock's seconds that was spent outside updates."""
    states: list[int]
    test: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("suites", nargs="*", default=["digits-headline", "tones-headline", "mamba-cut"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="keys")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="every run")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(trained_here(options.one)))
        return
    rows: list[dict[str, object]] = []
    for name in options.suites:
        found = measure(load_suite(name), options.seeds, options.keys)
        rows += csv_rows(name, options.seeds, found)
        print(f"\n{name}\n\n{table(found)}", flush=True)
        if options.csv:
            atomic.replace_bytes(options.csv, csv_text(rows).encode())


def measure(suite: Suite, seeds: Sequence[int], keys: Sequence[str]) -> dict[str, list[Whole]]:
    """Return what each arm cost, by seed: the arms of a seed one after the other."""
    found: dict[str, list[Whole]] = {name: [] for name in ARMS[suite.name]}
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            for name, whole in of_seed(suite, seed, keys, Path(folder)):
                found[name].append(whole)
                print(f"{suite.name} {name} seed {seed}: {whole.cpu:.1f} s", file=sys.stderr, flush=True)
    return found


def of_seed(suite: Suite, seed: int, keys: Sequence[str], runs: Path) -> Iterator[tuple[str, Whole]]:
    run_of: dict[str, str] = {}
    for one in suite.series:
        if one.name in ARMS[suite.name]:
            paths = created(suite, one, seed, keys, run_of, runs)
            run_of[one.name] = paths.run_id
            yield one.name, whole(paths)


def created(
    suite: Suite, one: SuiteSeries, seed: int, keys: Sequence[str], run_of: dict[str, str], runs: Path
) -> RunPaths:
    tables = one.config(seed, run_of).as_dict()
    if suite.name == "smnist-headline":
        tables = merge(tables, {"training": {"steps": SMNIST_STEPS}})
    for key in keys:
        path, _, value = key.partition("=")
        section, _, name = path.partition(".")
        tables = merge(tables, {section: {name: json.loads(value)}})
    run = create_run(runs, name=one.name, config=parse(tables).as_dict(), seed=seed, role=one.role)
    return run_paths(runs, run.id)


def whole(paths: RunPaths) -> Whole:
    """Train a run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.whole_runs", "--one", str(paths.root)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    said = json.loads(done.stdout.splitlines()[-1])
    history = read_history(paths)
    test = history.finished["test"] if history.finished else None
    accuracy = (test or {}).get("accuracy")
    return Whole(said["cpu"], said["outside"], history.state_dims, math.nan if accuracy is None else accuracy)


def trained_here(folder: Path) -> dict[str, float]:
    """Train a run in this process; return its processor seconds and the share outside updates."""
    from hankelboard.storage.status import read_status
    from hankelboard.trainer.training.loop import train_run

    paths = run_paths(folder.parent, folder.name)
    started, cpu = time.perf_counter(), time.process_time()
    if train_run(paths) != "finished":
        raise SystemExit(f"{paths.run_id} did not finish")
    spent, used = time.perf_counter() - started, time.process_time() - cpu
    status = read_status(paths)
    return {"cpu": used, "outside": 1 - (status["train_s"] if status else 0.0) / spent}


def table(found: dict[str, list[Whole]]) -> str:
    full = [one.cpu for one in next(iter(found.values()))]
    rows = [
        {
            "run": name,
            "states": "; ".join("+".join(map(str, one.states)) for one in wholes),
            "processor s": spread([one.cpu for one in wholes]),
            "of the full run": ratio([one.cpu for one in wholes], full),
            "outside updates": spread([one.outside for one in wholes], 100, 1) + " %",
            "test": ", ".join(percent(one.test) for one in wholes),
        }
        for name, wholes in found.items()
    ]
    return markdown_table(rows)


def csv_rows(suite: str, seeds: Sequence[int], found: dict[str, list[Whole]]) -> list[dict[str, object]]:
    return [
        {
            "suite": suite, "arm": arm, "seed": seed, "cpu_s": round(one.cpu, 2),
            "outside_updates": round(one.outside, 4), "states": "+".join(map(str, one.states)),
            "test": round(one.test, 4),
        }
        for arm, wholes in found.items()
        for seed, one in zip(seeds, wholes, strict=True)
    ]  # fmt: skip


if __name__ == "__main__":
    main()
