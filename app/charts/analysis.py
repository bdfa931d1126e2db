"""Charts of an analysis: regret of an early selection, and what changed between snapshots."""

from functools import cache

import altair as alt
import pyarrow as pa

from hankelboard.app.charts.parts import LEGEND, STEPS, ZOOM, kinds, log_y
from hankelboard.comparison import colors
from hankelboard.comparison.specification import Spec, specification, table, tooltip
from hankelboard.storage.schema import AnalysedLayer, Regret
from hankelboard.storage.spectrum import SMALL_REGRET

OF_CUT, OF_SUBSPACE, INITIAL, RANDOM = (
    "cut at this step (oblique)", "its subspace (orthogonal)", "cut at the start", "states drawn by lot"
)  # fmt: skip
KINDS = [OF_CUT, OF_SUBSPACE, INITIAL, RANDOM]
SHOWN = 1e-5
"""Smaller regret, and the 0 of the last snapshot, has no place on a log axis."""


def regret_of(row: Regret) -> list[float]:
    """Return the regret of the cut at each snapshot; of its subspace where an older record knows no other."""
    return row.get("cut_regret", row["regret"])


def chance_of(row: Regret) -> float:
    """Return the regret of states drawn by lot."""
    return sum(row["random"]) / len(row["random"])


def regret_tables(layer: AnalysedLayer, row: Regret) -> dict[str, pa.Table]:
    """Return tables of regret by step at one rank, with the baselines, and the marks of the knee."""
    curves = {OF_SUBSPACE: row["regret"]} | ({OF_CUT: row["cut_regret"]} if "cut_regret" in row else {})
    levels = {INITIAL: regret_of(row)[0], RANDOM: chance_of(row)}
    ends = [layer["steps"][0], layer["steps"][-1]]
    points = [
        (step, value, kind, True)
        for kind, curve in curves.items()
        for step, value in zip(layer["steps"], curve, strict=True)
    ] + [(step, level, kind, False) for kind, level in levels.items() for step in ends]
    knee = row.get("knee")
    return {
        "lines": _points([point for point in points if point[1] > SHOWN]),
        "small": pa.table({"value": pa.array([SMALL_REGRET * row["tolerance"]], pa.float64())}),
        "knee": pa.table({"step": pa.array([] if knee is None else [knee], pa.int32())}),
    }


def _points(points: list[tuple[int, float, str, bool]]) -> pa.Table:
    kinds_of = {"step": pa.int32(), "regret": pa.float64(), "kind": pa.string(), "spot": pa.bool_()}
    columns = zip(*points, strict=True) if points else ([] for _ in kinds_of)
    return pa.table(
        {name: pa.array(column, kind) for (name, kind), column in zip(kinds_of.items(), columns, strict=True)}
    )


@cache
def regret_spec() -> Spec:
    """Return the chart of regret over steps, with its baselines, the knee and a tenth of the tolerance."""
    x = alt.X("step:Q", title="step of the choice", axis=STEPS)
    y = alt.Y(
        "regret:Q",
        title="regret, share of the sum of σ",
        scale=alt.Scale(type="log"),
        axis=alt.Axis(format="~%", tickCount=6),
    )
    color = alt.Color(
        "kind:N", scale=kinds(KINDS, [colors.POINT, colors.POINT, colors.QUIET, colors.CUT]), legend=LEGEND
    )
    dash = alt.StrokeDash("kind:O", scale=kinds(KINDS, [[1, 0], [5, 3], [5, 3], [2, 2]]), legend=LEGEND)
    line = table("lines").mark_line(clip=True, strokeWidth=2).encode(x, y, color, dash).add_params(ZOOM)
    told = tooltip(
        ("kind", "of"), ("step", "chosen at step", ",d"), ("regret", "loses beyond the best", ".2~%")
    )
    dots = (
        table("lines")
        .mark_point(clip=True, filled=True, size=36, color=colors.POINT, opacity=1)
        .encode(x, y, tooltip=told)
        .transform_filter("datum.spot")
    )
    return specification(alt.layer(*_small(), *_knee(), line, dots), 300)


def _small() -> tuple[alt.Chart, alt.Chart]:
    """Return the line of a tenth of the tolerance, with its name."""
    at = table("small").encode(y="value:Q")
    named = at.mark_text(
        text="a tenth of the tolerance", align="right", baseline="bottom", dx=-4, color=colors.QUIET
    ).encode(x=alt.value("width"))
    return at.mark_rule(color=colors.QUIET, strokeWidth=1), named


def _knee() -> tuple[alt.Chart, alt.Chart]:
    """Return the vertical line of the knee, with its step."""
    at = table("knee").encode(x="step:Q")
    named = at.mark_text(align="left", baseline="bottom", dx=5, color=colors.CUT, fontWeight="bold").encode(
        text=alt.Text("label:N"), y=alt.value("height")
    )
    label = named.transform_calculate(label="'knee: step ' + format(datum.step, ',d')")
    return at.mark_rule(clip=True, color=colors.CUT, strokeWidth=2), label


def between_table(layer: AnalysedLayer) -> pa.Table:
    """Return what changed since the last snapshot, by step: overlap, order, drift and its bound."""
    pairs = layer["between"]
    columns = {
        name: pa.array([pair.get(name) for pair in pairs], pa.float64())
        for name in ("overlap", "overlap_start", "overlap_random", "order", "order_start", "drift", "weyl")
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


STABILITY = {
    "overlap": "overlap", "order": "τ of order",
    "overlap_start": "overlap, start", "order_start": "τ, start",
    "overlap_random": "overlap, by lot",
}  # fmt: skip
DRIFT = {"weyl": "Weyl's bound", "drift": "measured drift"}


def stability_table(layer: AnalysedLayer) -> pa.Table:
    return _long(between_table(layer), STABILITY)


def drift_table(layer: AnalysedLayer) -> pa.Table:
    """Return drift and its bound without zeros, which have no place on a log axis."""
    table = _long(between_table(layer), DRIFT)
    return table.filter(pa.compute.greater(table.column("value"), 0.0))


def _curves(names: dict[str, str], y: alt.Y, hues: list[str], dashes: list[list[int]]) -> Spec:
    shown = list(names.values())
    line = (
        table("curves")
        .mark_line(clip=True, strokeWidth=1.8, point={"filled": True, "size": 30})
        .encode(
            alt.X("step:Q", title="step", axis=STEPS),
            y,
            alt.Color("curve:N", scale=kinds(shown, hues), legend=LEGEND),
            alt.StrokeDash("curve:O", scale=kinds(shown, dashes), legend=LEGEND),
            tooltip=tooltip(("curve", "curve"), ("step", "step", ",d"), ("value", "value", ".4~g")),
        )
        .add_params(ZOOM)
    )
    return specification(alt.layer(line), 260)


@cache
def stability_spec() -> Spec:
    """Return the chart of overlap and order from one snapshot to the next, with their baselines."""
    y = alt.Y("value:Q", title="agreement", scale=alt.Scale(zero=False),
              axis=alt.Axis(tickCount=5))  # fmt: skip
    hues = [colors.POINT, colors.CUT, colors.POINT, colors.CUT, colors.QUIET]
    return _curves(STABILITY, y, hues, [[1, 0], [1, 0], [5, 3], [5, 3], [2, 2]])


@cache
def drift_spec() -> Spec:
    """Return the chart of the largest change of a σ, and of its bound."""
    return _curves(DRIFT, log_y("value", "change of a σ"), [colors.QUIET, colors.POINT], [[1, 0], [5, 3]])
