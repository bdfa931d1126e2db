"""Charts of an analysis: regret of an early selection, and what changed between snapshots."""

from collections.abc import Sequence

import pyarrow as pa

from hankelboard.app.charts.metrics import ZOOM, Spec
from hankelboard.app.charts.parts import (
    CUT_COLOR,
    LEGEND,
    POINT_COLOR,
    QUIET_COLOR,
    by,
    chart,
    log_y,
    mark,
    told,
)
from hankelboard.storage.records import Record

CHOSEN, INITIAL, RANDOM = "at this step", "at the start", "at random"
KINDS = [CHOSEN, INITIAL, RANDOM]


def regret_tables(layer: Record, row: Record) -> dict[str, pa.Table]:
    """Regret over steps at one rank, the choice at the start, and the mean and range of random ones."""
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


def _step_x() -> Spec:
    return {
        "field": "step", "type": "quantitative", "title": "step of the choice",
        "axis": {"format": ",d", "grid": False, "tickMinStep": 1, "tickCount": 6, "labelOverlap": True},
    }  # fmt: skip


def regret_spec() -> Spec:
    y = {
        "field": "regret", "type": "quantitative", "title": "missed share of the sum of σ",
        "scale": {"zero": True}, "axis": {"format": ".1~%", "tickCount": 5},
    }  # fmt: skip
    line = {
        "data": {"name": "lines"},
        "params": [ZOOM],
        "mark": mark("line", strokeWidth=2),
        "encoding": {
            "x": _step_x(), "y": y,
            "color": by("kind", KINDS, [POINT_COLOR, QUIET_COLOR, CUT_COLOR], LEGEND),
            "strokeDash": by("kind", KINDS, [[1, 0], [5, 3], [2, 2]], LEGEND, type="ordinal"),
        },
    }  # fmt: skip
    dots = {
        "data": {"name": "lines"},
        "transform": [{"filter": "datum.spot"}],
        "mark": mark("point", filled=True, size=36, color=POINT_COLOR, opacity=1),
        "encoding": {
            "x": _step_x(), "y": y,
            "tooltip": told(("step", "chosen at step", ",d"), ("regret", "misses", ".2%")),
        },
    }  # fmt: skip
    band = {
        "data": {"name": "chance"},
        "mark": mark("rect", color=CUT_COLOR, opacity=0.12),
        "encoding": {"y": {**y, "field": "low"}, "y2": {"field": "high"}},
    }
    return chart(260, band, line, dots)


def between_table(layer: Record) -> pa.Table:
    """What changed since the last snapshot, by step: overlap, order, drift and its bound."""
    pairs = layer["between"]
    columns = {
        name: pa.array([pair.get(name) for pair in pairs], pa.float64())
        for name in ("overlap", "order", "drift", "weyl")
    }
    return pa.table({"step": pa.array([pair["step"] for pair in pairs], pa.int32()), **columns})


def _long(table: pa.Table, names: dict[str, str]) -> pa.Table:
    """Columns under one another: step, value, curve; what is not known or not positive is a gap."""
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


def stability_table(layer: Record) -> pa.Table:
    return _long(between_table(layer), STABILITY)


def drift_table(layer: Record) -> pa.Table:
    """Drift and its bound; what is 0 has no place on a log axis."""
    table = _long(between_table(layer), DRIFT)
    return table.filter(pa.compute.greater(table.column("value"), 0.0))


def _curves(names: Sequence[str], y: Spec, colors: Sequence[str]) -> Spec:
    encoding = {"x": {**_step_x(), "title": "step"}, "y": y, "color": by("curve", names, colors, LEGEND)}
    line = {
        "data": {"name": "curves"}, "params": [ZOOM],
        "mark": mark("line", strokeWidth=1.8, point={"filled": True, "size": 30}),
        "encoding": {
            **encoding, "strokeDash": by("curve", names, [[1, 0], [5, 3]], LEGEND, type="ordinal"),
            "tooltip": told(("curve", "curve"), ("step", "step", ",d"), ("value", "value", ".4~g")),
        },
    }  # fmt: skip
    return chart(220, line)


def stability_spec() -> Spec:
    y = {"field": "value", "type": "quantitative", "title": "since the last snapshot",
         "scale": {"zero": False}, "axis": {"tickCount": 5}}  # fmt: skip
    return _curves(list(STABILITY.values()), y, [POINT_COLOR, CUT_COLOR])


def drift_spec() -> Spec:
    return _curves(list(DRIFT.values()), log_y("value", "change of a σ"), [QUIET_COLOR, POINT_COLOR])
