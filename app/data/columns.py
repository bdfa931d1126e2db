"""Growing columns of a run's metrics, and their reduction to what a chart can show.

A run's records come as pieces: one piece per (branch, attempt), in each of which the step only rises.
A chart shows the live path as one line and what was left behind (by a rollback, or trained again after
a crash) as faint lines of their own.
"""

import bisect
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from hankelboard.app.data import journal_tables
from hankelboard.storage.records import Record
from hankelboard.storage.schema import Best, Metrics, Place, Primary
from hankelboard.storage.shapes import hints_of, range_on
from hankelboard.storage.vocabulary import Better

NOT_METRICS = {"t", "step", "branch", "attempt"}
POINTS_PER_LINE = 400


class Piece:
    """One metric of one (branch, attempt): parallel columns that grow. A null is kept as NaN: it marks a gap.

    `steps` and `values` are views of what there is so far: no copy for a chart, whatever the run's length,
    and what comes later does not change them.
    """

    def __init__(self) -> None:
        self._steps, self._values = np.empty(16, np.int64), np.empty(16, np.float64)
        self._count = 0

    @property
    def steps(self) -> np.ndarray:
        return _view(self._steps, self._count)

    @property
    def values(self) -> np.ndarray:
        return _view(self._values, self._count)

    def extend(self, steps: np.ndarray, values: np.ndarray) -> None:
        """Append what goes on from the last step; what lies before it was trained twice and is left out."""
        if len(steps):
            before = self._steps[self._count - 1] if self._count else steps[0]
            rising = steps >= np.maximum(before, np.maximum.accumulate(steps))
            count = self._count + int(np.count_nonzero(rising))
            if count > len(self._steps):
                self._steps, self._values = (_room(old, 2 * count) for old in (self._steps, self._values))
            self._steps[self._count : count] = steps[rising]
            self._values[self._count : count] = values[rising]
            self._count = count


def _room(column: np.ndarray, length: int) -> np.ndarray:
    """Return a longer copy of the column; views of the old one stay as they are."""
    larger = np.empty(length, column.dtype)
    larger[: len(column)] = column
    return larger


def _view(column: np.ndarray, count: int) -> np.ndarray:
    view = column[:count]
    view.flags.writeable = False
    return view


@dataclass
class Line:
    """One polyline of a chart."""

    steps: np.ndarray  # (points,) int64, ascending
    values: np.ndarray  # (points,) float64, NaN = gap
    live: bool
    branch: int


class Columns:
    """All metrics of a run, appended record by record."""

    def __init__(self) -> None:
        self._pieces: dict[str, dict[tuple[int, int], Piece]] = {}

    def append(self, record: Record) -> None:
        """Take one metrics record in. Values that are neither number nor null are left out."""
        step, branch, attempt = record["step"], record["branch"], record["attempt"]
        for key, value in record.items():
            if key in NOT_METRICS or isinstance(value, bool) or not isinstance(value, int | float | None):
                continue
            piece = self._pieces.setdefault(key, {}).setdefault((branch, attempt), Piece())
            piece.extend(np.array([step]), np.array([np.nan if value is None else value], np.float64))

    def extend(self, table: pa.Table) -> bool:
        """Append the rows of a table; return False, and append nothing, when a row may not fit."""
        places = [journal_tables.whole_numbers(table, key) for key in ("step", "branch", "attempt")]
        steps, branches, attempts = places
        if steps is None or branches is None or attempts is None or not _fit(table):
            return False
        try:
            columns = {
                key: journal_tables.numbers(table, key)
                for key in table.column_names
                if key not in NOT_METRICS and journal_tables.is_numeric(table, key)
            }
        except ValueError:
            return False
        for pair in sorted(set(zip(branches.tolist(), attempts.tolist(), strict=True))):
            rows = (branches == pair[0]) & (attempts == pair[1])
            for key, (values, given) in columns.items():
                piece = self._pieces.setdefault(key, {}).setdefault(pair, Piece())
                piece.extend(steps[rows & given], values[rows & given])
        return True

    def metrics(self) -> list[str]:
        return list(self._pieces)

    def lines(self, key: str, on_path: Callable[[Place], bool]) -> list[Line]:
        """Return the live path of a metric as one line, and each piece that was left as another.

        Parameters
        ----------
        on_path : whether a place lies on the live path; within a piece true up to some step and false from
            there on (History.on_path)
        """
        live_steps, live_values, left = [], [], []
        for (branch, attempt), piece in sorted(self._pieces.get(key, {}).items()):
            steps, values = piece.steps, piece.values
            end = _first_off_path(steps, branch, attempt, on_path)
            if end:
                live_steps.append(steps[:end])
                live_values.append(values[:end])
            if end < len(steps):
                start = max(0, end - 1)  # joined to the last live point
                left.append(Line(steps[start:], values[start:], live=False, branch=branch))
        if not live_steps:
            return left
        steps, values = live_steps[0], live_values[0]
        if len(live_steps) > 1:
            steps, values = np.concatenate(live_steps), np.concatenate(live_values)
            order = np.argsort(steps, kind="stable")
            steps, values = steps[order], values[order]
        branch = max(branch for branch, _ in self._pieces[key])
        return [Line(steps, values, live=True, branch=branch), *left]

    def best(self, primary: Primary, on_path: Callable[[Place], bool]) -> Best | None:
        """Return the best value of a metric on the live path, with the first step that reached it."""
        key = primary["metric"]
        for line in self.lines(key, on_path):
            finite = np.flatnonzero(~np.isnan(line.values))
            if line.live and len(finite):
                values = line.values[finite]
                lower = primary["better"] == Better.LOWER
                best = int(finite[np.argmin(values) if lower else np.argmax(values)])
                return {"metric": key, "value": float(line.values[best]), "step": int(line.steps[best])}
        return None


_KEYS = hints_of(Metrics)


def _fit(table: pa.Table) -> bool:
    """Return whether what the format describes has its type in every row (storage.decoding decides else)."""
    known = [key for key in table.column_names if key in _KEYS and key != "t"]
    return all(_fits(table, key) for key in known)


def _fits(table: pa.Table, key: str) -> bool:
    if not journal_tables.is_numeric(table, key):
        return False
    allowed = range_on(_KEYS[key])
    if allowed is None:
        return True
    ends = pc.min_max(table.column(key)).as_py()  # null stands as a number far below
    return ends["min"] is None or bool(allowed.least <= ends["min"] and ends["max"] <= allowed.most)


def _first_off_path(steps: np.ndarray, branch: int, attempt: int, on_path: Callable[[Place], bool]) -> int:
    def off(step: int) -> bool:
        return not on_path({"step": int(step), "branch": branch, "attempt": attempt})

    return bisect.bisect_left(steps, True, key=off)


def decimate(
    steps: np.ndarray, values: np.ndarray, limit: int = POINTS_PER_LINE
) -> tuple[np.ndarray, np.ndarray]:
    """Return at most `limit` points: smallest and largest value of each bucket of equal length, and the gaps.

    No spike disappears, whatever the number of records. A bucket that holds a NaN keeps one, so that a gap
    stays a gap. The first and the last point are kept.
    """
    count = len(steps)
    if count <= limit:
        return steps, values
    holes = np.isnan(values)
    buckets = max(1, (limit - 2) // (3 if holes.any() else 2))
    size, longer = divmod(count, buckets)
    cut = longer * (size + 1)  # the first buckets hold one value more, so that all values are in one
    kept = [np.array([0, count - 1])]
    kept += _extremes(values[:cut].reshape(-1, size + 1), holes[:cut].reshape(-1, size + 1), 0)
    kept += _extremes(values[cut:].reshape(-1, size), holes[cut:].reshape(-1, size), cut)
    chosen = np.unique(np.concatenate(kept))
    return steps[chosen], values[chosen]


STRAIGHT = 1 / 2000
"""Share of a line's range that it may move when points are left out: a tenth of a pixel of a chart."""
_HALVINGS = 3


def needed(steps: np.ndarray, values: np.ndarray, kept: np.ndarray, *, stepped: bool = False) -> np.ndarray:
    """Return the places of points that a line needs: all but those on the line between their neighbours.

    Every second one is left out where that moves the line by at most STRAIGHT of its range, three times over.

    Parameters
    ----------
    steps, values : (points,) the line; NaN is a gap
    kept : (points,) bool, what is not left out in any case; gaps, their neighbours and both ends are not
    stepped : whether the line is drawn as steps, each at the value of the point before
    """
    finite = values[~np.isnan(values)]
    moves = STRAIGHT * float(np.ptp(finite)) if len(finite) else 0.0
    places = np.arange(len(values))
    for _ in range(_HALVINGS):
        inner = np.arange(1, len(places) - 1, 2)
        left, here, right = places[inner - 1], places[inner], places[inner + 1]
        share = 0.0 if stepped else (steps[here] - steps[left]) / np.maximum(1, steps[right] - steps[left])
        between = values[left] + share * (values[right] - values[left])
        straight = np.abs(values[here] - between) <= moves  # false next to a NaN
        places = np.delete(places, inner[straight & ~kept[here]])
    return places


def smoothed(values: np.ndarray, weight: float) -> np.ndarray:
    """Return the exponential moving average without the pull of its start; gaps stay gaps.

    `weight` in [0, 1) is that of the past, as in TensorBoard's slider.
    """
    averaged: np.ndarray = (
        pd.Series(values).ewm(alpha=1.0 - weight, ignore_na=True).mean().to_numpy(copy=True)
    )
    averaged[np.isnan(values)] = np.nan
    return averaged


def _extremes(buckets: np.ndarray, holes: np.ndarray, offset: int) -> list[np.ndarray]:
    """Return the places of the smallest and largest value of each bucket (a row), and of its first hole."""
    starts = offset + buckets.shape[1] * np.arange(len(buckets))
    if not holes.any():
        return [starts + buckets.argmin(axis=1), starts + buckets.argmax(axis=1)]
    with_hole = holes.any(axis=1)
    return [
        starts + np.where(holes, np.inf, buckets).argmin(axis=1),  # of nothing but holes: the first one
        starts + np.where(holes, -np.inf, buckets).argmax(axis=1),
        (starts + holes.argmax(axis=1))[with_hole],
    ]


def not_finite_steps(lines: Iterable[Line]) -> list[int]:
    """Return steps on the live path at which there is no finite value, the first of each stretch."""
    begins: list[int] = []
    for line in lines:
        if line.live:
            holes = np.isnan(line.values)
            starts = holes & ~np.concatenate([[False], holes[:-1]])
            begins += [int(step) for step in line.steps[starts]]
    return begins
