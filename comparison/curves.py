"""Validation curves along four axes: steps, seconds of training, samples, seconds of the process."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hankelboard.storage.history import read_history
from hankelboard.storage.journal import metrics_reader
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.records import Record
from hankelboard.storage.scores import BITS_METRIC, PRIMARY_METRIC

METRICS = {
    PRIMARY_METRIC: "validation accuracy",
    "val/loss": "validation loss",
    BITS_METRIC: "validation bits per character",
}
GRID = 200


@dataclass(frozen=True)
class Axis:
    """What curves are drawn against."""

    title: str
    help: str


AXES = {
    "train_s": Axis(
        "training seconds",
        "Seconds spent training: validation, measuring and waiting excluded, those of the runs that a run "
        "builds on (of its first weights, of its teacher) included",
    ),
    "step": Axis("step", "Updates of the optimizer"),
    "samples": Axis("samples", "Steps times batch size"),
    "clock_s": Axis("process seconds", "Waiting and measuring included; gaps between processes are not"),
}


@dataclass(frozen=True)
class Curve:
    """One metric of one run on its live path. All arrays (points,); a NaN value is a gap."""

    step: np.ndarray
    train_s: np.ndarray
    clock_s: np.ndarray
    value: np.ndarray
    batch: int

    def after(self, seconds: float) -> "Curve":
        """Return the curve with all times later by the seconds of other runs that this one builds on."""
        return replace(self, train_s=self.train_s + seconds, clock_s=self.clock_s + seconds)

    def along(self, axis: str) -> np.ndarray:
        """Return where the points lie on one of AXES."""
        return self.step * self.batch if axis == "samples" else np.asarray(getattr(self, axis))

    @property
    def last(self) -> float | None:
        """The last finite value."""
        finite = self.value[np.isfinite(self.value)]
        return float(finite[-1]) if len(finite) else None

    def best_within(self, axis: str, end: float) -> float | None:
        """Return the largest value up to `end` on an axis."""
        values = self.value[self.along(axis) <= end]
        return float(np.nanmax(values)) if np.isfinite(values).any() else None


def curve_of(
    steps: np.ndarray, values: np.ndarray, time_steps: np.ndarray, train_s: np.ndarray,
    elapsed_s: np.ndarray, batch: int,
) -> Curve:  # fmt: skip
    """Return a curve from a metric (steps, values) and the times that records at `time_steps` carry."""
    if not len(steps) or not len(time_steps):
        nothing = np.zeros(0)
        return Curve(nothing, nothing, nothing, nothing, batch)
    place = np.searchsorted(time_steps, steps).clip(max=len(time_steps) - 1)
    return Curve(steps, train_s[place], running_clock(elapsed_s)[place], values, batch)


def running_clock(elapsed_s: np.ndarray) -> np.ndarray:
    """Return seconds of all processes so far, from seconds that begin at zero with each process."""
    restarts = np.diff(elapsed_s) < 0
    before = np.cumsum(np.where(restarts, elapsed_s[:-1], 0.0))
    return elapsed_s + np.concatenate([[0.0], before]) if len(elapsed_s) else elapsed_s


def read_curve(paths: RunPaths, metric: str, batch: int) -> Curve:
    """Return a run's curve from its journals."""
    history = read_history(paths)
    records = [record for record in metrics_reader(paths).read_new() if history.on_path(record)]
    records.sort(key=lambda record: int(record["step"]))
    measured = [record for record in records if metric in record]
    return curve_of(
        _column(measured, "step"), _column(measured, metric), _column(records, "step"),
        _column(records, "train_s"), _column(records, "elapsed_s"), batch,
    )  # fmt: skip


def _column(records: Iterable[Record], key: str) -> np.ndarray:
    values = (record.get(key) for record in records)
    return np.array([value if isinstance(value, int | float) else np.nan for value in values], np.float64)


@dataclass(frozen=True)
class Band:
    """Mean and sample standard deviation over seeds, on the stretch that all of them have."""

    at: np.ndarray
    mean: np.ndarray
    sd: np.ndarray


def band(curves: Sequence[Curve], axis: str) -> Band | None:
    """Return the band of two or more curves, linear between validations; None where they do not overlap."""
    finite = [_finite(curve.along(axis), curve.value) for curve in curves]
    drawn = [(at, values) for at, values in finite if len(at)]
    if len(drawn) < 2:
        return None
    start, end = max(at[0] for at, _ in drawn), min(at[-1] for at, _ in drawn)
    if end <= start:
        return None
    first = drawn[0][0]
    grid = first if all(np.array_equal(at, first) for at, _ in drawn) else np.linspace(start, end, GRID)
    values = np.stack([np.interp(grid, at, values) for at, values in drawn])
    return Band(grid, values.mean(axis=0), values.std(axis=0, ddof=1))


def _finite(at: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    finite = np.isfinite(at) & np.isfinite(values)
    return at[finite], values[finite]
