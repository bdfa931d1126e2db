"""Charts of spectra and of a proposal's evidence."""

from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any, cast

import altair as alt
import numpy as np
import pyarrow as pa

from hankelboard.app.charts.metrics import layer_name, names_column
from hankelboard.app.charts.parts import LEGEND, ZOOM, kinds, log_y, whole_x
from hankelboard.app.data.run_cache import SpectrumRow
from hankelboard.comparison import colors
from hankelboard.comparison.specification import Spec, specification, table, tooltip
from hankelboard.storage.schema import Proposal, ProposalLayer

SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "wedge"]
KEPT, DISCARDED = "kept", "discarded"
POINTS = 600
RESPONSES = {"full": "layer now", "reduced": "cut as proposed", "error": "difference"}
NOW, MEASURED, RULE = "now, not cut", "measured", "as proposed"

# Spectra.


def _thinned(count: int) -> range:
    """Return indices to draw of a smooth, monotone curve of `count` values; all up to POINTS."""
    return range(0, count, max(1, -(-count // POINTS)))


def spectra_table(spectra: Sequence[SpectrumRow]) -> tuple[pa.Table, int]:
    """Return points (index, value, series) of the layers' spectra, and the number of values ≤ 0 left out."""
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


@cache
def spectra_spec(layers: int, importance: str) -> Spec:
    """Return the chart of the newest spectrum of every layer, on a log axis."""
    names = [layer_name(layer) for layer in range(layers)]
    shapes = [SHAPES[layer % len(SHAPES)] for layer in range(layers)]
    points = (
        table("points")
        .mark_point(clip=True, filled=True, size=24)
        .encode(
            whole_x("index", "state, by importance"),
            log_y("value", importance),
            alt.Color("series:N", scale=alt.Scale(domain=names), legend=LEGEND),
            alt.Shape("series:N", scale=kinds(names, shapes), legend=LEGEND),
            tooltip=tooltip(("series", "layer"), ("index", "state"), ("value", importance, ".3e")),
        )
        .add_params(ZOOM)
    )
    return specification(alt.layer(points), 280)


# One layer of a proposal.


def layer_tables(layer: ProposalLayer, rank: int, gate: float, tolerance: float) -> dict[str, pa.Table]:
    """Return the tables of one layer's evidence at a rank.

    They are states (kept or not), lines (cut, gate), the recorded share and bound of every rank, and the
    tolerance.
    """
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
    """Return the alignment of the labels of cut and gate, the cut `distance` right of the gate."""
    if abs(distance) > NEAR:
        return ["center", "center"]
    return ["right", "left"] if distance < 0 else ["left", "right"]


def _ranks_table(layer: ProposalLayer, chosen: int) -> pa.Table:
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


@cache
def layer_spectrum_spec(importance: str) -> Spec:
    """Return the chart of one layer's spectrum: kept and discarded states, the cut, the gate."""
    fates, lines = [KEPT, DISCARDED], ["cut", "gate"]
    states = (
        table("states")
        .mark_point(clip=True, size=30, strokeWidth=1.4, opacity=1)
        .encode(
            whole_x("index", "state, by importance"),
            log_y("value", importance),
            alt.Color("fate:N", scale=kinds(fates, [colors.POINT, colors.QUIET]), legend=LEGEND),
            alt.Shape("fate:N", scale=kinds(fates, ["circle", "cross"]), legend=LEGEND),
            tooltip=tooltip(("index", "state"), ("value", importance, ".3e"), ("fate", "would be")),
        )
    )
    at = whole_x("at", "state, by importance")
    color = alt.Color("kind:N", scale=kinds(lines, [colors.CUT, colors.QUIET]), legend=None)
    rule = (
        alt.Chart()
        .mark_rule(clip=True, strokeWidth=2)
        .encode(
            at,
            color,
            alt.StrokeDash("kind:O", scale=kinds(lines, [[1, 0], [4, 3]]), legend=None),
            tooltip=tooltip(("text", "line")),
        )
    )
    label = (
        alt.Chart()
        .mark_text(dy=-7, fontSize=12, fontWeight=600, align=alt.expr("datum.side"))
        .encode(at, color, y=alt.value(0), text=alt.Text(field="label"))
    )
    layers = alt.layer(states, alt.layer(rule, label, data=alt.NamedData("lines")))
    apart = layers.resolve_scale(color="independent", shape="independent", strokeDash="independent")
    return specification(apart, SPECTRUM_HEIGHT)


CURVE_HEIGHT = 142
"""Two of them are as high as the spectrum beside them."""
SMALL_PERCENT = "datum.value < 1e-5 ? format(100 * datum.value, '.0e') + '%' : format(datum.value, '.3~%')"


@cache
def rank_curve_spec(
    field: str, axis: str, title: str, *, percent: bool, limit: bool, height: int = CURVE_HEIGHT
) -> Spec:
    """Return discarded share or error bound along the rank, with the chosen rank and the tolerance.

    An axis title that is longer than the axis would take the place of the curve: `title` is for tooltips.
    """
    x = whole_x("rank", "rank r")
    y = partial(log_y, title=axis)
    if percent:
        y = partial(y, format=".3~%", tick=SMALL_PERCENT)
    choices = ["chosen", "other"]
    curve = (
        table("ranks")
        .mark_line(clip=True, strokeWidth=1.5, interpolate="step-after", color=colors.POINT)
        .encode(x, y(field))
    )
    points = (
        table("ranks")
        .mark_point(clip=True, filled=True, color=colors.CUT)
        .encode(
            x,
            y(field),
            alt.Size("chosen:O", scale=kinds(choices, [130, 40]), legend=None),
            alt.Opacity("chosen:O", scale=kinds(choices, [1, 0]), legend=None),
            tooltip=tooltip(("rank", "rank"), (field, title, ".3%" if percent else ".4g")),
        )
    )
    tolerance = (
        table("limit")
        .mark_rule(clip=True, strokeDash=[4, 3], color=colors.QUIET, strokeWidth=1.5)
        .encode(y("tolerance"), tooltip=tooltip(("tolerance", "tolerance", ".3%")))
    )
    return specification(alt.layer(curve, points, *([tolerance] if limit else [])), height)


# What was measured.


def measured_tables(proposal: Proposal, ranks: Sequence[int]) -> dict[str, pa.Table]:
    """Return measured points by the number of states kept, and the choice with its values where measured."""
    full = [layer["state_dim"] for layer in proposal["layers"]]
    measured: Mapping[str, Any] = proposal.get("measured") or {}
    rows: list[tuple[str, list[int], Mapping[str, Any]]] = [(NOW, full, measured.get("before") or {})]
    for point in measured.get("points", []):
        rows.append((RULE if point.get("rule") else MEASURED, point["ranks"], point))
    chosen: Mapping[str, Any] = next((values for _, at, values in rows if list(at) == list(ranks)), {})
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
    """Return 95 % intervals of loss and accuracy after each cut: before, plus the interval of the change."""
    columns = {}
    for field in ("loss", "accuracy"):
        changes = [point.get(f"{field}_change") or (None, None) for point in points]
        for name, end in (("low", 0), ("high", 1)):
            values = [before[field] + change[end] if change[end] is not None else None for change in changes]
            columns[f"{field}_{name}"] = pa.array(values, pa.float64())
    return columns


@cache
def measured_spec(field: str, title: str, format: str) -> Spec:
    """Return the chart of measured loss or accuracy: points only, nothing in between is claimed."""
    x = whole_x("states", "states kept, all layers together", padding=16)  # room for the ring
    y = partial(
        alt.Y,
        title=title,
        scale=alt.Scale(zero=False, padding=12),
        axis=alt.Axis(format=format, tickCount=5),
    )
    points_of = [NOW, MEASURED, RULE]
    color = alt.Color(
        "kind:N", scale=kinds(points_of, [colors.QUIET, colors.POINT, colors.RULE]), legend=LEGEND
    )
    points = (
        table("points")
        .mark_point(clip=True, filled=True, opacity=1)
        .encode(
            x,
            y(f"{field}:Q"),
            color,
            alt.Shape("kind:N", scale=kinds(points_of, ["square", "circle", "diamond"]), legend=LEGEND),
            alt.Size("kind:O", scale=kinds(points_of, [90, 60, 120]), legend=LEGEND),
            tooltip=tooltip(
                ("kind", "point"),
                ("ranks", "states per layer"),
                ("loss", "loss", ".4f"),
                ("accuracy", "accuracy", ".2%"),
            ),
        )
    )
    interval = (
        table("points")
        .mark_rule(clip=True, strokeWidth=1.5, opacity=0.8)
        .encode(x, y(f"{field}_low:Q"), alt.Y2(f"{field}_high"), color)
    )
    rule = table("choice").mark_rule(clip=True, color=colors.CUT, strokeDash=[4, 3]).encode(x)
    ring = (
        table("choice")
        .mark_point(clip=True, filled=False, color=colors.CUT, size=330, strokeWidth=2.2, opacity=1)
        .encode(x, y(f"{field}:Q"))
    )
    return specification(alt.layer(rule, interval, points, ring), 250)


# Frequency responses.


def response_table(layer: ProposalLayer) -> pa.Table:
    """Return singular values by frequency (omega, value, curve): layer now, cut, and their difference."""
    response = cast(Mapping[str, Any], layer["response"])
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


@cache
def response_spec() -> Spec:
    """Return the chart of magnitude over frequency: what a layer passes on, now and cut as proposed."""
    names = list(RESPONSES.values())
    scale = alt.Scale(domain=[0, 3.1416], nice=False)
    lines = (
        table("curves")
        .mark_line(clip=True, strokeWidth=1.8, tooltip=True)
        .encode(
            alt.X("omega:Q", title="frequency, radians per step", scale=scale, axis=alt.Axis(grid=False)),
            log_y("value", "largest singular value"),
            alt.Color("curve:N", scale=kinds(names, [colors.QUIET, colors.POINT, colors.CUT]), legend=LEGEND),
            alt.StrokeDash("curve:O", scale=kinds(names, [[1, 0], [5, 3], [1, 0]]), legend=LEGEND),
            tooltip=tooltip(("curve", "curve"), ("omega", "frequency", ".3f"), ("value", "gain", ".3g")),
        )
    )
    return specification(alt.layer(lines), 230)
