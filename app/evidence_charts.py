"""Charts of spectra, of a proposal's evidence and of branches. Constant specifications, as in charts.py."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from app.charts import DASH, FAINT, PADDING, STEPS, SVG, ZOOM, Spec, layer_name
from storage.records import Record

SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "wedge"]
KEPT, DISCARDED = "kept", "discarded"
CUT_COLOR, QUIET_COLOR, POINT_COLOR, BACK_COLOR = "#E0591B", "#7C8798", "#4C8BD6", "#8E63D9"
POINTS = 600
NOW, MEASURED, RULE = "now, not cut", "measured", "as proposed"
CHECKPOINT_KINDS = ["pinned", "not pinned"]
LEGEND = {"orient": "top", "title": None, "offset": 16}
IMPORTANCE = {
    "hsv": "Hankel singular value σ",
    "hsv_squared": "squared Hankel singular value σ²",
    "output_energy": "output energy",
}


def importance_title(importance: object) -> str:
    return IMPORTANCE.get(str(importance), str(importance))


# Pieces of specifications.


def _chart(height: int, *layers: Spec, **more: Any) -> Spec:
    return {"height": height, "padding": PADDING, "layer": list(layers), "usermeta": SVG, **more}


def _mark(kind: str, **properties: Any) -> Spec:
    return {"type": kind, "clip": True, **properties}


def _whole_x(field: str, title: str) -> Spec:
    """A linear axis of whole numbers that follows the data."""
    return {
        "field": field, "type": "quantitative", "title": title,
        "scale": {"nice": False, "zero": False, "padding": 6},
        "axis": {"grid": False, "format": "d", "tickMinStep": 1},
    }  # fmt: skip


def _log_y(field: str, title: str, format: str = "~g") -> Spec:
    return {
        "field": field, "type": "quantitative", "title": title, "scale": {"type": "log"},
        "axis": {"format": format, "tickCount": 4, "labelOverlap": True},
    }  # fmt: skip


def _by(
    field: str,
    domain: Sequence[str],
    range_: Sequence[Any] | None,
    legend: Spec | None = None,
    *,
    type: str = "nominal",
) -> Spec:
    """A channel that tells kinds apart; without a range the theme's colours. Sizes and dashes are ordinal."""
    scale: Spec = {"domain": list(domain)}
    if range_ is not None:
        scale["range"] = list(range_)
    return {"field": field, "type": type, "scale": scale, "legend": legend}


def _told(*fields: tuple[str, str] | tuple[str, str, str]) -> list[Spec]:
    """Tooltip lines: (field, title) or (field, title, format)."""
    return [
        {"field": field, "title": title, **({"format": format[0], "type": "quantitative"} if format else {})}
        for field, title, *format in fields
    ]


# Spectra.


def _thinned(count: int) -> range:
    """Indices to draw of a smooth, monotone curve of `count` values; all up to POINTS."""
    return range(0, count, max(1, -(-count // POINTS)))


def spectra_table(spectra: Sequence[Record]) -> tuple[pa.Table, int]:
    """Points (index, value, series) of the layers' spectra, and how many values ≤ 0 are left out."""
    index, value, names, left_out = [], [], [], 0
    for spectrum in spectra:
        hsv = spectrum["hsv"]
        for i in _thinned(len(hsv)):
            if isinstance(hsv[i], int | float) and hsv[i] > 0:
                index.append(i + 1)
                value.append(float(hsv[i]))
                names.append(layer_name(spectrum["layer"]))
        left_out += sum(not isinstance(sigma, int | float) or sigma <= 0 for sigma in hsv)
    table = {
        "index": pa.array(index, pa.int32()),
        "value": pa.array(value, pa.float64()),
        "series": pa.array(names, pa.string()).dictionary_encode(),
    }
    return pa.table(table), left_out


def spectra_spec(layers: int, importance: str) -> Spec:
    """The newest spectrum of every layer on a log axis."""
    names = [layer_name(layer) for layer in range(layers)]
    points = {
        "data": {"name": "points"},
        "params": [ZOOM],
        "mark": _mark("point", filled=True, size=24),
        "encoding": {
            "x": _whole_x("index", "state, by importance"),
            "y": _log_y("value", importance),
            "color": _by("series", names, None, LEGEND),
            "shape": _by("series", names, [SHAPES[i % len(SHAPES)] for i in range(layers)], LEGEND),
            "tooltip": _told(("series", "layer"), ("index", "state"), ("value", importance, ".3e")),
        },
    }
    return _chart(280, points)


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
        "label": pa.array([f"r = {rank}" if rank < state_dim else "no cut", f"gate {gate:.0%}"]),
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


def layer_spectrum_spec(importance: str) -> Spec:
    """Spectrum of one layer: kept and discarded states, the cut, the gate."""
    fates = [KEPT, DISCARDED]
    states = {
        "data": {"name": "states"},
        "mark": _mark("point", size=30, strokeWidth=1.4, opacity=1),
        "encoding": {
            "x": _whole_x("index", "state, by importance"),
            "y": _log_y("value", importance),
            "color": _by("fate", fates, [POINT_COLOR, QUIET_COLOR], LEGEND),
            "shape": _by("fate", fates, ["circle", "cross"], LEGEND),
            "tooltip": _told(("index", "state"), ("value", importance, ".3e"), ("fate", "would be")),
        },
    }
    kinds = ["cut", "gate"]
    x = _whole_x("at", "state, by importance")
    common = {"x": x, "color": _by("kind", kinds, [CUT_COLOR, QUIET_COLOR])}
    rule = {
        "data": {"name": "lines"},
        "mark": _mark("rule", strokeWidth=2),
        "encoding": {
            **common, "tooltip": _told(("text", "line")),
            "strokeDash": _by("kind", kinds, [[1, 0], [4, 3]], type="ordinal"),
        },
    }  # fmt: skip
    label = {
        "data": {"name": "lines"},
        "mark": {"type": "text", "dy": -7, "fontSize": 12, "fontWeight": 600},
        "encoding": {**common, "y": {"value": 0}, "text": {"field": "label"}},
    }
    apart = {
        "resolve": {"scale": {"color": "independent", "shape": "independent", "strokeDash": "independent"}}
    }
    return _chart(290, states, {"layer": [rule, label]}, **apart)


def rank_curve_spec(field: str, title: str, *, percent: bool, limit: bool) -> Spec:
    """Discarded share or error bound along the rank, with the chosen rank and the tolerance."""
    format = ".3~%" if percent else "~g"
    x, y = _whole_x("rank", "rank r"), _log_y(field, title, format)
    data = {"name": "ranks"}
    choices = ["chosen", "other"]
    curve = {
        "data": data,
        "mark": _mark("line", strokeWidth=1.5, interpolate="step-after", color=POINT_COLOR),
        "encoding": {"x": x, "y": y},
    }
    points = {
        "data": data,
        "mark": _mark("point", filled=True, color=CUT_COLOR),
        "encoding": {
            "x": x, "y": y,
            "size": _by("chosen", choices, [130, 40], type="ordinal"),
            "opacity": _by("chosen", choices, [1, 0], type="ordinal"),
            "tooltip": _told(("rank", "rank"), (field, title, ".3%" if percent else ".4g")),
        },
    }  # fmt: skip
    tolerance = {
        "data": {"name": "limit"},
        "mark": _mark("rule", strokeDash=[4, 3], color=QUIET_COLOR, strokeWidth=1.5),
        "encoding": {"y": {**y, "field": "tolerance"}, "tooltip": _told(("tolerance", "tolerance", ".3%"))},
    }
    return _chart(142, curve, points, *([tolerance] if limit else []))


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
        "states": pa.array([sum(at) for _, at, _ in rows], pa.int32()),
        "kind": pa.array([kind for kind, _, _ in rows]),
        "ranks": pa.array([", ".join(map(str, at)) for _, at, _ in rows]),
    }
    choice = {"states": pa.array([sum(ranks)], pa.int32())}
    for field in ("loss", "accuracy"):
        points[field] = pa.array([values.get(field) for _, _, values in rows], pa.float64())
        choice[field] = pa.array([chosen.get(field)], pa.float64())
    return {"points": pa.table(points), "choice": pa.table(choice)}


def measured_spec(field: str, title: str, format: str) -> Spec:
    """Measured loss or accuracy against the states kept: points only, nothing in between is claimed."""
    kinds = [NOW, MEASURED, RULE]
    x = _whole_x("states", "states kept, all layers together")
    y = {
        "field": field, "type": "quantitative", "title": title, "scale": {"zero": False, "padding": 12},
        "axis": {"format": format, "tickCount": 5},
    }  # fmt: skip
    points = {
        "data": {"name": "points"},
        "mark": _mark("point", filled=True, opacity=1),
        "encoding": {
            "x": x, "y": y,
            "color": _by("kind", kinds, [QUIET_COLOR, POINT_COLOR, "#009E73"], LEGEND),
            "shape": _by("kind", kinds, ["square", "circle", "diamond"], LEGEND),
            "size": _by("kind", kinds, [90, 60, 120], LEGEND, type="ordinal"),
            "tooltip": _told(("kind", "point"), ("ranks", "states per layer"), ("loss", "loss", ".4f"),
                             ("accuracy", "accuracy", ".2%")),
        },
    }  # fmt: skip
    rule = {
        "data": {"name": "choice"},
        "mark": _mark("rule", color=CUT_COLOR, strokeDash=[4, 3]),
        "encoding": {"x": x},
    }
    ring = {
        "data": {"name": "choice"},
        "mark": _mark("point", filled=False, color=CUT_COLOR, size=330, strokeWidth=2.2, opacity=1),
        "encoding": {"x": x, "y": y},
    }
    return _chart(250, rule, points, ring)


# Branches.


def tree_tables(
    branches: Sequence[Mapping[str, Any]], checkpoints: Sequence[Mapping[str, Any]]
) -> dict[str, pa.Table]:
    """Branches as lanes along the step axis, and the checkpoints on them."""
    pieces = [piece for branch in branches for piece in _pieces(branch)]
    joints = [branch for branch in branches if branch["parent"] is not None]
    lanes = {
        "branch": pa.array([f"branch {number}" for number, _, _, _ in pieces], pa.string()),
        "start": pa.array([start for _, start, _, _ in pieces], pa.int32()),
        "end": pa.array([end for _, _, end, _ in pieces], pa.int32()),
        "path": pa.array([path for _, _, _, path in pieces], pa.string()),
    }
    turns = {
        "step": pa.array([b["from_step"] for b in joints], pa.int32()),
        "parent": pa.array([f"branch {b['parent']}" for b in joints], pa.string()),
        "branch": pa.array([f"branch {b['number']}" for b in joints], pa.string()),
    }
    points = {
        "branch": pa.array([f"branch {c['branch']}" for c in checkpoints], pa.string()),
        "step": pa.array([c["step"] for c in checkpoints], pa.int32()),
        "name": pa.array([c["name"] for c in checkpoints], pa.string()),
        "cause": pa.array([c["cause_words"] for c in checkpoints], pa.string()),
        "dims": pa.array([c["dims_words"] for c in checkpoints], pa.string()),
        "pinned": pa.array([CHECKPOINT_KINDS[0 if c["pinned"] else 1] for c in checkpoints], pa.string()),
    }
    return {"pieces": pa.table(lanes), "joints": pa.table(turns), "checkpoints": pa.table(points)}


def _pieces(branch: Mapping[str, Any]) -> list[tuple[int, int, int, str]]:
    """A branch's live part and the part that was left: (branch, start, end, path)."""
    number, start, end, until = (branch[key] for key in ("number", "from_step", "last_step", "live_until"))
    if not branch["live"]:
        return [(number, start, end, "left")]
    turn = end if until is None else min(end, until)
    left = [(number, turn, end, "left")] if turn < end else []
    return [(number, start, turn, "live"), *left]


def tree_spec(branches: int) -> Spec:
    """Lanes of branches: live solid, left dashed and faint; checkpoints as points."""
    lanes = [f"branch {number}" for number in range(branches)]
    y = {**_by("branch", lanes, None), "title": None, "axis": {"grid": False, "ticks": False}}
    del y["legend"]
    x = {"type": "quantitative", "title": "step", "axis": STEPS}
    lane = {
        "data": {"name": "pieces"},
        "mark": _mark("rule", strokeWidth=3, color=POINT_COLOR),
        "encoding": {
            "x": {**x, "field": "start"}, "x2": {"field": "end"}, "y": y,
            "opacity": _by("path", FAINT["domain"], FAINT["range"], type="ordinal"),
            "strokeDash": _by("path", DASH["domain"], DASH["range"], type="ordinal"),
        },
    }  # fmt: skip
    turn = {
        "data": {"name": "joints"},
        "mark": _mark("rule", strokeWidth=1.5, color=BACK_COLOR, strokeDash=[8, 2]),
        "encoding": {"x": {**x, "field": "step"}, "y": {**y, "field": "parent"}, "y2": {"field": "branch"}},
    }
    points = {
        "data": {"name": "checkpoints"},
        "mark": _mark("point", filled=True, size=90, opacity=1),
        "encoding": {
            "x": {**x, "field": "step"}, "y": y,
            "color": _by("pinned", CHECKPOINT_KINDS, [CUT_COLOR, POINT_COLOR], LEGEND),
            "shape": _by("pinned", CHECKPOINT_KINDS, ["diamond", "circle"], LEGEND),
            "tooltip": _told(("name", "checkpoint"), ("step", "step"), ("cause", "cause"),
                             ("dims", "states per layer"), ("pinned", "kept for good?")),
        },
    }  # fmt: skip
    return _chart(90 + 40 * branches, lane, turn, points)
