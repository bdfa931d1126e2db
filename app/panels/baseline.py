"""A run beside the baseline that was never cut: what the cut cost, and what it saved."""

from collections.abc import Mapping

import streamlit as st

from hankelboard.app.charts.baseline_overlay import HERE, UNCUT, uncut_spec, uncut_table
from hankelboard.app.data import compared_runs, runs
from hankelboard.app.data.run_cache import RunRow
from hankelboard.app.panels import frame
from hankelboard.app.words import labels
from hankelboard.comparison.curves import Curve
from hankelboard.storage.scores import PRIMARY_METRIC

LOOK_S = 0.3
"""How long the page looks for a baseline among runs that were not read yet; then at the next tick."""
AXES = {"training seconds": "seconds of training", "step": "step"}


def show(row: RunRow) -> None:
    """Draw validation accuracy of both, where there is a baseline and this run was cut."""
    if row["state_dims"] == row["initial_state_dims"]:
        return
    other = compared_runs.baseline_of(row, runs.rows_within(LOOK_S)[0])
    if other is None:
        return
    st.subheader("As if uncut", anchor=False)
    curves = {
        name: compared_runs.curve(run, PRIMARY_METRIC)
        for name, run in ((HERE, row["run"]), (UNCUT, other["run"]))
    }
    if not all(len(curve.value) for curve in curves.values()):
        st.caption("One of the two runs has no validation yet.")
        return
    st.caption(labels.plain(f"Beside {other['name']} ({other['run']}): {_difference(curves)}"))
    if other["seed"] != row["seed"]:
        st.caption("Another seed: part of the difference is chance.")
    axis = st.segmented_control("Against", list(AXES), default="training seconds", key="uncut_axis",
                                required=True)  # fmt: skip
    with st.container(border=True, key="chart_uncut"):
        frame.draw(
            uncut_spec(AXES[axis]), f"uncut-{axis}-{row['run']}", f"Accuracy against {axis}, cut and uncut",
            curves=uncut_table(curves, "train_s" if axis == "training seconds" else "step"),
        )  # fmt: skip


def _difference(curves: Mapping[str, Curve]) -> str:
    """Return the best accuracy so far of both at the same step, and at the same seconds of training."""
    parts = []
    for key, name in (("step", "up to step"), ("train_s", "within training of")):
        end = min(float(curve.along(key)[-1]) for curve in curves.values())
        here, uncut = (curve.best_within(key, end) for curve in curves.values())
        if here is not None and uncut is not None:
            limit = labels.count(int(end)) if key == "step" else labels.duration(end)
            parts.append(f"{labels.points(here - uncut)} {name} {limit}")
    if not parts:
        return "no common stretch."
    return f"best validation accuracy {', '.join(parts)}. One pair of runs shows no more than that."
