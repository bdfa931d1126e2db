"""The tree of branches and checkpoints along the step axis."""

from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any

import altair as alt
import pyarrow as pa

from hankelboard.app.charts.parts import DASH, FAINT, LEGEND, STEPS, kinds
from hankelboard.app.data.runs import BranchRow
from hankelboard.comparison import colors
from hankelboard.comparison.specification import Spec, specification, table, tooltip

CHECKPOINT_KINDS = ["pinned", "not pinned"]


def tree_tables(
    branches: Sequence[BranchRow], checkpoints: Sequence[Mapping[str, Any]]
) -> dict[str, pa.Table]:
    """Return branches as lanes along the step axis, and the checkpoints on them."""
    pieces = [piece for branch in branches for piece in _pieces(branch)]
    joints = [branch for branch in branches if branch["parent"] is not None]
    lanes = {
        "branch": pa.array([f"branch {number}" for number, _, _, _ in pieces], pa.string()),
        "start": pa.array([start for _, start, _, _ in pieces], pa.int32()),
        "end": pa.array([end for _, _, end, _ in pieces], pa.int32()),
        "path": pa.array([path for _, _, _, path in pieces], pa.string()),
    }
    turns = {
        "step": pa.array([b["from_step"] for b in joints], pa.int32()),
        "parent": pa.array([f"branch {b['parent']}" for b in joints], pa.string()),
        "branch": pa.array([f"branch {b['number']}" for b in joints], pa.string()),
    }
    points = {
        "branch": pa.array([f"branch {c['branch']}" for c in checkpoints], pa.string()),
        "step": pa.array([c["step"] for c in checkpoints], pa.int32()),
        "name": pa.array([c["name"] for c in checkpoints], pa.string()),
        "cause": pa.array([c["cause_words"] for c in checkpoints], pa.string()),
        "dims": pa.array([c["dims_words"] for c in checkpoints], pa.string()),
        "pinned": pa.array([CHECKPOINT_KINDS[0 if c["pinned"] else 1] for c in checkpoints], pa.string()),
    }
    return {"pieces": pa.table(lanes), "joints": pa.table(turns), "checkpoints": pa.table(points)}


def _pieces(branch: BranchRow) -> list[tuple[int, int, int, str]]:
    """Return a branch's live part and the part that was left: (branch, start, end, path)."""
    number, start = branch["number"], branch["from_step"]
    end, until = branch["last_step"], branch["live_until"]
    if not branch["live"]:
        return [(number, start, end, "left")]
    turn = end if until is None else min(end, until)
    left = [(number, turn, end, "left")] if turn < end else []
    return [(number, start, turn, "live"), *left]


@cache
def tree_spec(branches: int) -> Spec:
    """Return lanes of branches: live solid, left dashed and faint; checkpoints as points."""
    lanes = [f"branch {number}" for number in range(branches)]
    y = partial(alt.Y, title=None, axis=alt.Axis(grid=False, ticks=False), scale=alt.Scale(domain=lanes))
    scale = alt.Scale(nice=False, padding=8)  # room for the signs of the first and the last checkpoint
    x = partial(alt.X, title="step", axis=STEPS, scale=scale)
    lane = (
        table("pieces")
        .mark_rule(clip=True, strokeWidth=3, color=colors.POINT)
        .encode(
            x("start:Q"),
            alt.X2("end"),
            y("branch:N"),
            alt.Opacity("path:O", scale=FAINT, legend=None),
            alt.StrokeDash("path:O", scale=DASH, legend=None),
        )
    )
    turn = (
        table("joints")
        .mark_rule(clip=True, strokeWidth=1.5, color=colors.BACK, strokeDash=[8, 2])
        .encode(x("step:Q"), y("parent:N"), alt.Y2("branch"))
    )
    points = (
        table("checkpoints")
        .mark_point(clip=True, filled=True, size=90, opacity=1)
        .encode(
            x("step:Q"),
            y("branch:N"),
            alt.Color("pinned:N", scale=kinds(CHECKPOINT_KINDS, [colors.CUT, colors.POINT]), legend=LEGEND),
            alt.Shape("pinned:N", scale=kinds(CHECKPOINT_KINDS, ["diamond", "circle"]), legend=LEGEND),
            tooltip=tooltip(
                ("name", "checkpoint"),
                ("step", "step"),
                ("cause", "cause"),
                ("dims", "states per layer"),
                ("pinned", "kept for good?"),
            ),
        )
    )
    return specification(alt.layer(lane, turn, points), 90 + 40 * branches)
