"""Charts of an analysis: regret of an early selection, and what changed between snapshots."""

from functools import cache, partial

import altair as alt
import pyarrow as pa

from hankelboard.app.charts.parts import LEGEND, STEPS, ZOOM, kinds, log_y
from hankelboard.comparison import colors
from hankelboard.comparison.specification import Spec, specification, table, tooltip
from hankelboard.storage.schema import AnalysedLayer, Regret

CHOSEN, INITIAL, RANDOM = "at this step", "at the start", "at random"
KINDS = [CHOSEN, INITIAL, RANDOM]


def regret_tables(layer: AnalysedLayer, row: Regret) -> dict[str, pa.Table]:
    """Return tables of regret by step at one rank: the choice at the start, mean and range of random ones."""
    steps, regret, random = layer["steps"], row["regret"], row["random"]
    mean = sum(random) / len(random)
    ends = [steps[0], steps[-1]]
    lines = {
        "step": pa.array([*steps, *ends, *ends], pa.int32()),
        "regret": pa.array([*regret, regret[0], regret[0], mean, mean], pa.float64()),
        "kind": pa.array([CHOSEN] * len(steps) + [INITIAL] * 2 + [RANDOM] * 2, pa.string()),
        "spot": pa.array([True] * len(steps) + [False] * 4),
    }
    chance = {"low": pa.array([min(random)], pa.float64()), "high": pa.array([max(random)], pa.float64())}
    return {"lines": pa.table(lines), "chance": pa.table(chance)}


@cache
def regret_spec() -> Spec:
    """Return the chart of regret over steps, beside the choice at the start and the range of random ones."""
    x = alt.X("step:Q", title="step of the choice", axis=STEPS)
    y = partial(
        alt.Y,
        title="missed share of the sum of σ",
        scale=alt.Scale(zero=True),
        axis=alt.Axis(format=".1~%", tickCount=5),
    )
    looks = kinds(KINDS, [colors.POINT, colors.QUIET, colors.CUT])
    line = (
        table("lines")
        .mark_line(clip=True, strokeWidth=2)
        .encode(
            x,
            y("regret:Q"),
            alt.Color("kind:N", scale=looks, legend=LEGEND),
            alt.StrokeDash("kind:O", scale=kinds(KINDS, [[1, 0], [5, 3], [2, 2]]), legend=LEGEND),
        )
        .add_params(ZOOM)
    )
    dots = (
        table("lines")
        .mark_point(clip=True, filled=True, size=36, color=colors.POINT, opacity=1)
        .encode(
            x,
            y("regret:Q"),
            tooltip=tooltip(("step", "chosen at step", ",d"), ("regret", "misses", ".2%")),
        )
        .transform_filter("datum.spot")
    )
    band = (
        table("chance")
        .mark_rect(clip=True, color=colors.CUT, opacity=0.12)
        .encode(y("low:Q"), alt.Y2("high"))
    )
    return specification(alt.layer(band, line, dots), 260)


def between_table(layer: AnalysedLayer) -> pa.Table:
    """Return what changed since the last snapshot, by step: overlap, order, drift and its bound."""
    pairs = layer["between"]
    columns = {
        name: pa.array([pair.get(name) for pair in pairs], pa.float64())
        for name in ("overlap", "order", "drift", "weyl")
    }
    return pa.table({"step": pa.array([pair["step"] for pair in pairs], pa.int32()), **columns})


def _long(table: pa.Table, names: dict[str, str]) -> pa.Table:
    """Return columns in long form: step, value, curve; an unknown value is left out."""
    steps = table.column("step").to_pylist()
    rows = [
        (step, value, name)
        for field, name in names.items()
        for step, value in zip(steps, table.column(field).to_pylist(), strict=True)
        if value is not None
    ]
    return pa.table(
        {
            "step": pa.array([row[0] for row in rows], pa.int32()),
            "value": pa.array([row[1] for row in rows], pa.float64()),
            "curve": pa.array([row[2] for row in rows], pa.string()),
        }
    )


STABILITY = {"overlap": "overlap", "order": "Kendall τ"}
DRIFT = {"weyl": "Weyl's bound", "drift": "measured drift"}


def stability_table(layer: AnalysedLayer) -> pa.Table:
    return _long(between_table(layer), STABILITY)


def drift_table(layer: AnalysedLayer) -> pa.Table:
    """Return drift and its bound without zeros, which have no place on a log axis."""
    table = _long(between_table(layer), DRIFT)
    return table.filter(pa.compute.greater(table.column("value"), 0.0))


def _curves(names: dict[str, str], y: alt.Y, hues: list[str]) -> Spec:
    shown = list(names.values())
    line = (
        table("curves")
        .mark_line(clip=True, strokeWidth=1.8, point={"filled": True, "size": 30})
        .encode(
            alt.X("step:Q", title="step", axis=STEPS),
            y,
            alt.Color("curve:N", scale=kinds(shown, hues), legend=LEGEND),
            alt.StrokeDash("curve:O", scale=kinds(shown, [[1, 0], [5, 3]]), legend=LEGEND),
            tooltip=tooltip(("curve", "curve"), ("step", "step", ",d"), ("value", "value", ".4~g")),
        )
        .add_params(ZOOM)
    )
    return specification(alt.layer(line), 220)


@cache
def stability_spec() -> Spec:
    """Return the chart of overlap and order from one snapshot to the next."""
    y = alt.Y("value:Q", title="since the last snapshot", scale=alt.Scale(zero=False),
              axis=alt.Axis(tickCount=5))  # fmt: skip
    return _curves(STABILITY, y, [colors.POINT, colors.CUT])


@cache
def drift_spec() -> Spec:
    """Return the chart of the largest change of a σ, and of its bound."""
    return _curves(DRIFT, log_y("value", "change of a σ"), [colors.QUIET, colors.POINT])
