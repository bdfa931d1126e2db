"""The chart of a run beside the baseline that was never cut."""

from collections.abc import Mapping
from functools import cache

import altair as alt
import numpy as np
import pyarrow as pa

from hankelboard.app.charts.parts import ZOOM, kinds, legend
from hankelboard.comparison import colors
from hankelboard.comparison.curves import Curve
from hankelboard.comparison.specification import Spec, specification, table, tooltip

HERE, UNCUT = "this run", "uncut baseline"


def uncut_table(curves: Mapping[str, Curve], axis: str) -> pa.Table:
    """Return the curves of both along an axis."""
    counts = {name: len(curve.value) for name, curve in curves.items()}
    return pa.table(
        {
            "at": pa.array(np.concatenate([curve.along(axis) for curve in curves.values()]), pa.float64()),
            "value": pa.array(np.concatenate([curve.value for curve in curves.values()]), pa.float64()),
            "series": pa.array([name for name, count in counts.items() for _ in range(count)], pa.string()),
        }
    )


@cache
def uncut_spec(title: str) -> Spec:
    """Return the chart of accuracy along the axis of this title, cut and uncut."""
    names = [HERE, UNCUT]
    above = legend(symbolType="stroke", symbolSize=300)  # a dot would hide which is dashed
    channels = (
        alt.X("at:Q", title=title, axis=alt.Axis(grid=False, format=",~r", tickCount=6)),
        alt.Y("value:Q", title="validation accuracy", scale=alt.Scale(zero=False),
              axis=alt.Axis(format=".3~%", tickCount=5)),
        alt.Color("series:N", scale=kinds(names, [colors.CUT, colors.POINT]), legend=above),
    )  # fmt: skip
    lines_of = tooltip(("series", "run"), ("at", title, ",.1f"), ("value", "accuracy", ".2%"))
    lines = (
        table("curves")
        .mark_line(clip=True, strokeWidth=2)
        .encode(
            *channels,
            alt.StrokeDash("series:O", scale=kinds(names, [[1, 0], [5, 3]]), legend=above),
            tooltip=lines_of,
        )
        .add_params(ZOOM)
    )
    dots = (
        table("curves")
        .mark_point(clip=True, filled=True, size=26, opacity=1)
        .encode(*channels, tooltip=lines_of)
    )
    return specification(alt.layer(lines, dots), 260)
