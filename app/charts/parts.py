"""Pieces that charts are made of: axes, legends, the looks of a path."""

from typing import Any

import altair as alt

from hankelboard.comparison.specification import zoom

ZOOM = zoom(encodings=["x"])
STEPS = alt.Axis(format=",d", grid=False, tickMinStep=1, tickCount=6, labelOverlap=True)
PATHS = ["live", "left", "raw"]
FAINT = alt.Scale(domain=PATHS, range=[1.0, 0.38, 0.3])
DASH = alt.Scale(domain=PATHS, range=[[1, 0], [4, 3], [1, 0]])


def legend(**options: Any) -> alt.Legend:
    """Return a legend above the chart, without a title, in two columns."""
    return alt.Legend(orient="top", title=None, offset=16, columns=2, **options)


LEGEND = legend()


def kinds(domain: list[str], range_: list[Any]) -> alt.Scale:
    """Return the scale of a channel that distinguishes kinds."""
    return alt.Scale(domain=domain, range=range_)


def whole_x(field: str, title: str, padding: int = 6) -> alt.X:
    """Return a linear axis of whole numbers that follows the data."""
    scale = alt.Scale(nice=False, zero=False, padding=padding)
    return alt.X(f"{field}:Q", title=title, scale=scale, axis=alt.Axis(grid=False, format="d", tickMinStep=1))


ROUND = "format(datum.value / pow(10, floor(log(datum.value) / LN10 + 1e-9)), '.6~g')"
"""The first digits of a tick: 1 for 0.01, 2 for 200."""
NARROW = "log(domain('y')[1] / domain('y')[0]) < 4.7"
"""Two decades or less: too few powers of ten to read values from."""
TICK = "datum.value < 1e-3 ? format(datum.value, '.0e') : datum.label"
"""0.01 and 1e-4: beyond three decades zeros are hard to count, and d3 itself mixes 0.000001 with 1e-7."""


def log_y(field: str, title: str, format: str = "~g", tick: str = TICK) -> alt.Y:
    """Return a log axis that names powers of ten only, in a narrow range twice and five times one, too.

    Named as they come, the ticks that find room would be 70, 8, 0.9.
    """
    named = f"{ROUND} == '1' || ({NARROW} && indexof(['2', '5'], {ROUND}) >= 0) ? ({tick}) : ''"
    axis = alt.Axis(format=format, labelExpr=named, labelOverlap=True)
    return alt.Y(f"{field}:Q", title=title, scale=alt.Scale(type="log"), axis=axis)
