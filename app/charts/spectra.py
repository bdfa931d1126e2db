"""Spectra over training: tables and specifications of the heat map and of the rank trajectories."""

import contextlib
import math
from collections.abc import Sequence
from functools import cache

import altair as alt
import numpy as np
import pyarrow as pa

from hankelboard.app.charts.metrics import names_column
from hankelboard.app.charts.parts import LEGEND, STEPS, ZOOM, kinds
from hankelboard.app.data.run_cache import SpectrumRow
from hankelboard.comparison import colors
from hankelboard.comparison.specification import Spec, specification, table, tooltip
from hankelboard.storage.spectrum import discarded_shares, rank_for_tolerance

TOLERANCES = (0.01, 0.02, 0.05, 0.1, 0.2)
SNAPSHOTS, STATES, LEVELS = 120, 128, 2**16 - 1
N_NAME = "N, all states"


def thinned(snapshots: Sequence[SpectrumRow]) -> list[SpectrumRow]:
    """Return about SNAPSHOTS snapshots: first, last and those around a cut, the rest evenly."""
    count = len(snapshots)
    if count <= SNAPSHOTS:
        return list(snapshots)
    evenly = {round(i * (count - 1) / (SNAPSHOTS - 1)) for i in range(SNAPSHOTS)}
    cuts = {
        place
        for i in range(1, count)
        if snapshots[i]["state_dim"] != snapshots[i - 1]["state_dim"]
        for place in (i - 1, i)
    }
    return [snapshots[i] for i in sorted(evenly | cuts)]


def heat_table(snapshots: Sequence[SpectrumRow], last_step: int) -> pa.Table:
    """Return the heat map, one row per drawn column: start, end, stride, and values as 16-bit levels.

        log σ = base + spacing · level,  level = 256 · high + low,  level 0: nothing to draw

    `high` and `low` hold a byte per state: 2 bytes a cell, where a row for each was 24 (250 kB a refresh).
    Levels are so close that σ is exact to four digits over six decades. A column lasts until the next
    snapshot. Of more than STATES states every k-th is drawn, k (`stride`) the same for all columns; values
    ≤ 0 have no colour on a log scale and are left out.
    """
    shown = thinned(snapshots)
    stride = max(1, math.ceil(max((len(s["hsv"]) for s in shown), default=1) / STATES))
    starts = [snapshot["step"] for snapshot in shown]
    ends = [*starts[1:], max(last_step, starts[-1] + 1)] if starts else []
    levels = [_levels(np.asarray(snapshot["hsv"], dtype=np.float64)[::stride]) for snapshot in shown]
    lasting = [i for i in range(len(shown)) if ends[i] > starts[i]]
    return pa.table(
        {
            "start": pa.array([starts[i] for i in lasting], pa.int32()),
            "end": pa.array([ends[i] for i in lasting], pa.int32()),
            "stride": pa.array([stride] * len(lasting), pa.int32()),
            "base": pa.array([levels[i][1] for i in lasting], pa.float64()),
            "spacing": pa.array([levels[i][2] for i in lasting], pa.float64()),
            "high": pa.array([(levels[i][0] >> 8).astype(np.uint8).tobytes() for i in lasting], pa.binary()),
            "low": pa.array([(levels[i][0] & 255).astype(np.uint8).tobytes() for i in lasting], pa.binary()),
        }
    )


def _levels(hsv: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return levels 1 to LEVELS of values on a log scale (0: no logarithm), their base and spacing."""
    levels = np.zeros(len(hsv), np.int64)
    drawn = (hsv > 0) & np.isfinite(hsv)
    if not drawn.any():
        return levels, 0.0, 0.0
    logs = np.log(hsv[drawn])
    spacing = float(np.ptp(logs)) / (LEVELS - 1) or 1.0
    levels[drawn] = 1 + np.rint((logs - logs.min()) / spacing)
    return levels, float(logs.min()) - spacing, spacing


def not_drawable(snapshots: Sequence[SpectrumRow]) -> int:
    """Return the number of values without a place on a log scale: zero, negative, not a number."""
    return sum(int(np.count_nonzero(~(np.asarray(s["hsv"], dtype=np.float64) > 0))) for s in snapshots)


@cache
def heat_spec(importance: str) -> Spec:
    """Return σ by colour, over training (across) and state by importance (upwards), drawn on a canvas."""
    scale = alt.Scale(type="log", scheme="viridis")
    legend = alt.Legend(orient="top", format="~g", columns=6, tickCount=2)  # digits below 2 decades
    cells = (
        _unpacked()
        .mark_rect(clip=True, strokeWidth=1)
        .encode(
            alt.X("start:Q", title="step", axis=STEPS, scale=alt.Scale(nice=False)),
            alt.X2("end"),
            alt.Y("index:Q", title="state, by importance", scale=alt.Scale(nice=False, zero=False),
                  axis=alt.Axis(grid=False, tickMinStep=1)),
            alt.Y2("upper"),
            alt.Color("value:Q", title=importance, scale=scale, legend=legend),
            alt.Stroke("value:Q", title=importance, scale=scale, legend=None),  # no seams between cells
            tooltip=tooltip(("start", "step", ",d"), ("index", "state"), ("value", importance, ".3e")),
        )
    )  # fmt: skip
    return specification(alt.layer(cells), 300, renderer="canvas")


def _unpacked() -> alt.Chart:
    """Return what the browser makes of the rows of `heat_table`: one of each cell."""
    return (
        table("columns")
        .transform_calculate(place="sequence(length(datum.low))")
        .transform_flatten(["place", "high", "low"])
        .transform_filter("datum.high + datum.low > 0")
        .transform_calculate(value="exp(datum.base + datum.spacing * (256 * datum.high + datum.low))")
        .transform_calculate(index="datum.place * datum.stride + 1")
        .transform_calculate(upper="datum.index + datum.stride")
    )


def rank_table(snapshots: Sequence[SpectrumRow]) -> pa.Table:
    """Return the rank (step, rank, tolerance) that each tolerance leaves at each snapshot, and N itself."""
    rows: list[tuple[int, int, str]] = []
    for snapshot in thinned(snapshots):
        rows.append((snapshot["step"], len(snapshot["hsv"]), N_NAME))
        try:
            shares = _shares(snapshot)
        except (TypeError, ValueError):
            continue  # nothing can be said about ranks here
        rows += [(snapshot["step"], rank_for_tolerance(shares, t), name_of(t)) for t in TOLERANCES]
    return pa.table(
        {
            "step": pa.array([row[0] for row in rows], pa.int32()),
            "rank": pa.array([row[1] for row in rows], pa.int32()),
            "tolerance": names_column([row[2] for row in rows]),
        }
    )


def kept_table(snapshots: Sequence[SpectrumRow]) -> pa.Table:
    """Return the share of the sum (step, share, tolerance) that the newest spectrum's ranks would have kept.

    The ranks are those that the tolerances leave of the newest spectrum; snapshots of another state
    dimension,
    from before a cut, are left out.
    """
    try:
        ranks = [rank_for_tolerance(_shares(snapshots[-1]), tolerance) for tolerance in TOLERANCES]
    except (ValueError, IndexError):
        ranks = []
    rows: list[tuple[int, float, str]] = []
    for snapshot in thinned(snapshots) if ranks else []:
        if len(snapshot["hsv"]) == len(snapshots[-1]["hsv"]):
            with contextlib.suppress(ValueError):
                shares = _shares(snapshot)
                rows += [
                    (snapshot["step"], 1.0 - shares[rank], kept_name(tolerance))
                    for rank, tolerance in zip(ranks, TOLERANCES, strict=True)
                ]
    return pa.table(
        {
            "step": pa.array([row[0] for row in rows], pa.int32()),
            "share": pa.array([row[1] for row in rows], pa.float32()),
            "tolerance": names_column([row[2] for row in rows]),
        }
    )


def _shares(snapshot: SpectrumRow) -> list[float]:
    return discarded_shares(list(map(float, snapshot["hsv"])))


def kept_name(tolerance: float) -> str:
    return f"{1 - tolerance:.0%} kept at last"


@cache
def kept_spec() -> Spec:
    """Return the chart of the share that the last spectrum's ranks would have kept at each step."""
    looks = kinds([kept_name(tolerance) for tolerance in TOLERANCES], list(colors.TOLERANCES))
    lines = (
        table("kept")
        .mark_line(clip=True, strokeWidth=1.8, point={"filled": True, "size": 22})
        .encode(
            alt.X("step:Q", title="step", axis=STEPS),
            alt.Y("share:Q", title="share kept", scale=alt.Scale(zero=False),
                  axis=alt.Axis(format=".3~%", tickCount=5)),
            alt.Color("tolerance:N", scale=looks, legend=LEGEND),
            tooltip=tooltip(("tolerance", "ranks"), ("step", "step", ",d"), ("share", "kept", ".2%")),
        )
        .add_params(ZOOM)
    )  # fmt: skip
    return specification(alt.layer(lines), 240)


def name_of(tolerance: float) -> str:
    return f"{tolerance:.0%} discarded"


@cache
def rank_spec() -> Spec:
    """Return the rank trajectories: what a cut at each tolerance would leave, had it been made then."""
    looks = kinds([N_NAME, *map(name_of, TOLERANCES)], [colors.QUIET, *colors.TOLERANCES])
    channels = (
        alt.X("step:Q", title="step", axis=STEPS),
        alt.Y("rank:Q", title="rank r", axis=alt.Axis(tickMinStep=1)),
        alt.Color("tolerance:N", scale=looks, legend=LEGEND),
    )
    lines = (
        table("ranks")
        .mark_line(clip=True, interpolate="step-after", strokeWidth=1.8)
        .encode(*channels)
        .add_params(ZOOM)
    )
    points = (
        table("ranks")
        .mark_point(clip=True, filled=True, size=28)
        .encode(
            *channels, tooltip=tooltip(("tolerance", "tolerance"), ("step", "step", ",d"), ("rank", "rank"))
        )
    )
    return specification(alt.layer(lines, points), 300)
