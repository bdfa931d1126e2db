"""The safety net below the kernel's events: checks a bounded number of runs each round, in turn.

It notices what inotify misses: changes made by another machine on a network file system, lost events, a
limit of watches that was reached. Each round takes those that may change by themselves first, then the next
of the rest, so a round costs the same whether there are a hundred runs or ten thousand.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hankelboard.app.data.run_cache import Mark, mark
from hankelboard.app.data.run_list import RunList
from hankelboard.storage.layout import EVENTS, METRICS, RunPaths

LOOKS = 200
"""Runs that are looked at in one round: about 3 ms."""


@dataclass
class RoundResult:
    """What one round noticed."""

    changed: dict[str, float] = field(default_factory=dict)
    """Runs that changed, appeared or vanished, and when each was looked at before (0.0: never)."""
    first_seen: list[str] = field(default_factory=list)
    """Runs that were not looked at before: what happened to them until now is not known."""


class SafetyScan:
    """Marks of runs as they were when last looked at. For one thread."""

    def __init__(self, runs: Path, is_resting: Callable[[str], bool]):
        """Take `is_resting`, which returns whether a run is not expected to change by itself."""
        self._folder = runs
        self._is_resting = is_resting
        self._list = RunList()
        self._listed: dict[str, RunPaths] | None = None
        self._marks: dict[str, tuple[float, tuple[Mark, ...]]] = {}
        self._turns = [0, 0]

    def round(self, now: float, *, all_living: bool) -> RoundResult:
        """Look at the living runs (all of them, or some in turn) and at some of the others in turn."""
        result = RoundResult()
        listed = self._list.of(self._folder)
        self._notice_names(listed, result)
        for run_id in self._chosen(listed, all_living):
            self._look(run_id, listed[run_id], now, result)
        return result

    def _notice_names(self, listed: dict[str, RunPaths], result: RoundResult) -> None:
        if self._listed is not None and listed is not self._listed:
            for run_id in listed.keys() ^ self._listed.keys():
                result.changed[run_id] = 0.0
                self._marks.pop(run_id, None)
        self._listed = listed

    def _chosen(self, listed: dict[str, RunPaths], all_living: bool) -> list[str]:
        living = [run_id for run_id in listed if not self._is_resting(run_id)]
        others = [run_id for run_id in listed if self._is_resting(run_id)]
        if not all_living:
            living = self._next(living, LOOKS // 2, 0)
        return living + self._next(others, LOOKS - min(len(living), LOOKS // 2), 1)

    def _next(self, ids: Sequence[str], count: int, turn: int) -> list[str]:
        """Return the next `count` ids, cyclically."""
        if len(ids) <= count:
            return list(ids)
        start = self._turns[turn] % len(ids)
        self._turns[turn] = start + count
        return [*ids[start : start + count], *ids[: max(0, start + count - len(ids))]]

    def _look(self, run_id: str, paths: RunPaths, now: float, result: RoundResult) -> None:
        marks = marks_of(paths)
        before = self._marks.get(run_id)
        self._marks[run_id] = (now, marks)
        if before is None:
            result.first_seen.append(run_id)
        elif before[1] != marks:
            result.changed[run_id] = before[0]


def marks_of(paths: RunPaths) -> tuple[Mark, ...]:
    """Return marks of what changes while a run lives, and of what people create."""
    try:
        journals = paths.journals
    except OSError:  # its attempts cannot be listed: other runs are looked at all the same
        journals = paths.root
    return tuple(
        mark(path, is_root=path is paths.root)
        for path in (paths.root, paths.status, journals / EVENTS, journals / METRICS, paths.proposals,
                     paths.decisions, paths.inbox, paths.notes)
    )  # fmt: skip
