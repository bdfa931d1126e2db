"""Charts of spectra and of a proposal's evidence. Constant specifications, as in charts.py."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from hankelboard.app.charts.metrics import ZOOM, Spec, layer_name, names_column
from hankelboard.app.charts.parts import (
    CUT_COLOR,
    LEGEND,
    POINT_COLOR,
    QUIET_COLOR,
    by,
    chart,
    log_y,
    mark,
    round_ticks,
    told,
    whole_x,
)
from hankelboard.storage.records import Record

SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "wedge"]
KEPT, DISCARDED = "kept", "discarded"
POINTS = 600
RESPONSES = {"full": "layer now", "reduced": "cut as proposed", "error": "difference"}
NOW, MEASURED, RULE = "now, not cut", "measured", "as proposed"

# Spectra.


def _thinned(count: int) -> range:
    """Indices to draw of a smooth, monotone curve of `count` values; all up to POINTS."""
    return range(0, count, max(1, -(-count // POINTS)))


def spectra_table(spectra: Sequence[Record]) -> tuple[pa.Table, int]:
    """Points (index, value, series) of the layers' spectra, and how many values ≤ 0 are left out."""
    index, value, names, left_out = [], [], [], 0
    for spectrum in spectra:
        hsv = np.asarray(spectrum["hsv"], dtype=np.float64)
        drawn = [i for i in _thinned(len(hsv)) if hsv[i] > 0]
        index += [i + 1 for i in drawn]
        value += hsv[drawn].tolist()
        names += [layer_name(spectrum["layer"])] * len(drawn)
        left_out += int(np.count_nonzero(~(hsv > 0)))
    table = {
        "index": pa.array(index, pa.int32()),
        "value": pa.array(value, pa.float64()),
        "series": names_column(names),
    }
    return pa.table(table), left_out


def spectra_spec(layers: int, importance: str) -> Spec:
    """The newest spectrum of every layer on a log axis."""
    names = [layer_name(layer) for layer in range(layers)]
    points = {
        "data": {"name": "points"},
        "params": [ZOOM],
        "mark": mark("point", filled=True, size=24),
        "encoding": {
            "x": whole_x("index", "state, by importance"),
            "y": log_y("value", importance),
            "color": by("series", names, None, LEGEND),
            "shape": by("series", names, [SHAPES[i % len(SHAPES)] for i in range(layers)], LEGEND),
            "tooltip": told(("series", "layer"), ("index", "state"), ("value", importance, ".3e")),
        },
    }
    return chart(280, points)


# One layer of a proposal.


def layer_tables(layer: Record, rank: int, gate: float, tolerance: float) -> dict[str, pa.Table]:
    """The tables of one layer's evidence at a rank: states (kept or not), lines (cut, gate), the recorded
    share and bound of every rank, and the tolerance."""
    hsv, state_dim = layer["hsv"], layer["state_dim"]
    drawn = [i for i in _thinned(len(hsv)) if isinstance(hsv[i], int | float) and hsv[i] > 0]
    states = {
        "index": pa.array([i + 1 for i in drawn], pa.int32()),
        "value": pa.array([float(hsv[i]) for i in drawn], pa.float64()),
        "fate": pa.array([KEPT if i < rank else DISCARDED for i in drawn], pa.string()),
    }
    gate_at = gate * state_dim
    lines = {
        "at": pa.array([rank + 0.5, gate_at], pa.float64()),
        "kind": pa.array(["cut", "gate"]),
        "label": pa.array([f"r = {rank}" if rank < state_dim else "no cut", "gate"]),
        "side": pa.array(_sides((rank + 0.5 - gate_at) / state_dim)),
        "text": pa.array(
            [
                f"the first {rank} of {state_dim} states are kept",
                f"the rule cuts only below {gate:.0%} of N, that is below {gate_at:.4g} states",
            ]
        ),
    }
    limit = {"tolerance": pa.array([tolerance] if tolerance > 0 else [], pa.float64())}
    return {
        "states": pa.table(states),
        "lines": pa.table(lines),
        "ranks": _ranks_table(layer, rank),
        "limit": pa.table(limit),
    }


NEAR = 0.2
"""Share of the axis within which the labels of cut and gate would touch on a narrow screen."""


def _sides(distance: float) -> list[str]:
    """How the labels of cut and gate are aligned at their lines, the cut `distance` right of the gate."""
    if abs(distance) > NEAR:
        return ["center", "center"]
    return ["right", "left"] if distance < 0 else ["left", "right"]


def _ranks_table(layer: Record, chosen: int) -> pa.Table:
    share, bound = layer["discarded_share"], layer["error_bound"]
    ranks = [r for r in range(1, layer["state_dim"] + 1) if share[r] > 0]
    return pa.table(
        {
            "rank": pa.array(ranks, pa.int32()),
            "share": pa.array([float(share[r]) for r in ranks], pa.float64()),
            "bound": pa.array([_positive(bound, r) for r in ranks], pa.float64()),
            "chosen": pa.array(["chosen" if r == chosen else "other" for r in ranks], pa.string()),
        }
    )


def _positive(bound: Sequence[Any] | None, rank: int) -> float | None:
    value = bound[rank] if bound else None
    return float(value) if isinstance(value, int | float) and value > 0 else None


SPECTRUM_HEIGHT = 290


def layer_spectrum_spec(importance: str) -> Spec:
    """Spectrum of one layer: kept and discarded states, the cut, the gate."""
    fates = [KEPT, DISCARDED]
    states = {
        "data": {"name": "states"},
        "mark": mark("point", size=30, strokeWidth=1.4, opacity=1),
        "encoding": {
            "x": whole_x("index", "state, by importance"),
            "y": log_y("value", importance),
            "color": by("fate", fates, [POINT_COLOR, QUIET_COLOR], LEGEND),
            "shape": by("fate", fates, ["circle", "cross"], LEGEND),
            "tooltip": told(("index", "state"), ("value", importance, ".3e"), ("fate", "would be")),
        },
    }
    kinds = ["cut", "gate"]
    x = whole_x("at", "state, by importance")
    common = {"x": x, "color": by("kind", kinds, [CUT_COLOR, QUIET_COLOR])}
    rule = {
        "data": {"name": "lines"},
        "mark": mark("rule", strokeWidth=2),
        "encoding": {
            **common, "tooltip": told(("text", "line")),
            "strokeDash": by("kind", kinds, [[1, 0], [4, 3]], type="ordinal"),
        },
    }  # fmt: skip
    label = {
        "data": {"name": "lines"},
        "mark": {
            "type": "text",
            "dy": -7,
            "fontSize": 12,
            "fontWeight": 600,
            "align": {"expr": "datum.side"},
        },
        "encoding": {**common, "y": {"value": 0}, "text": {"field": "label"}},
    }  # fmt: skip
    apart = {
        "resolve": {"scale": {"color": "independent", "shape": "independent", "strokeDash": "independent"}}
    }
    return chart(SPECTRUM_HEIGHT, states, {"layer": [rule, label]}, **apart)


CURVE_HEIGHT = 142
"""Two of them are as high as the spectrum beside them."""
SMALL_PERCENT = "datum.value < 1e-5 ? format(100 * datum.value, '.0e') + '%' : format(datum.value, '.3~%')"


def rank_curve_spec(
    field: str, axis: str, title: str, *, percent: bool, limit: bool, height: int = CURVE_HEIGHT
) -> Spec:
    """Discarded share or error bound along the rank, with the chosen rank and the tolerance.

    An axis title that is longer than the axis would take the place of the curve: `title` is for tooltips.
    """
    x, y = whole_x("rank", "rank r"), log_y(field, axis)
    if percent:
        y["axis"] = {**y["axis"], "format": ".3~%", "labelExpr": round_ticks(f"({SMALL_PERCENT})")}
    data = {"name": "ranks"}
    choices = ["chosen", "other"]
    curve = {
        "data": data,
        "mark": mark("line", strokeWidth=1.5, interpolate="step-after", color=POINT_COLOR),
        "encoding": {"x": x, "y": y},
    }
    points = {
        "data": data,
        "mark": mark("point", filled=True, color=CUT_COLOR),
        "encoding": {
            "x": x, "y": y,
            "size": by("chosen", choices, [130, 40], type="ordinal"),
            "opacity": by("chosen", choices, [1, 0], type="ordinal"),
            "tooltip": told(("rank", "rank"), (field, title, ".3%" if percent else ".4g")),
        },
    }  # fmt: skip
    tolerance = {
        "data": {"name": "limit"},
        "mark": mark("rule", strokeDash=[4, 3], color=QUIET_COLOR, strokeWidth=1.5),
        "encoding": {"y": {**y, "field": "tolerance"}, "tooltip": told(("tolerance", "tolerance", ".3%"))},
    }
    return chart(height, curve, points, *([tolerance] if limit else []))


# What was measured.


def measured_tables(proposal: Record, ranks: Sequence[int]) -> dict[str, pa.Table]:
    """Measured points against the number of states kept, and the choice with its values where measured."""
    full = [layer["state_dim"] for layer in proposal["layers"]]
    measured = proposal.get("measured") or {}
    rows = [(NOW, full, measured.get("before") or {})]
    for point in measured.get("points", []):
        rows.append((RULE if point.get("rule") else MEASURED, point["ranks"], point))
    chosen = next((values for _, at, values in rows if list(at) == list(ranks)), {})
    points = {
        **_intervals(measured.get("before") or {}, [values for _, _, values in rows]),
        "states": pa.array([sum(at) for _, at, _ in rows], pa.int32()),
        "kind": pa.array([kind for kind, _, _ in rows]),
        "ranks": pa.array([", ".join(map(str, at)) for _, at, _ in rows]),
    }
    choice = {"states": pa.array([sum(ranks)], pa.int32())}
    for field in ("loss", "accuracy"):
        points[field] = pa.array([values.get(field) for _, _, values in rows], pa.float64())
        choice[field] = pa.array([chosen.get(field)], pa.float64())
    return {"points": pa.table(points), "choice": pa.table(choice)}


def _intervals(before: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> dict[str, pa.Array]:
    """Where loss and accuracy lie after each cut with 95 %: before, plus the interval of the change."""
    columns = {}
    for field in ("loss", "accuracy"):
        changes = [point.get(f"{field}_change") or (None, None) for point in points]
        for name, end in (("low", 0), ("high", 1)):
            values = [before[field] + change[end] if change[end] is not None else None for change in changes]
            columns[f"{field}_{name}"] = pa.array(values, pa.float64())
    return columns


def measured_spec(field: str, title: str, format: str) -> Spec:
    """Measured loss or accuracy against the states kept: points only, nothing in between is claimed."""
    kinds = [NOW, MEASURED, RULE]
    x = whole_x("states", "states kept, all layers together")
    x["scale"] = {**x["scale"], "padding": 16}  # room for the ring
    y = {
        "field": field, "type": "quantitative", "title": title, "scale": {"zero": False, "padding": 12},
        "axis": {"format": format, "tickCount": 5},
    }  # fmt: skip
    points = {
        "data": {"name": "points"},
        "mark": mark("point", filled=True, opacity=1),
        "encoding": {
            "x": x, "y": y,
            "color": by("kind", kinds, [QUIET_COLOR, POINT_COLOR, "#009E73"], LEGEND),
            "shape": by("kind", kinds, ["square", "circle", "diamond"], LEGEND),
            "size": by("kind", kinds, [90, 60, 120], LEGEND, type="ordinal"),
            "tooltip": told(("kind", "point"), ("ranks", "states per layer"), ("loss", "loss", ".4f"),
                             ("accuracy", "accuracy", ".2%")),
        },
    }  # fmt: skip
    interval = {
        "data": {"name": "points"},
        "mark": mark("rule", strokeWidth=1.5, opacity=0.8),
        "encoding": {
            "x": x, "y": {**y, "field": f"{field}_low"}, "y2": {"field": f"{field}_high"},
            "color": by("kind", kinds, [QUIET_COLOR, POINT_COLOR, "#009E73"], LEGEND),
        },
    }  # fmt: skip
    rule = {
        "data": {"name": "choice"},
        "mark": mark("rule", color=CUT_COLOR, strokeDash=[4, 3]),
        "encoding": {"x": x},
    }
    ring = {
        "data": {"name": "choice"},
        "mark": mark("point", filled=False, color=CUT_COLOR, size=330, strokeWidth=2.2, opacity=1),
        "encoding": {"x": x, "y": y},
    }
    return chart(250, rule, interval, points, ring)


# Frequency responses.


def response_table(layer: Record) -> pa.Table:
    """Largest singular values over frequency (omega, value, curve): layer now, cut, and their difference."""
    response = layer["response"]
    omega = response["omega"]
    rows = [
        (at, value, name)
        for key, name in RESPONSES.items()
        for at, value in zip(omega, response[key], strict=True)
        if isinstance(value, int | float) and value > 0
    ]
    return pa.table(
        {
            "omega": pa.array([at for at, _, _ in rows], pa.float64()),
            "value": pa.array([value for _, value, _ in rows], pa.float64()),
            "curve": pa.array([name for _, _, name in rows], pa.string()).dictionary_encode(),
        }
    )


def response_spec() -> Spec:
    """Magnitude over frequency on a log axis: what a layer passes on, now and cut as proposed."""
    names = list(RESPONSES.values())
    lines = {
        "data": {"name": "curves"},
        "mark": mark("line", strokeWidth=1.8, tooltip=True),
        "encoding": {
            "x": {"field": "omega", "type": "quantitative", "title": "frequency, radians per step",
                  "scale": {"domain": [0, 3.1416], "nice": False}, "axis": {"grid": False}},
            "y": log_y("value", "largest singular value"),
            "color": by("curve", names, [QUIET_COLOR, POINT_COLOR, CUT_COLOR], LEGEND),
            "strokeDash": by("curve", names, [[1, 0], [5, 3], [1, 0]], LEGEND, type="ordinal"),
            "tooltip": told(("curve", "curve"), ("omega", "frequency", ".3f"), ("value", "gain", ".3g")),
        },
    }  # fmt: skip
    return chart(230, lines)
