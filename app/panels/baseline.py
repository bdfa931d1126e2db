"""A run beside the baseline that was never cut: what the cut cost, and what it saved."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import streamlit as st

from hankelboard.app.charts.metrics import PADDING, SVG, ZOOM, Spec
from hankelboard.app.charts.parts import CUT_COLOR, LEGEND, POINT_COLOR, by, mark, told
from hankelboard.app.data import compared_runs, runs
from hankelboard.app.panels import frame
from hankelboard.app.words import labels
from hankelboard.comparison.curves import Curve
from hankelboard.storage.summary import PRIMARY_METRIC
from hankelboard.storage.vocabulary import Role

HERE, UNCUT = "this run", "uncut baseline"
LOOK_S = 0.3
"""How long the page looks for a baseline among runs that were not read yet; then at the next tick."""
AXES = {"training seconds": "seconds of training", "step": "step"}


def baseline_of(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the baseline of the same group and task; of several one with the same seed, then the newest."""
    baselines = [
        other
        for other in rows
        if other["role"] == Role.BASELINE
        and (other["group"], other["task"]) == (row["group"], row["task"])
        and other["run"] != row["run"]
    ]
    return min(baselines, key=lambda other: other["seed"] != row["seed"], default=None)


def show(row: Mapping[str, Any]) -> None:
    """Draw validation accuracy of both, where there is a baseline and this run was cut."""
    if row["state_dims"] == row["initial_state_dims"]:
        return
    other = baseline_of(row, runs.rows_within(LOOK_S)[0])
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
            spec(AXES[axis]), f"uncut-{axis}-{row['run']}", f"Accuracy against {axis}, cut and uncut",
            curves=_table(curves, "train_s" if axis == "training seconds" else "step"),
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


def _table(curves: Mapping[str, Curve], key: str) -> pa.Table:
    counts = {name: len(curve.value) for name, curve in curves.items()}
    return pa.table(
        {
            "at": pa.array(np.concatenate([curve.along(key) for curve in curves.values()]), pa.float64()),
            "value": pa.array(np.concatenate([curve.value for curve in curves.values()]), pa.float64()),
            "series": pa.array([name for name, count in counts.items() for _ in range(count)], pa.string()),
        }
    )


def spec(title: str) -> Spec:
    names, colors = [HERE, UNCUT], [CUT_COLOR, POINT_COLOR]
    legend = {**LEGEND, "symbolType": "stroke", "symbolSize": 300}  # a dot would hide which is dashed
    lines = {
        "data": {"name": "curves"},
        "params": [ZOOM],
        "mark": mark("line", strokeWidth=2),
        "encoding": {
            "x": {"field": "at", "type": "quantitative", "title": title,
                  "axis": {"grid": False, "format": ",~r", "tickCount": 6}},
            "y": {"field": "value", "type": "quantitative", "title": "validation accuracy",
                  "scale": {"zero": False}, "axis": {"format": ".3~%", "tickCount": 5}},
            "color": by("series", names, colors, legend),
            "strokeDash": by("series", names, [[1, 0], [5, 3]], legend, type="ordinal"),
            "tooltip": told(("series", "run"), ("at", title, ",.1f"), ("value", "accuracy", ".2%")),
        },
    }  # fmt: skip
    spots = {key: value for key, value in lines["encoding"].items() if key != "strokeDash"}
    dots = {
        "data": {"name": "curves"},
        "mark": mark("point", filled=True, size=26, opacity=1),
        "encoding": spots,
    }
    return {"height": 260, "padding": PADDING, "layer": [lines, dots], "usermeta": SVG}
