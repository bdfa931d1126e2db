"""Final figures of runs, seeds put together, and differences: paired where seeds match."""

import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import special

from hankelboard.storage.errors import ConfigError
from hankelboard.storage.references import REFERENCES
from hankelboard.storage.scores import PRIMARY_METRIC, bits
from hankelboard.storage.summary import SummaryRow
from hankelboard.storage.vocabulary import Role

ENOUGH = 3
"""Values from which on an interval is given; below, every value is shown and nothing is claimed."""
FIGURES = {
    "test": "test accuracy, last weights",
    "last": "last validation accuracy",
    "best": "best validation accuracy",
}
"""Which split and which "best" a figure means. All are of the live path."""


@dataclass(frozen=True, kw_only=True)
class Final:
    """One run as a comparison sees it. None is what is not known, or not yet."""

    run: str
    name: str
    role: str
    group: str
    preset: str
    seed: int
    state: str
    step: int
    total_steps: int
    state_dims: list[int]
    best: float | None
    """Best validation accuracy on the live path."""
    best_step: int | None
    last: float | None
    """Last validation accuracy on the live path."""
    test: float | None
    """Test accuracy of the last weights; measured once, at the end."""
    train_s: float | None
    waiting_s: float | None
    config: Mapping[str, Any]
    series: str = ""
    """Its series in a suite; empty outside of suites."""
    prior_s: float = 0.0
    """Seconds of training of the runs that it builds on: of its first weights, of its teacher."""
    bits: float | None = None
    """Bits per character on the test data, where these are a text."""
    data: str = ""
    """Stands for the data that it learned from; empty where that is not known."""
    family: str = ""
    task: str = ""
    """What was run, by its configuration: a preset may have been changed."""

    @property
    def total_s(self) -> float | None:
        """Seconds of training with those of the runs that it builds on."""
        return None if self.train_s is None else self.train_s + self.prior_s

    @property
    def states(self) -> int | None:
        """States of all layers together now."""
        return sum(self.state_dims) or None


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Values of one figure over the seeds of a series."""

    values: list[float]

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.values) if self.values else None

    @property
    def sd(self) -> float | None:
        """Sample standard deviation; None for fewer than two values."""
        return statistics.stdev(self.values) if self.n > 1 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the mean by Student's t; None below ENOUGH values."""
        if self.n < ENOUGH or self.mean is None or self.sd is None:
            return None
        half = student(self.n - 1) * self.sd / math.sqrt(self.n)
        return self.mean - half, self.mean + half


def student(freedom: float) -> float:
    """Return the two-sided 95 % quantile of Student's t."""
    return float(special.stdtrit(freedom, 0.975))


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A series minus the baseline in one figure."""

    mean: float | None
    interval: tuple[float, float] | None
    """95 %: of the paired differences, or Welch's where seeds do not match; None below ENOUGH values."""
    n: int
    """Pairs; unpaired the smaller number of seeds."""
    paired: bool


@dataclass(frozen=True, kw_only=True)
class Series:
    """Runs that differ in their seed alone."""

    key: str
    """What the runs have in common, as text: the same whatever else is compared."""
    label: str
    runs: list[Final]

    @property
    def role(self) -> str:
        return self.runs[0].role

    @property
    def seeds(self) -> list[int]:
        """Each once."""
        return list(dict.fromkeys(run.seed for run in self.runs))

    def by_seed(self, figure: str) -> dict[int, float]:
        """Return the known values of a figure by seed: test, last, best, train_s, states, …"""
        return self.over_seeds(lambda run: getattr(run, figure))

    def over_seeds(self, value_of: Callable[[Final], float | None]) -> dict[int, float]:
        """Return the known values of the runs, by seed.

        Runs of one seed count as one, with their mean: a repeated seed is no further draw.
        """
        values: dict[int, list[float]] = {}
        for run in self.runs:
            value = value_of(run)
            if value is not None and math.isfinite(value):
                values.setdefault(run.seed, []).append(float(value))
        return {seed: statistics.fmean(of_seed) for seed, of_seed in values.items()}

    def spread(self, figure: str) -> Spread:
        """Return the known values of a figure, one per seed."""
        return Spread(values=list(self.by_seed(figure).values()))

    def minus(self, baseline: "Series", figure: str) -> Difference:
        """Return the difference to the baseline in a figure.

        Paired by seed where at least two seeds match, or where neither has another.
        """
        mine, theirs = self.by_seed(figure), baseline.by_seed(figure)
        paired = [value - theirs[seed] for seed, value in mine.items() if seed in theirs]
        if len(paired) > 1 or len(paired) == len(mine) == len(theirs) == 1:
            spread = Spread(values=paired)
            return Difference(mean=spread.mean, interval=spread.interval, n=spread.n, paired=True)
        return _unpaired(self.spread(figure), baseline.spread(figure))


def _unpaired(mine: Spread, theirs: Spread) -> Difference:
    n = min(mine.n, theirs.n)
    mean = None if mine.mean is None or theirs.mean is None else mine.mean - theirs.mean
    if n < ENOUGH or mean is None or mine.sd is None or theirs.sd is None:
        return Difference(mean=mean, interval=None, n=n, paired=False)
    half = _welch(mine.sd**2 / mine.n, mine.n, theirs.sd**2 / theirs.n, theirs.n)
    return Difference(mean=mean, interval=(mean - half, mean + half), n=n, paired=False)


def _welch(mine: float, n: int, theirs: float, m: int) -> float:
    """Return half of Welch's 95 % interval from the squared standard errors of both means."""
    both = mine + theirs
    if both == 0:
        return 0.0
    freedom = both**2 / (mine**2 / (n - 1) + theirs**2 / (m - 1))
    return student(freedom) * math.sqrt(both)


def _named(config: Mapping[str, Any], section: str, key: str) -> str:
    part = config.get(section)
    return str(part.get(key, "")) if isinstance(part, Mapping) else ""


def final_of(row: SummaryRow, config: Mapping[str, Any], last: float | None) -> Final:
    """Return what a comparison needs of a run: its summary, configuration and last validation accuracy."""
    best, test = row["best"], row["test"]
    if best is not None and best["metric"] != PRIMARY_METRIC:
        best = None  # no accuracy
    return Final(
        run=row["run"],
        name=row["name"],
        role=row["role"],
        group=row["group"],
        preset=row["preset"],
        seed=row["seed"],
        state=row["state"],
        step=row["step"],
        total_steps=row["total_steps"],
        state_dims=row["state_dims"],
        best=best.get("value") if best else None,
        best_step=best.get("step") if best else None,
        last=last,
        test=test.get("accuracy") if test else None,
        train_s=row["train_s"],
        waiting_s=row["waiting_s"],
        config=config,
        series=row["series"],
        prior_s=row["prior_s"],
        bits=bits(test),
        data=row["data"],
        family=_named(config, "model", "family"),
        task=_named(config, "data", "task"),
    )


def series_of(finals: Iterable[Final]) -> list[Series]:
    """Return series: runs that differ in their seed alone, in order.

    A suite names the series, because the runs that they refer to differ by seed; elsewhere role, group and
    configuration decide. Runs that learned from other data are another series, whatever names it.
    """
    by_kind: dict[str, list[Final]] = {}
    for kind, runs in _by_kind(finals).items():
        known = list(dict.fromkeys(run.data for run in runs if run.data)) or [""]
        for run in runs:  # one of which it is not known goes with the first
            data = run.data or known[0]
            by_kind.setdefault(kind if data == known[0] else f"{kind} {data}", []).append(run)
    groups = [sorted(runs, key=lambda run: (run.seed, run.run)) for runs in by_kind.values()]
    labels = _labels(groups)
    return [
        Series(key=key, label=label, runs=runs)
        for key, label, runs in zip(by_kind, labels, groups, strict=True)
    ]


def _by_kind(finals: Iterable[Final]) -> dict[str, list[Final]]:
    by_kind: dict[str, list[Final]] = {}
    for final in finals:
        by_kind.setdefault(_kind(final), []).append(final)
    return by_kind


def of_other_data(series: Sequence[Series]) -> dict[str, list[str]]:
    """Return the labels of series that differ in their data alone, by that of the first of them."""
    kinds: dict[str, list[str]] = {}
    for one in series:
        kinds.setdefault(_kind(one.runs[0]), []).append(one.label)
    return {labels[0]: labels[1:] for labels in kinds.values() if len(labels) > 1}


NOT_OF_THE_KIND = ("seed", "device", "threads")


def _kind(final: Final) -> str:
    if final.series:
        return json.dumps([final.group, final.series])
    config = {section: dict(part) for section, part in final.config.items() if isinstance(part, dict)}
    for technical in NOT_OF_THE_KIND:
        config.get("training", {}).pop(technical, None)
    return json.dumps([final.role, final.group, config], sort_keys=True, default=str)


def _labels(groups: Sequence[Sequence[Final]]) -> list[str]:
    """Return a different name for each series: that of the series or run, with an id where two are equal."""
    names = [runs[0].series or runs[0].name for runs in groups]
    labels = [
        name if names.count(name) == 1 else f"{name} ({runs[0].run[-4:]})"
        for name, runs in zip(names, groups, strict=True)
    ]
    return [
        label if labels.count(label) == 1 else f"{label} ({runs[0].run})"
        for label, runs in zip(labels, groups, strict=True)
    ]


def baseline_of(series: Sequence[Series], run_id: str = "") -> Series | None:
    """Return the series that holds the run `run_id`; else the first whose role is baseline."""
    chosen = (one for one in series if any(run.run == run_id for run in one.runs))
    return next(chosen, next((one for one in series if one.role == Role.BASELINE), None))


def baseline_named(finals: Sequence[Final], name: str) -> str:
    """Return a run by the name of its series, its name or its id; ConfigError when there is none."""
    for final in finals:
        if name in (final.series, final.name, final.run):
            return final.run
    names = ", ".join(dict.fromkeys(final.series or final.name for final in finals)) or "none"
    raise ConfigError(f"baseline {name!r} is no run or series of this comparison; there are {names}")


def configuration_differences(series: Sequence[Series]) -> dict[str, list[Any]]:
    """Return configuration keys that differ between series, with the value of each; seeds aside.

    A key that names a run shows the series of that run when it is compared, too.
    """
    names = {run.run: one.label for one in series for run in one.runs}
    return _differing([_flat(one.runs[0].config, names) for one in series])


def differences_within(one: Series) -> list[str]:
    """Return the configuration keys in which runs of a series differ, beside their seed and other runs.

    Such runs are of two versions of a suite, and their mean is of neither.
    """
    differing = _differing([_flat(run.config, {}) for run in one.runs])
    return [key for key in differing if key not in REFERENCES]


def _differing(flat: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    keys = dict.fromkeys(key for one in flat for key in one)
    values_of = {key: [one.get(key) for one in flat] for key in keys}
    technical = {f"training.{key}" for key in NOT_OF_THE_KIND}
    return {
        key: values
        for key, values in values_of.items()
        if key not in technical and any(value != values[0] for value in values)
    }


def _flat(config: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {
        f"{section}.{key}": names.get(value, value) if f"{section}.{key}" in REFERENCES else value
        for section, part in config.items()
        for key, value in (part.items() if isinstance(part, dict) else [])
    }


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the places of points that no other beats: smaller first, larger second coordinate is better.

    >>> pareto([(1, 0.5), (2, 0.9), (3, 0.8), (1, 0.4)])
    [0, 1]
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    front: list[int] = []
    for i in order:
        if not front or points[i][1] > points[front[-1]][1]:
            front.append(i)
    return front
