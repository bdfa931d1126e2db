"""Pieces that chart specifications are made of: axes, channels, colours."""

from collections.abc import Sequence
from typing import Any

from hankelboard.app.charts.metrics import PADDING, SVG, Spec

CUT_COLOR, QUIET_COLOR, POINT_COLOR, BACK_COLOR = "#E0591B", "#7C8798", "#4C8BD6", "#8E63D9"
LEGEND = {"orient": "top", "title": None, "offset": 16, "columns": 2}


def chart(height: int, *layers: Spec, **more: Any) -> Spec:
    return {"height": height, "padding": PADDING, "layer": list(layers), "usermeta": SVG, **more}


def mark(kind: str, **properties: Any) -> Spec:
    return {"type": kind, "clip": True, **properties}


def whole_x(field: str, title: str) -> Spec:
    """A linear axis of whole numbers that follows the data."""
    return {
        "field": field, "type": "quantitative", "title": title,
        "scale": {"nice": False, "zero": False, "padding": 6},
        "axis": {"grid": False, "format": "d", "tickMinStep": 1},
    }  # fmt: skip


ROUND = "format(datum.value / pow(10, floor(log(datum.value) / LN10 + 1e-9)), '.6~g')"
"""The first digits of a tick: 1 for 0.01, 2 for 200."""
NARROW = "log(domain('y')[1] / domain('y')[0]) < 4.7"
"""Two decades or less: too few powers of ten to read values from."""


def round_ticks(label: str = "datum.label") -> str:
    """On a log axis only powers of ten are named, in a narrow range twice and five times one, too.

    Named as they come, the ticks that find room would be 70, 8, 0.9.
    """
    return f"{ROUND} == '1' || ({NARROW} && indexof(['2', '5'], {ROUND}) >= 0) ? {label} : ''"


TICK = "(datum.value < 1e-3 ? format(datum.value, '.0e') : datum.label)"
"""0.01 and 1e-4: beyond three decades zeros are hard to count, and d3 itself mixes 0.000001 with 1e-7."""


def log_y(field: str, title: str, format: str = "~g") -> Spec:
    return {
        "field": field, "type": "quantitative", "title": title, "scale": {"type": "log"},
        "axis": {"format": format, "labelExpr": round_ticks(TICK), "labelOverlap": True},
    }  # fmt: skip


def by(
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


def told(*fields: tuple[str, str] | tuple[str, str, str]) -> list[Spec]:
    """Tooltip lines: (field, title) or (field, title, format)."""
    return [
        {"field": field, "title": title, **({"format": format[0], "type": "quantitative"} if format else {})}
        for field, title, *format in fields
    ]
