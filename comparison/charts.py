"""Charts of a comparison: Vega-Lite specifications and the tables they draw, for page and report alike.

Colour goes by series and stays with it whatever else is compared; dash and shape say the same again.
"""

import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hankelboard.comparison.curves import AXES, Curve, band
from hankelboard.comparison.series import ENOUGH, FIGURES, Final, Series, pareto

Spec = dict[str, Any]
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
LEGEND: Spec = {
    "columns": {"expr": f"width < {NARROW} ? 1 : 2"},
    "labelLimit": {"expr": f"width < {NARROW} ? width - 30 : width / 2 - 60"},
    "offset": 12,
    "symbolOpacity": 1,
}
AUTOSIZE = {"type": "fit-x", "contains": "padding"}
"""The height of a chart is that of its plot: a legend of many rows makes it higher, not flatter."""
PADDING = {"left": 2, "top": 4, "right": 6, "bottom": 2}
ZOOM = {
    "name": "zoom",
    "bind": "scales",
    "select": {"type": "interval", "zoom": "wheel![event.ctrlKey || event.metaKey]"},
}
SVG = {"embedOptions": {"renderer": "svg"}}


def places(keys: Sequence[str]) -> dict[str, int]:
    """A place in the palette for each key: by its hash; where two fall together the next free one.

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
        found = places([one.key for one in series])
        self._places = {one.label: found[one.key] for one in series}
        self._size = HUES * (1 + max(self._places.values(), default=0) // HUES)
        self.labels = [one.label for one in series]

    def _channel(self, kind: str, range_: Sequence[Any] | None, symbol: str) -> Spec:
        at = {place: label for label, place in self._places.items()}
        domain = [at.get(place, f"\u200b{place}") for place in range(self._size)]
        scale: Spec = {"domain": domain}
        if range_ is not None:
            scale["range"] = list(range_)
        legend: Spec = {"orient": "top", "title": None, "values": self.labels, **LEGEND}
        if symbol:
            legend |= {"symbolType": symbol, "symbolSize": 300, "symbolStrokeWidth": 2.4}
        return {"field": "series", "type": kind, "scale": scale, "legend": legend}

    def color(self, symbol: str = "") -> Spec:
        """`symbol` is that of the legend: "stroke" for lines."""
        return self._channel("nominal", None, symbol)

    def dash(self) -> Spec:
        found = [DASHES[self._other(place, DASHES)] for place in range(self._size)]
        return self._channel("ordinal", found, "stroke")

    def shape(self) -> Spec:
        found = [SHAPES[self._other(place, SHAPES)] for place in range(self._size)]
        return self._channel("ordinal", found, "")

    @staticmethod
    def _other(place: int, kinds: Sequence[Any]) -> int:
        """The next kind in the next turn of the colours: no two series look alike."""
        return (place + place // HUES) % len(kinds)


def curve_tables(
    series: Sequence[Series], curves: Mapping[str, Curve], axis: str, skip: float = 0.0
) -> dict[str, Rows]:
    """curves: every run; bands: mean of series with at least two seeds, and mean ± sd from ENOUGH on.

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


def curve_spec(palette: Palette, axis: str, metric: str, format: str, *, height: int = 320) -> Spec:
    """Curves of all runs; where a series has several, each faint under their mean ± sd."""
    x = {"field": "at", "type": "quantitative", "title": AXES[axis].title,
         "axis": {"grid": False, "format": ",~r", "tickCount": 6}}  # fmt: skip
    y = {"type": "quantitative", "title": metric, "scale": {"zero": False},
         "axis": {"format": format, "tickCount": 5}}  # fmt: skip
    raw = {
        "data": {"name": "curves"},
        "params": [ZOOM],
        "mark": {"type": "line", "clip": True},
        "encoding": {
            "x": x, "y": {**y, "field": "value"}, "detail": {"field": "run"},
            "color": palette.color("stroke"), "strokeDash": palette.dash(), **_faint(1.0, 0.35),
            "strokeWidth": {"condition": {"test": "datum.faint", "value": 1}, "value": 2},
        },
    }  # fmt: skip
    touch = {
        "data": {"name": "curves"},
        "mark": {"type": "point", "size": 40, "clip": True, "opacity": 0},
        "encoding": {
            "x": x, "y": {**y, "field": "value"}, "detail": {"field": "run"},
            "tooltip": [_told("series", "series"), _told("run", "run"), _told("seed", "seed"),
                        _told("at", AXES[axis].title, ",.4~r"), _told("value", metric, ".4~g")],
        },
    }  # fmt: skip
    area = {
        "data": {"name": "bands"},
        "mark": {"type": "area", "opacity": 0.16, "clip": True},
        "encoding": {
            "x": x,
            "y": {**y, "field": "low"},
            "y2": {"field": "high"},
            "color": palette.color("stroke"),
        },
    }
    mean = {
        "data": {"name": "bands"},
        "mark": {"type": "line", "strokeWidth": 2.4, "clip": True},
        "encoding": {"x": x, "y": {**y, "field": "mean"}, "color": palette.color("stroke"),
                     "strokeDash": palette.dash()},
    }  # fmt: skip
    return {"height": height, "padding": PADDING, "autosize": AUTOSIZE, "usermeta": SVG,
            "layer": [area, raw, mean, touch]}  # fmt: skip


def _faint(full: float, faint: float) -> Spec:
    return {"opacity": {"condition": {"test": "datum.faint", "value": faint}, "value": full}}


def _told(field: str, title: str, format: str = "") -> Spec:
    return {"field": field, "title": title, **({"format": format, "type": "quantitative"} if format else {})}


def point_tables(series: Sequence[Series], figure: str, against: str) -> dict[str, Rows]:
    """points: every run; means: of series of two seeds or more; front: means that no other beats."""
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
    """x and y, (seeds,) each: of runs of one seed their mean."""
    by_seed: dict[int, list[tuple[float, float]]] = {}
    for x, y, run in known:
        by_seed.setdefault(run.seed, []).append((x, y))
    xs, ys = np.array([np.mean(pairs, axis=0) for pairs in by_seed.values()]).T
    return xs, ys


def point_spec(palette: Palette, figure: str, title: str, *, log: bool = False, height: int = 300) -> Spec:
    """A figure against states or seconds: every run, means with ± sd, and the Pareto front of the means."""
    x = {"field": "x", "type": "quantitative", "title": title,
         "scale": {"type": "log", "nice": False, "padding": 24} if log else {"zero": False, "padding": 12},
         "axis": {"grid": False, "format": ",~r", "tickCount": 6, "labelOverlap": True}}  # fmt: skip
    y = {"type": "quantitative", "title": FIGURES[figure], "scale": {"zero": False, "padding": 12},
         "axis": {"format": ".3~%", "tickCount": 5}}  # fmt: skip
    front = {
        "data": {"name": "front"},
        "mark": {"type": "line", "color": "#7C8798", "strokeDash": [4, 3], "interpolate": "step-after"},
        "encoding": {"x": x, "y": {**y, "field": "y"}},
    }
    points = {
        "data": {"name": "points"},
        "params": [ZOOM],
        "mark": {"type": "point", "filled": True, "clip": True},
        "encoding": {
            "x": x, "y": {**y, "field": "y"}, "color": palette.color(), "shape": palette.shape(),
            **_faint(1.0, 0.4), "size": {"condition": {"test": "datum.faint", "value": 34}, "value": 110},
            "tooltip": [_told("series", "series"), _told("run", "run"), _told("seed", "seed"),
                        _told("x", title, ",.4~r"), _told("y", FIGURES[figure], ".2%"),
                        _told("states", "states now", ",")],
        },
    }  # fmt: skip
    spread = {
        "data": {"name": "means"},
        "mark": {"type": "rule", "strokeWidth": 1.6},
        "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": palette.color()},
    }
    across = {
        "data": {"name": "means"},
        "mark": {"type": "rule", "strokeWidth": 1, "opacity": 0.6},
        "encoding": {"x": {**x, "field": "x_low"}, "x2": {"field": "x_high"}, "y": {**y, "field": "y"},
                     "color": palette.color()},
    }  # fmt: skip
    mean = {
        "data": {"name": "means"},
        "mark": {"type": "point", "filled": True, "size": 120, "opacity": 1},
        "encoding": {
            "x": x, "y": {**y, "field": "y"}, "color": palette.color(), "shape": palette.shape(),
            "tooltip": [_told("series", "mean of series"), _told("n", "seeds"), _told("x", title, ",.4~r"),
                        _told("y", FIGURES[figure], ".2%")],
        },
    }  # fmt: skip
    return {"height": height, "padding": PADDING, "autosize": AUTOSIZE, "usermeta": SVG,
            "layer": [front, across, spread, points, mean]}  # fmt: skip
