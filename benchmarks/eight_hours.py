"""Claim: the pages of a run that trained for eight hours open and follow it as those of a short one do.

Journals of 8 hours and of 6 minutes (`benchmarks.fast_forward`), a real dashboard, a real Chromium. Per page:
seconds until it is drawn, and the processor time of the web process for it; then, for each of five new
records, milliseconds from the write until the last message arrived (100 of them wait for the burst to end,
up to 500 for the page's turn), processor time, and kilobytes that travelled; and kilobytes for a heartbeat
alone, when no chart changed. 0: the page is not woken by it, and looks every 10 s. Last, kilobytes a second
while records come as fast as a trainer writes them, 5 a second and a spectrum every other second: charts are
drawn anew less often than that. The two runs take turns.
"""

import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.dashboard import Dashboard, Tab, chromium, dashboard
from benchmarks.fast_forward import LOG_EVERY, STEPS_PER_S, FastForward, make
from benchmarks.repetitions import REPETITIONS, spread
from hankelboard.app.pages import of_one_run

HOURS = {"8 hours": 8.0, "6 minutes": 0.1}
PAGES = (*(page.name for page in of_one_run()), "")
TICKS = 5
SETTLE_S = 2.0
WAIT_S = 2.0
STREAM_S = 15.0
Row = tuple[str, ...]


@dataclass
class Cost:
    """What one page of one run cost, each time it was opened and at each tick."""

    opened_s: list[float] = field(default_factory=list)
    opened_cpu_s: list[float] = field(default_factory=list)
    tick_s: list[float] = field(default_factory=list)
    tick_cpu_s: list[float] = field(default_factory=list)
    tick_bytes: list[int] = field(default_factory=list)
    beat_bytes: list[int] = field(default_factory=list)
    stream_bytes_per_s: float = 0.0


def rows() -> list[Row]:
    heads = (
        "page",
        "run",
        "open, s",
        "processor, ms",
        "tick, ms",
        "processor, ms",
        "kB",
        "kB, beat only",
        "kB/s",
    )
    table: list[Row] = [heads]
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: make(Path(folder), hours) for name, hours in HOURS.items()}
        with dashboard(Path(folder)) as served, chromium() as browser:
            for page in PAGES:
                for name, cost in measured(served, browser, page, runs).items():
                    table.append(row(page or "runs", name, cost))
    return table


def row(page: str, name: str, cost: Cost) -> Row:
    return (
        page, name, spread(cost.opened_s, digits=2), spread(cost.opened_cpu_s, 1e3, 0),
        spread(cost.tick_s, 1e3, 0), spread(cost.tick_cpu_s, 1e3, 0),
        f"{statistics.median(cost.tick_bytes) / 1e3:.1f}", f"{statistics.median(cost.beat_bytes) / 1e3:.1f}",
        f"{cost.stream_bytes_per_s / 1e3:.1f}",
    )  # fmt: skip


def measured(served: Dashboard, browser: Any, page: str, runs: dict[str, FastForward]) -> dict[str, Cost]:
    """The page opened three times on each run, in turn, and followed once."""
    costs = {name: Cost() for name in runs}
    for repetition in range(REPETITIONS):
        for name, run in runs.items():
            tab = Tab.of(browser, served)
            before = served.cpu_s()
            costs[name].opened_s.append(tab.open(f"{served.url}/{page}?run={run.paths.run_id}"))
            tab.page.wait_for_timeout(1e3 * SETTLE_S)
            costs[name].opened_cpu_s.append(served.cpu_s() - before)
            if repetition == REPETITIONS - 1:
                follow(served, tab, run, costs[name])
                costs[name].stream_bytes_per_s = stream(tab, run)
            tab.page.close()
    return costs


def follow(served: Dashboard, tab: Tab, run: FastForward, cost: Cost) -> None:
    """Records that come while the page is open, and heartbeats without one."""
    for _ in range(TICKS):
        before = served.cpu_s()
        seconds, size = tab.traffic(lambda: run.write(run.step + LOG_EVERY), WAIT_S)
        cost.tick_s.append(seconds)
        cost.tick_cpu_s.append(served.cpu_s() - before)
        cost.tick_bytes.append(size)
        time.sleep(0.5)
        cost.beat_bytes.append(tab.traffic(run.show, WAIT_S)[1])


def stream(tab: Tab, run: FastForward) -> float:
    """Bytes a second while a trainer writes at its usual pace."""
    started, before, first = time.perf_counter(), tab.received, run.step
    while (passed := time.perf_counter() - started) < STREAM_S:
        if run.step - first < passed * STEPS_PER_S:
            run.write(run.step + LOG_EVERY)
        tab.page.wait_for_timeout(20)
    return (tab.received - before) / STREAM_S


if __name__ == "__main__":
    for line in rows():
        print(" | ".join(line), flush=True)
