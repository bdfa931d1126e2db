"""Claim: a tick of the list with nothing new costs 50 times less processor than looking at every run again.

The list of 1,000 and of 10,000 runs as pages ask for it: read for the first time; asked again with every run
looked at (what it is without a watch); and, with a watch that reports, asked again when nothing changed and
when one run did. Besides, one round of the scan that finds what no event tells of: it happens every 3 s
whoever looks. Processor time, milliseconds, in turn in one process; cold in a new process each.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import reading
from benchmarks.repetitions import REPETITIONS, alternating, ratio, spread

SIZES = (1_000, 10_000)
TICKS = 20
Row = tuple[str, ...]


def rows() -> list[Row]:
    table: list[Row] = [
        ("runs", "cold", "full rescan", "nothing new", "rescan : nothing", "one run changed", "scan round")
    ]
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            reading.make_many(Path(folder), size)
            table.append(measured(Path(folder), size))
    return table


def measured(folder: Path, size: int) -> Row:
    os.environ["HANKELBOARD_RUNS"] = str(folder)
    time.sleep(2.5)  # a folder that was just written to is listed anew each time
    cold = [in_new_process(folder) for _ in range(REPETITIONS)]
    works = ticks(folder)
    for work in works.values():  # once before it counts: the first look, and the runs that are not known yet
        work()
    found = alternating(works)
    milliseconds = {name: spread(values, 1e3, 3) for name, values in found.items()}
    return (f"{size:,}", spread(cold, 1e3, 0), milliseconds["rescan"], milliseconds["nothing"],
            ratio(found["rescan"], found["nothing"]), milliseconds["one"], milliseconds["round"])  # fmt: skip


def in_new_process(folder: Path) -> float:
    """Seconds of processor until all rows are there, imports not counted."""
    code = (
        "import time; from hankelboard.app import data; began = time.process_time(); data.summaries(); "
        "print(time.process_time() - began)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parent.parent, env={**os.environ, "HANKELBOARD_RUNS": str(folder)},
    )  # fmt: skip
    return float(done.stdout)


def ticks(folder: Path) -> dict[str, Callable[[], float]]:
    """Seconds of processor of one tick of each kind."""
    from hankelboard.app.data import runs
    from hankelboard.app.live.safety_scan import SafetyScan

    index = runs.index
    scan = SafetyScan(folder, index.is_resting)
    some_run = runs.run_ids()[-1]

    def rescan() -> None:
        index.changed_all()
        runs.summaries()

    def one_changed() -> None:
        index.changed(some_run)
        runs.summaries()

    def look_around() -> None:
        scan.round(time.monotonic(), all_living=False)

    return {
        "rescan": lambda: cpu_of(rescan, 1),
        "nothing": lambda: cpu_of(runs.summaries, TICKS),
        "one": lambda: cpu_of(one_changed, TICKS),
        "round": lambda: cpu_of(look_around, TICKS),
    }


def cpu_of(tick: Callable[[], object], times: int) -> float:
    from hankelboard.app.data import runs

    runs.index.watched()
    began = time.process_time()
    for _ in range(times):
        tick()
    return (time.process_time() - began) / times


if __name__ == "__main__":
    for row in rows():
        print(" | ".join(row), flush=True)
