"""What pages show beyond what events say: looked at again now and then, in the server, for who has it open.

A trainer dies without a word, one on another machine falls silent, an hour passes, an event of the file
system is lost. Pages need not ask for that: the server looks, and notifies those alone whose page would be
another one. A page that was drawn carries the number of what it showed.
"""

import contextlib
import threading

from hankelboard.app.data import compared_runs, installation, runs
from hankelboard.app.data.run_cache import Mark, RunRow, mark
from hankelboard.app.live.safety_scan import marks_of
from hankelboard.app.words import labels
from hankelboard.storage.errors import RunNotFound

EVERY_MS = 10_000
AGES = 200
"""Runs whose age is shown at a time: those of one page of the list."""


class Looks:
    """Numbers that rise whenever a run, or all runs (None), would be shown otherwise. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers: dict[str | None, tuple[int, object]] = {}

    def number(self, run_id: str | None) -> int:
        """Return the number of what is there to be shown now."""
        shown: object = None
        with contextlib.suppress(
            OSError
        ):  # a file server that does not answer now: that is another page, too
            shown = all_shown() if run_id is None else shown_of(run_id)
        with self._lock:
            number, before = self._numbers.get(run_id, (0, None))
            if shown != before:
                number += 1
                self._numbers[run_id] = number, shown
            return number


def all_shown() -> object:
    """Return what pages show of the list of runs, compared by its value."""
    rows, left_out = runs.rows_within(0.0)
    ages = [labels.age(row["created"]) for row in rows[:AGES]]
    return rows, left_out, ages, len(runs.workers()), installation.is_writable()


def shown_of(run_id: str) -> object:
    """Return what pages show of one run: its row, its files as they are marked, and its baseline's row."""
    try:
        paths, row = runs.paths_of(run_id), runs.summary(run_id)
    except RunNotFound:
        return None
    others = (paths.spectra, paths.checkpoints, paths.measurements, paths.analyses, paths.log)
    marks: list[Mark] = [*marks_of(paths), *map(mark, others)]
    return row, marks, _baseline(row), runs.worker_troubles(run_id), bool(runs.workers())


def _baseline(row: RunRow) -> RunRow | None:
    """Return the baseline that is drawn beside a run that was cut."""
    if row["state_dims"] == row["initial_state_dims"]:
        return None
    return compared_runs.baseline_of(row, runs.rows_within(0.0)[0])


looks = Looks()
"""Those of this process."""
