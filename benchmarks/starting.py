"""What it costs to start: `hankelboard --help`, `runs` and `show`, as multiples of an empty Python.

Each command is a new process; the folders hold no run and 20 small ones. Processes take turns. Processor
time is that of the process and its children: on a busy machine its ratio is the one to compare.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.repetitions import Spent, alternating, ratio, spread
from hankelboard.settings.preset import find_preset
from hankelboard.storage.runs import create_run

HANKELBOARD = (sys.executable, "-P", "-m", "hankelboard")
NOTHING = (sys.executable, "-c", "pass")
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
"""Bytecode is written, as in an installation."""
REPETITIONS = 9
RUNS = 20
Row = tuple[str, ...]


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        empty, full = Path(folder) / "empty", Path(folder) / "full"
        empty.mkdir()
        config = find_preset("digits-lru").config.as_dict()
        for number in range(RUNS):
            run = create_run(full, name=f"run {number}", config=config, preset="digits-lru").id
        commands = {
            "python -c pass": NOTHING,
            "hankelboard --help": (*HANKELBOARD, "--help"),
            "hankelboard runs, no run": (*HANKELBOARD, "runs", "--runs-dir", str(empty)),
            f"hankelboard runs, {RUNS} runs": (*HANKELBOARD, "runs", "--runs-dir", str(full)),
            "hankelboard show": (*HANKELBOARD, "show", run, "--runs-dir", str(full)),
        }
        works = {label: partial(process, command) for label, command in commands.items()}
        alternating(works, 1)  # files are read from the disk once, bytecode is written
        found = alternating(works, REPETITIONS)
    wall = {label: [one.wall for one in spent] for label, spent in found.items()}
    cpu = {label: [one.cpu for one in spent] for label, spent in found.items()}
    nothing = next(iter(commands))
    table: list[Row] = [("command", "clock, ms", "× empty", "processor, ms", "× empty")]
    for label in commands:
        table.append((label, spread(wall[label], 1e3), ratio(wall[label], wall[nothing]),
                      spread(cpu[label], 1e3), ratio(cpu[label], cpu[nothing])))  # fmt: skip
    return table


def process(command: Sequence[str]) -> Spent:
    """Clock and processor time of one process, from its start to its end."""
    before, started = children_s(), time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=ENVIRONMENT)
    return Spent(time.perf_counter() - started, children_s() - before)


def children_s() -> float:
    """Seconds of processor of all child processes that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    for row in rows():
        print(" | ".join(row), flush=True)
