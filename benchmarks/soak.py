"""Claim: hours of open tabs and of training cost no more memory, descriptors and threads than minutes.

    python -m benchmarks.soak --minutes 120 --tabs 20 --csv docs/results/speed/soak.csv

A dashboard, workers that train small runs by policy one after the other, and tabs of one Chromium over all
pages; at each sample one of the tabs moves on to another page. Of the runs that ended the newest are kept, so
that what grows is no list of runs. Of web and workers are sampled: resident memory, open descriptors, sockets
among them, threads. Growth is the slope of a line through the samples after a warm-up.
"""

import argparse
import contextlib
import csv
import io
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from benchmarks.dashboard import Dashboard, chromium, dashboard
from hankelboard.app.pages import PAGES
from hankelboard.storage import atomic
from hankelboard.storage.errors import HankelboardError
from hankelboard.storage.figures import fixed
from hankelboard.storage.history import read_history
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.runs import list_runs
from hankelboard.storage.vocabulary import RunState

FIGURES = ("memory_mb", "descriptors", "sockets", "threads")
HEADS = ("seconds", "process", *FIGURES, "runs")
ENDED = (RunState.FINISHED, RunState.FAILED, RunState.STOPPED, RunState.CANCELLED)
SMALL = (
    "training.steps=600",
    "training.threads=1",
    "model.width=16",
    "model.state_dim=24",
    "reduction.steps=[150, 300]",
)
WAITING = 2
"""Runs that are always there for a worker that has nothing to do."""
Sample = Mapping[str, Any]


def main() -> None:
    options = arguments().parse_args()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder) / "runs", options)
        with soak.running():
            samples = soak.samples()
    if options.csv:
        atomic.replace_bytes(options.csv, csv_of(samples).encode())
    print(table(samples, 60 * options.warm_up))
    print(
        f"\n{soak.created} runs were queued, {soak.moves} times a tab moved on; "
        f"problems: {len(soak.problems)}"
    )
    print("\n".join(soak.problems[:20]))


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--warm-up", type=float, default=10.0, metavar="MINUTES", help="left out of the fit")
    parser.add_argument("--tabs", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--every", type=float, default=10.0, metavar="S", help="seconds between samples")
    parser.add_argument("--keep", type=int, default=30, metavar="N", help="runs that ended and stay there")
    parser.add_argument("--token-file", type=Path, help="with which tabs sign in; default: the server's own")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="every sample")
    return parser


@dataclass
class Soak:
    """Everything that is at work meanwhile, and what went wrong."""

    runs: Path
    options: argparse.Namespace
    created: int = 0
    moves: int = 0
    problems: list[str] = field(default_factory=list)
    processes: dict[str, int] = field(default_factory=dict)
    """Process ids by name."""
    tabs: list[Any] = field(default_factory=list)
    url: str = ""

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Web, workers and tabs, for as long as the block takes."""
        self.runs.mkdir()
        state = self.runs.with_name(f"{self.runs.name}-state")  # tickets that workers and command line share
        os.environ |= {"HANKELBOARD_RUNS": str(self.runs), "HANKELBOARD_STATE": str(state)}
        with dashboard(self.runs) as served, contextlib.ExitStack() as stack, chromium() as browser:
            self.url, self.processes["web"] = served.url, served.pid
            for number in range(1, self.options.workers + 1):
                self.processes[f"worker {number}"] = stack.enter_context(worker())
            self.feed()
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            context.set_default_timeout(60_000)
            sign_in(context, served, self.options.token_file)
            self.tabs = [context.new_page() for _ in range(self.options.tabs)]
            for tab, address in zip(self.tabs, self.addresses(), strict=False):
                self.go(tab, address)
            yield

    def samples(self) -> list[Sample]:
        """One sample of every process each few seconds, until the time is over."""
        taken: list[Sample] = []
        started, addresses = time.monotonic(), self.addresses()
        tabs = itertools.cycle(self.tabs)
        while (passed := time.monotonic() - started) < 60 * self.options.minutes:
            taken += [{"seconds": round(passed, 1), **row} for row in self.look()]
            self.feed()
            tab = next(tabs)
            self.go(tab, next(addresses))
            self.moves += 1
            left = self.options.every - (time.monotonic() - started - passed)
            tab.wait_for_timeout(1000 * max(0.1, left))  # so that the browser's messages are taken in
        return taken

    def look(self) -> list[dict[str, Any]]:
        count = len(list_runs(self.runs))
        rows = []
        for name, process in self.processes.items():
            try:
                rows.append({"process": name, **figures(process), "runs": count})
            except OSError:
                self.problems.append(f"{name} is gone")
        return rows

    def feed(self) -> None:
        """Queue what is wanting, and remove the oldest that ended."""
        ended = [paths for paths in list_runs(self.runs) if has_ended(paths)]
        for paths in ended[self.options.keep :]:
            shutil.rmtree(paths.root, ignore_errors=True)
        open_ = len(list_runs(self.runs)) - len(ended[: self.options.keep])
        for _ in range(self.options.workers + WAITING - open_):
            self.created += 1
            queue(self.created)

    def addresses(self) -> Iterator[str]:
        """Every page in turn, those of one run with the newest runs in turn; without end."""
        for number in itertools.count():
            row = PAGES[number % len(PAGES)]
            listed = list_runs(self.runs)[:10]
            run = f"?run={listed[number % len(listed)].run_id}" if row.of_one_run and listed else ""
            yield f"{self.url}/{'' if row.default else row.name}{run}"

    def go(self, tab: Any, address: str) -> None:
        """Open a page; what goes wrong is noted."""
        try:
            if tab.locator("[data-testid=stException]").count():
                self.problems.append(f"an exception on {tab.url}")
            tab.goto(address, wait_until="commit")
        except Exception as error:  # of playwright's many kinds
            self.problems.append(f"{address}: {str(error).splitlines()[0]}")


@contextlib.contextmanager
def worker() -> Iterator[int]:
    """A worker, for as long as the block takes: its process id."""
    command = [sys.executable, "-P", "-m", "hankelboard", "worker"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


def queue(number: int) -> None:
    keys = itertools.chain.from_iterable(("--set", key) for key in (*SMALL, f"training.seed={number}"))
    command = ["new", "--preset", "digits-lru", "--policy", "auto", "--name", f"soak {number}", *keys]
    subprocess.run([sys.executable, "-P", "-m", "hankelboard", *command], check=True, capture_output=True)


def has_ended(paths: RunPaths) -> bool:
    try:
        return read_history(paths).state in ENDED
    except (HankelboardError, OSError):
        return False


def sign_in(context: Any, served: Dashboard, token_file: Path | None) -> None:
    """Exchange a token, the owner's unless another is given, for the cookie of all tabs."""
    token = (token_file or served.token_file).read_text(encoding="utf-8").strip()
    context.request.get(f"{served.url}/?token={quote(token, safe='')}")


def figures(process: int) -> dict[str, float]:
    """Memory, descriptors, sockets among them and threads of a process. Raises OSError when it is gone."""
    root = Path(f"/proc/{process}")
    pages = int((root / "statm").read_bytes().split()[1])
    targets = [target for entry in os.listdir(root / "fd") if (target := link(root / "fd" / entry))]
    return {
        "memory_mb": round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 2),
        "descriptors": len(targets),
        "sockets": sum(target.startswith("socket:") for target in targets),
        "threads": len(os.listdir(root / "task")),
    }


def link(path: Path) -> str:
    """Where a descriptor leads; "" when it was closed meanwhile."""
    try:
        return str(path.readlink())
    except FileNotFoundError:
        return ""


def csv_of(samples: Sequence[Sample]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, HEADS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(samples)
    return text.getvalue()


def table(samples: Sequence[Sample], warm_up_s: float) -> str:
    """The samples after the warm-up in short, as Markdown: first and last, largest, and growth per hour."""
    lines = ["| process | figure | first | last | largest | growth per hour |", "|---|---|---|---|---|---|"]
    for process in dict.fromkeys(sample["process"] for sample in samples):
        rows = [sample for sample in samples if sample["process"] == process]
        rows = [sample for sample in rows if sample["seconds"] >= warm_up_s] or rows
        for figure in FIGURES:
            values = [sample[figure] for sample in rows]
            growth = growth_per_hour([sample["seconds"] for sample in rows], values)
            lines.append(
                f"| {process} | {figure.replace('_mb', ', MB')} "
                f"| {values[0]:g} | {values[-1]:g} | {max(values):g} | {growth} |"
            )
    return "\n".join(lines)


def growth_per_hour(seconds: Sequence[float], values: Sequence[float]) -> str:
    """The slope of the line of least squares, with twice its standard error."""
    if len(seconds) < 5:
        return "too few samples"
    hours = np.asarray(seconds) / 3600
    (slope, _), covariance = np.polyfit(hours, np.asarray(values, float), 1, cov=True)
    error = 2 * float(covariance[0, 0]) ** 0.5
    return f"{fixed(float(slope), 2, signed=True)} ± {fixed(error, 2)}"


if __name__ == "__main__":
    main()
