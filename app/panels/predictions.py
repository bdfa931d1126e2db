"""Predicted against measured: what became of the cuts that were made, in this run and in all others."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from hankelboard.app.charts import outcomes
from hankelboard.app.data import proposals
from hankelboard.app.data.proposals import Outcome
from hankelboard.app.panels import frame
from hankelboard.app.words import labels


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
            outcomes.outcomes_spec(), f"outcomes-{run_id}",
            "Measured change of accuracy against the predicted one",
            points=outcomes.points_table(rows, run_id), line=outcomes.diagonal_table(rows),
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
