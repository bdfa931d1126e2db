"""A comparison in rows: figures of each series with its deltas, of each run, and what differs."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hankelboard.comparison.curves import Curve
from hankelboard.comparison.series import (
    ENOUGH,
    FIGURES,
    Difference,
    Final,
    Series,
    Spread,
    configuration_differences,
    differences_within,
    of_other_data,
)
from hankelboard.storage.figures import fixed, percent, points, seconds, significant
from hankelboard.storage.vocabulary import RunState

Row = dict[str, str]


def whole(value: float) -> str:
    return fixed(value, 0 if value == round(value) else 1)


def spread(of: Spread, written: Callable[[float], str]) -> str:
    """Return one or two values as they are; from three on mean ± sample standard deviation."""
    if of.n < ENOUGH or of.sd is None or of.mean is None:
        return " / ".join(map(written, of.values)) or "–"
    if of.sd == 0:
        return written(of.mean)
    mean, unit = written(of.mean), ""
    for suffix in (" %", " s"):
        if mean.endswith(suffix):
            mean, unit = mean.removesuffix(suffix), suffix
    return f"{mean} ± {written(of.sd).removesuffix(unit)}{unit}"


def difference(of: Difference) -> str:
    """Return the difference in points with its interval; without one the words that say why."""
    if of.mean is None:
        return "–"
    how = "paired" if of.paired else "not paired"
    if of.interval is None:
        return f"{points(of.mean)} (n = {of.n}, {how}: no claim)"
    if of.interval[0] == of.interval[1]:  # counts of a small test set: chance is not zero for that
        return f"{points(of.mean)} (n = {of.n}, {how}, equal in every seed: no interval)"
    low, high = map(points, of.interval)
    return f"{points(of.mean)} [{low}, {high}] (n = {of.n}, {how})"


def series_rows(series: Sequence[Series], baseline: Series | None, figure: str) -> list[Row]:
    """Return one row per series, in the order given: figures, and deltas to the baseline."""
    chained = any(run.prior_s for one in series for run in one.runs)
    texts = any(run.bits is not None for one in series for run in one.runs)
    return [_series_row(one, baseline, figure, chained, texts) for one in series]


def _series_row(one: Series, baseline: Series | None, figure: str, chained: bool, texts: bool) -> Row:
    is_baseline = one is baseline
    own, base = one.spread("train_s").mean, baseline.spread("train_s").mean if baseline else None
    delta = "baseline" if is_baseline else difference(one.minus(baseline, figure)) if baseline else "–"
    accuracies = {title: _of_seeds(one, name, percent) for name, title in FIGURES.items()}
    repeated = len(one.seeds) < len(one.runs)
    return {
        "series": one.label,
        "runs": f"{len(one.runs)} of {counted(len(one.seeds), 'seed')}" if repeated else str(len(one.runs)),
        "states": _of_seeds(one, "states", whole),
        FIGURES[figure]: accuracies.pop(FIGURES[figure]),
        f"Δ {FIGURES[figure]}, points": delta,
        "training": _of_seeds(one, "train_s", seconds),
        "training, × baseline": fixed(own / base, 2) if own is not None and base else "–",
        **({"with what it builds on": _of_seeds(one, "total_s", seconds)} if chained else {}),
        **({"test bits per character": _of_seeds(one, "bits", _bits)} if texts else {}),
        **accuracies,
        "role": one.role,
        "seeds": ", ".join(map(str, one.seeds)),
    }


def _bits(value: float) -> str:
    return fixed(value, 3)


def _of_seeds(one: Series, figure: str, written: Callable[[float], str]) -> str:
    """Return a figure of a series, with the number of seeds where not all of them have it."""
    known = one.spread(figure)
    return spread(known, written) + (f" (n = {known.n})" if 0 < known.n < len(one.seeds) else "")


def counted(number: int, word: str) -> str:
    """Return "1 run", "2 runs"."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def difference_rows(series: Sequence[Series]) -> list[Row]:
    """Return what differs in the configuration: a row per key, a column per series, the key first."""
    head = "key"
    while head in [one.label for one in series]:
        head += " "
    return [
        {head: key, **{one.label: cell(value) for one, value in zip(series, values, strict=True)}}
        for key, values in configuration_differences(series).items()
    ]


def cell(value: object) -> str:
    """Return a value of a configuration or a run as text."""
    if value is None:
        return "–"
    return significant(value) if isinstance(value, float) else str(value)


def run_rows(series: Sequence[Series]) -> list[dict[str, Any]]:
    """Return one row per run with plain numbers: what the CSV holds."""
    return [
        {"series": one.label, **{key: _flat(getattr(run, key)) for key in RUN_COLUMNS}}
        for one in series
        for run in one.runs
    ]


RUN_COLUMNS = ("run", "name", "role", "group", "preset", "family", "task", "seed", "state", "step",
               "total_steps", "states", "state_dims", "test", "last", "best", "best_step", "train_s",
               "prior_s", "waiting_s", "bits", "data")  # fmt: skip


def _flat(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list) else value


def budget_rows(series: Sequence[Series], curves: Mapping[str, Curve], axis: str, end: float) -> list[Row]:
    """Return best validation accuracy of each series within the same budget on an axis."""

    def best(run: Final) -> float | None:
        return curves[run.run].best_within(axis, end) if run.run in curves else None

    rows = []
    for one in series:
        values = Spread(values=list(one.over_seeds(best).values()))
        note = _beside_budget([curves[run.run].along(axis) for run in one.runs if run.run in curves], end)
        rows.append({"series": one.label, "seeds": str(values.n), "accuracy": spread(values, percent),
                     "note": note})  # fmt: skip
    return rows


def _beside_budget(places: Sequence[np.ndarray], end: float) -> str:
    """Return how many curves end before a budget, and how many begin after it: they build on other runs."""
    places = [at for at in places if len(at)]
    early = sum(float(at[-1]) < 0.999 * end for at in places)
    late = sum(float(at[0]) > end for at in places)
    notes = ((early, "end before"), (late, "begin after"))
    return ", ".join(f"{count} of {len(places)} {what}" for count, what in notes if count)


def budgets(curves: Mapping[str, Curve]) -> list[float]:
    """Return training seconds at which runs end, ascending: the first is a budget that all of them have."""
    ends = (float(curve.train_s[-1]) for curve in curves.values() if len(curve.value) > 1)
    return sorted(end for end in ends if math.isfinite(end))


def unfinished(series: Sequence[Series]) -> list[Final]:
    """Return runs whose figures will still change, or that ended early."""
    return [run for one in series for run in one.runs if run.state != RunState.FINISHED]


def mixtures(series: Sequence[Series]) -> list[str]:
    """Return a sentence for each series whose runs differ in more than their seed, or in their data."""
    labelled = ((one.label, differences_within(one)) for one in series)
    others = [
        f"{', '.join(labels)} learned from other data than {first}, with the same settings: they are apart, "
        "and no mean is of both."
        for first, labels in of_other_data(series).items()
    ]
    return others + [
        f"The runs of {label} differ in {', '.join(keys)}, too: their mean is of no one configuration."
        for label, keys in labelled
        if keys
    ]
