"""Predicted against measured: what became of the cuts that were made, in this run and in all others."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import streamlit as st

from hankelboard.app.charts.metrics import Spec
from hankelboard.app.charts.parts import CUT_COLOR, LEGEND, QUIET_COLOR, by, chart, mark, told
from hankelboard.app.data import proposals
from hankelboard.app.data.proposals import Outcome
from hankelboard.app.panels import frame
from hankelboard.app.words import labels

HERE, ELSEWHERE = "this run", "other runs"
SIGNED_POINTS = "datum.value == 0 ? '0' : format(100 * datum.value, '+.3~g')"
"""Changes of accuracy are differences: points, not percent."""


def show(run_id: str) -> None:
    """Show how far the predictions of past proposals held: how far to trust the next one."""
    rows, left_out = proposals.outcomes()
    st.subheader("How far predictions held, all runs", anchor=False)
    if left_out:
        st.caption(f":material/hourglass_top: {labels.count(left_out)} runs are still being read.")
    if not rows:
        st.caption("No cut has been made yet whose effect had been measured before.")
        return
    st.caption(labels.plain(_summary(rows)))
    with st.container(border=True, key="outcomes"):
        frame.draw(
            spec(), f"outcomes-{run_id}", "Measured change of accuracy against the predicted one",
            points=points_table(rows, run_id), line=diagonal_table(rows),
        )  # fmt: skip
    with st.expander("All cuts as a table", key="outcomes_table"):
        st.dataframe(pd.DataFrame(map(_row, rows)), hide_index=True, alt="Cuts with prediction and outcome")


def _summary(rows: Sequence[Outcome]) -> str:
    misses = [100 * abs(row["measured"] - row["predicted"]) for row in rows]
    return (
        f"Cuts whose ranks had been measured on copies before the decision, and again right after the "
        f"cut: {len(rows)}. Prediction and outcome differ by {labels.number(sum(misses) / len(misses), 2)} "
        f"points of accuracy on average, {labels.number(max(misses), 2)} at most. They agree where "
        "training waited for the decision, and drift apart where it went on. What later training repairs is "
        "not in it."
    )


def _row(row: Outcome) -> dict[str, Any]:
    return {
        "Run": row["name"],
        "Proposal": row["proposal"],
        "Step": row["step"],
        "Cut": labels.change(row["from"], row["to"]),
        "Accuracy before": labels.percent(row["before"]),
        "Predicted change": labels.points(row["predicted"]),
        "Measured change": labels.points(row["measured"]),
    }


def points_table(rows: Sequence[Outcome], run_id: str) -> pa.Table:
    return pa.table(
        {
            "predicted": pa.array([row["predicted"] for row in rows], pa.float64()),
            "measured": pa.array([row["measured"] for row in rows], pa.float64()),
            "where": pa.array([HERE if row["run"] == run_id else ELSEWHERE for row in rows], pa.string()),
            "name": pa.array([f"{row['name']}, proposal {row['proposal']}" for row in rows], pa.string()),
        }
    )


def diagonal_table(rows: Sequence[Outcome]) -> pa.Table:
    """Return two ends of the line on which predictions hold exactly."""
    values = [row[key] for row in rows for key in ("predicted", "measured")]
    ends = [min(values), max(values)]
    return pa.table({"predicted": pa.array(ends, pa.float64()), "measured": pa.array(ends, pa.float64())})


def spec() -> Spec:
    """Return measured against predicted change, with the diagonal."""

    def axis(field: str, title: str) -> Spec:
        return {
            "field": field, "type": "quantitative", "title": title, "scale": {"zero": True, "padding": 10},
            "axis": {"format": "~g", "labelExpr": SIGNED_POINTS, "tickCount": 5},
        }  # fmt: skip

    x, y = (
        axis("predicted", "predicted change of accuracy, points"),
        axis("measured", "measured change, points"),
    )
    line = {
        "data": {"name": "line"},
        "mark": mark("line", color=QUIET_COLOR, strokeDash=[4, 3]),
        "encoding": {"x": x, "y": y},
    }
    points = {
        "data": {"name": "points"},
        "mark": mark("point", filled=True, size=70, opacity=0.85),
        "encoding": {
            "x": x, "y": y,
            "color": by("where", [HERE, ELSEWHERE], [CUT_COLOR, QUIET_COLOR], LEGEND),
            "shape": by("where", [HERE, ELSEWHERE], ["diamond", "circle"], LEGEND),
            "tooltip": told(("name", "cut"), ("predicted", "predicted", "+.2%"),
                             ("measured", "measured", "+.2%")),
        },
    }  # fmt: skip
    return chart(260, line, points)
