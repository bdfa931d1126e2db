"""The chart of what became of cuts: measured change of accuracy against the predicted one."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import altair as alt
import pyarrow as pa

from hankelboard.app.charts.parts import LEGEND, kinds
from hankelboard.comparison import colors
from hankelboard.comparison.specification import Spec, specification, table, tooltip

HERE, ELSEWHERE = "this run", "other runs"
SIGNED_POINTS = "datum.value == 0 ? '0' : format(100 * datum.value, '+.3~g')"
"""Changes of accuracy are differences: points, not percent."""


def points_table(rows: Sequence[Mapping[str, Any]], run_id: str) -> pa.Table:
    """Return one point per cut, those of this run apart from those of others."""
    return pa.table(
        {
            "predicted": pa.array([row["predicted"] for row in rows], pa.float64()),
            "measured": pa.array([row["measured"] for row in rows], pa.float64()),
            "where": pa.array([HERE if row["run"] == run_id else ELSEWHERE for row in rows], pa.string()),
            "name": pa.array([f"{row['name']}, proposal {row['proposal']}" for row in rows], pa.string()),
        }
    )


def diagonal_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return two ends of the line on which predictions hold exactly."""
    values = [row[key] for row in rows for key in ("predicted", "measured")]
    ends = [min(values), max(values)]
    return pa.table({"predicted": pa.array(ends, pa.float64()), "measured": pa.array(ends, pa.float64())})


@cache
def outcomes_spec() -> Spec:
    """Return the chart of measured against predicted change, with the diagonal."""
    places = [HERE, ELSEWHERE]
    scale = alt.Scale(zero=True, padding=10)
    axis = alt.Axis(format="~g", labelExpr=SIGNED_POINTS, tickCount=5)
    x = alt.X("predicted:Q", title="predicted change of accuracy, points", scale=scale, axis=axis)
    y = alt.Y("measured:Q", title="measured change, points", scale=scale, axis=axis)
    line = table("line").mark_line(clip=True, color=colors.QUIET, strokeDash=[4, 3]).encode(x, y)
    points = (
        table("points")
        .mark_point(clip=True, filled=True, size=70, opacity=0.85)
        .encode(
            x,
            y,
            alt.Color("where:N", scale=kinds(places, [colors.CUT, colors.QUIET]), legend=LEGEND),
            alt.Shape("where:N", scale=kinds(places, ["diamond", "circle"]), legend=LEGEND),
            tooltip=tooltip(
                ("name", "cut"), ("predicted", "predicted", "+.2%"), ("measured", "measured", "+.2%")
            ),
        )
    )
    return specification(alt.layer(line, points), 260)
