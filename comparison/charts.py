"""Charts of a comparison and the tables they draw, for page and report alike.

Colour goes by series and stays with it whatever else is compared; dash and shape say the same again.
"""

import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import altair as alt
import numpy as np

from hankelboard.comparison import colors
from hankelboard.comparison.curves import AXES, Curve, band
from hankelboard.comparison.series import ENOUGH, FIGURES, Final, Series, pareto
from hankelboard.comparison.specification import Spec, specification, table, tooltip, zoom

Rows = list[dict[str, Any]]

FEW = 6
"""Series up to which charts stand side by side; more need the whole width, for the legend."""
NARROW = 460
"""Pixels of a plot in which two names do not stand side by side."""
HUES = 8
"""Colours of the theme (and of the report's palette)."""
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
SHAPES = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "cross",
    "triangle-down",
    "triangle-right",
    "triangle-left",
)
legend = partial(
    alt.Legend,
    orient="top",
    title=None,
    columns=alt.expr(f"width < {NARROW} ? 1 : 2"),
    labelLimit=alt.expr(f"width < {NARROW} ? width - 30 : width / 2 - 60"),
    offset=12,
    symbolOpacity=1,
)
AUTOSIZE = {"type": "fit-x", "contains": "padding"}
"""The height of a chart is that of its plot: a legend of many rows makes it higher, not flatter."""
ZOOM = zoom()
KEPT = 64
"""Specifications that are kept; which series are compared, and so their names, varies with the reader."""


def places(keys: Sequence[str]) -> dict[str, int]:
    """Return a place in the palette for each key: by its hash, or the next free one if that is taken.

    >>> len(set(places(["a", "b", "c"]).values()))
    3
    """
    taken: dict[int, str] = {}
    for key in sorted(keys):
        hue = int.from_bytes(hashlib.blake2s(key.encode(), digest_size=4).digest()) % HUES
        tries = (turn * HUES + (hue + shift) % HUES for turn in itertools.count() for shift in range(HUES))
        taken[next(place for place in tries if place not in taken)] = key
    return {key: place for place, key in taken.items()}


class Palette:
    """Colour, dash and shape of each series. Labels stand at their place in the theme's list of colours."""

    def __init__(self, series: Sequence[Series]):
        place_of = places([one.key for one in series])
        self._places = {one.label: place_of[one.key] for one in series}
        self._size = HUES * (1 + max(self._places.values(), default=0) // HUES)
        self.labels = [one.label for one in series]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Palette) and self._looks == other._looks

    def __hash__(self) -> int:
        return hash(self._looks)

    @property
    def _looks(self) -> tuple[tuple[str, int], ...]:
        return tuple(self._places.items())

    def _scale(self, range_: Sequence[Any] | None = None) -> alt.Scale:
        at = {place: label for label, place in self._places.items()}
        domain = [at.get(place, f"\u200b{place}") for place in range(self._size)]
        return alt.Scale(domain=domain) if range_ is None else alt.Scale(domain=domain, range=list(range_))

    def _legend(self, symbol: str) -> alt.Legend:
        """Return a legend; `symbol` is "stroke" for lines."""
        if not symbol:
            return legend(values=self.labels)
        return legend(values=self.labels, symbolType=symbol, symbolSize=300, symbolStrokeWidth=2.4)

    def color(self, symbol: str = "") -> alt.Color:
        return alt.Color("series:N", scale=self._scale(), legend=self._legend(symbol))

    def dash(self) -> alt.StrokeDash:
        dashes = [DASHES[self._other(place, DASHES)] for place in range(self._size)]
        return alt.StrokeDash("series:O", scale=self._scale(dashes), legend=self._legend("stroke"))

    def shape(self) -> alt.Shape:
        shapes = [SHAPES[self._other(place, SHAPES)] for place in range(self._size)]
        return alt.Shape("series:O", scale=self._scale(shapes), legend=self._legend(""))

    @staticmethod
    def _other(place: int, kinds: Sequence[Any]) -> int:
        """Return the next kind in the next turn of the colours: no two series look alike."""
        return (place + place // HUES) % len(kinds)


def curve_tables(
    series: Sequence[Series], curves: Mapping[str, Curve], axis: str, skip: float = 0.0
) -> dict[str, Rows]:
    """Return `curves`, every run, and `bands`: means from two seeds on, mean ± sd from ENOUGH on.

    `skip` is the share of the longest curve that is left out at the start.
    """
    ends = [float(curve.along(axis)[-1]) for curve in curves.values() if len(curve.value)]
    start = skip * max(ends, default=0.0)
    lines: Rows = []
    bands: Rows = []
    for one in series:
        known = list({run.seed: curves[run.run] for run in one.runs if run.run in curves}.values())
        for run in one.runs:
            if run.run in curves:
                lines += _line(one.label, run.run, run.seed, curves[run.run], axis, faint=len(known) > 1)
        spread = band(known, axis)
        if spread is not None:
            sds = spread.sd if len(known) >= ENOUGH else np.zeros(len(spread.at))
            triples = zip(spread.at.tolist(), spread.mean.tolist(), sds.tolist(), strict=True)
            bands += [
                {"series": one.label, "at": at, "mean": mean, "low": mean - sd, "high": mean + sd,
                 "n": len(known)}
                for at, mean, sd in triples
            ]  # fmt: skip
    return {
        "curves": [row for row in lines if row["at"] >= start],
        "bands": [row for row in bands if row["at"] >= start],
    }


def _line(label: str, run: str, seed: int, curve: Curve, axis: str, *, faint: bool) -> Rows:
    pairs = zip(curve.along(axis).tolist(), curve.value.tolist(), strict=True)
    return [
        {"series": label, "run": run, "seed": seed, "at": at, "faint": faint,
         "value": value if np.isfinite(value) else None}
        for at, value in pairs
    ]  # fmt: skip


@lru_cache(KEPT)
def curve_spec(palette: Palette, axis: str, metric: str, format: str, *, height: int = 320) -> Spec:
    """Return the chart of all runs' curves; where a series has several, each faint under their mean ± sd."""
    x = alt.X("at:Q", title=AXES[axis].title, axis=alt.Axis(grid=False, format=",~r", tickCount=6))
    axis_up = alt.Axis(format=format, tickCount=5)
    y = partial(alt.Y, title=metric, scale=alt.Scale(zero=False), axis=axis_up)
    color, dash = palette.color("stroke"), palette.dash()
    raw = (
        table("curves")
        .mark_line(clip=True)
        .encode(
            x,
            y("value:Q"),
            alt.Detail(field="run"),
            color,
            dash,
            opacity=_where_faint(0.35, 1.0),
            strokeWidth=_where_faint(1, 2),
        )
        .add_params(ZOOM)
    )
    touch = (
        table("curves")
        .mark_point(clip=True, size=40, opacity=0)
        .encode(
            x,
            y("value:Q"),
            alt.Detail(field="run"),
            tooltip=tooltip(
                ("series", "series"),
                ("run", "run"),
                ("seed", "seed"),
                ("at", AXES[axis].title, ",.4~r"),
                ("value", metric, ".4~g"),
            ),
        )
    )
    area = table("bands").mark_area(clip=True, opacity=0.16).encode(x, y("low:Q"), alt.Y2("high"), color)
    mean = table("bands").mark_line(clip=True, strokeWidth=2.4).encode(x, y("mean:Q"), color, dash)
    return specification(alt.layer(area, raw, mean, touch), height, autosize=AUTOSIZE)


def _where_faint(faint: float, full: float) -> Any:
    return alt.condition("datum.faint", alt.value(faint), alt.value(full))


def point_tables(series: Sequence[Series], figure: str, against: str) -> dict[str, Rows]:
    """Return `points`, every run; `means` from two seeds on; `front`, means that no other mean beats."""
    points: Rows = []
    means: Rows = []
    centres: list[tuple[float, float]] = []
    for one in series:
        pairs = [(getattr(run, against), getattr(run, figure), run) for run in one.runs]
        known = [(float(x), float(y), run) for x, y, run in pairs if _is_number(x) and _is_number(y)]
        if not known:
            continue
        xs, ys = _over_seeds(known)
        for x, y, run in known:
            points.append({"series": one.label, "run": run.run, "seed": run.seed, "x": x, "y": y,
                           "states": run.states, "faint": len(xs) > 1})  # fmt: skip
        centres.append((float(xs.mean()), float(ys.mean())))
        if len(xs) > 1:
            sd = float(ys.std(ddof=1)) if len(xs) >= ENOUGH else 0.0
            means.append({"series": one.label, "x": centres[-1][0], "y": centres[-1][1], "n": len(xs),
                          "low": centres[-1][1] - sd, "high": centres[-1][1] + sd,
                          "x_low": float(xs.min()), "x_high": float(xs.max())})  # fmt: skip
    front = [{"x": centres[i][0], "y": centres[i][1]} for i in pareto(centres)]
    return {"points": points, "means": means, "front": front}


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _over_seeds(known: Sequence[tuple[float, float, Final]]) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y, (seeds,) each; runs of the same seed are averaged."""
    by_seed: dict[int, list[tuple[float, float]]] = {}
    for x, y, run in known:
        by_seed.setdefault(run.seed, []).append((x, y))
    xs, ys = np.array([np.mean(pairs, axis=0) for pairs in by_seed.values()]).T
    return xs, ys


@lru_cache(KEPT)
def point_spec(palette: Palette, figure: str, title: str, *, log: bool = False, height: int = 300) -> Spec:
    """Return a figure against states or seconds: runs, means with ± sd, and the Pareto front of the means."""
    scale = alt.Scale(type="log", nice=False, padding=24) if log else alt.Scale(zero=False, padding=12)
    ticks = alt.Axis(grid=False, format=",~r", tickCount=6, labelOverlap=True)
    across = partial(alt.X, title=title, scale=scale, axis=ticks)
    up = partial(
        alt.Y,
        title=FIGURES[figure],
        scale=alt.Scale(zero=False, padding=12),
        axis=alt.Axis(format=".3~%", tickCount=5),
    )
    x, y, color, shape = across("x:Q"), up("y:Q"), palette.color(), palette.shape()
    at, value = ("x", title, ",.4~r"), ("y", FIGURES[figure], ".2%")
    front = (
        table("front").mark_line(color=colors.QUIET, strokeDash=[4, 3], interpolate="step-after").encode(x, y)
    )
    points = (
        table("points")
        .mark_point(clip=True, filled=True)
        .encode(
            x,
            y,
            color,
            shape,
            opacity=_where_faint(0.4, 1.0),
            size=_where_faint(34, 110),
            tooltip=tooltip(
                ("series", "series"),
                ("run", "run"),
                ("seed", "seed"),
                at,
                value,
                ("states", "states now", ","),
            ),
        )
        .add_params(ZOOM)
    )
    spread = table("means").mark_rule(strokeWidth=1.6).encode(x, up("low:Q"), alt.Y2("high"), color)
    reach = (
        table("means")
        .mark_rule(strokeWidth=1, opacity=0.6)
        .encode(across("x_low:Q"), alt.X2("x_high"), y, color)
    )
    mean = (
        table("means")
        .mark_point(filled=True, size=120, opacity=1)
        .encode(x, y, color, shape, tooltip=tooltip(("series", "mean of series"), ("n", "seeds"), at, value))
    )
    return specification(alt.layer(front, reach, spread, points, mean), height, autosize=AUTOSIZE)
