"""The tree of branches and checkpoints along the step axis. A constant specification, as in charts.py."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from hankelboard.app.charts.metrics import DASH, FAINT, STEPS, Spec
from hankelboard.app.charts.parts import BACK_COLOR, CUT_COLOR, LEGEND, POINT_COLOR, by, chart, mark, told

CHECKPOINT_KINDS = ["pinned", "not pinned"]


def tree_tables(
    branches: Sequence[Mapping[str, Any]], checkpoints: Sequence[Mapping[str, Any]]
) -> dict[str, pa.Table]:
    """Branches as lanes along the step axis, and the checkpoints on them."""
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


def _pieces(branch: Mapping[str, Any]) -> list[tuple[int, int, int, str]]:
    """A branch's live part and the part that was left: (branch, start, end, path)."""
    number, start, end, until = (branch[key] for key in ("number", "from_step", "last_step", "live_until"))
    if not branch["live"]:
        return [(number, start, end, "left")]
    turn = end if until is None else min(end, until)
    left = [(number, turn, end, "left")] if turn < end else []
    return [(number, start, turn, "live"), *left]


def tree_spec(branches: int) -> Spec:
    """Lanes of branches: live solid, left dashed and faint; checkpoints as points."""
    lanes = [f"branch {number}" for number in range(branches)]
    y = {**by("branch", lanes, None), "title": None, "axis": {"grid": False, "ticks": False}}
    del y["legend"]
    scale = {"nice": False, "padding": 8}  # room for the signs of the first and the last checkpoint
    x = {"type": "quantitative", "title": "step", "axis": STEPS, "scale": scale}
    lane = {
        "data": {"name": "pieces"},
        "mark": mark("rule", strokeWidth=3, color=POINT_COLOR),
        "encoding": {
            "x": {**x, "field": "start"}, "x2": {"field": "end"}, "y": y,
            "opacity": by("path", FAINT["domain"], FAINT["range"], type="ordinal"),
            "strokeDash": by("path", DASH["domain"], DASH["range"], type="ordinal"),
        },
    }  # fmt: skip
    turn = {
        "data": {"name": "joints"},
        "mark": mark("rule", strokeWidth=1.5, color=BACK_COLOR, strokeDash=[8, 2]),
        "encoding": {"x": {**x, "field": "step"}, "y": {**y, "field": "parent"}, "y2": {"field": "branch"}},
    }
    points = {
        "data": {"name": "checkpoints"},
        "mark": mark("point", filled=True, size=90, opacity=1),
        "encoding": {
            "x": {**x, "field": "step"}, "y": y,
            "color": by("pinned", CHECKPOINT_KINDS, [CUT_COLOR, POINT_COLOR], LEGEND),
            "shape": by("pinned", CHECKPOINT_KINDS, ["diamond", "circle"], LEGEND),
            "tooltip": told(("name", "checkpoint"), ("step", "step"), ("cause", "cause"),
                             ("dims", "states per layer"), ("pinned", "kept for good?")),
        },
    }  # fmt: skip
    return chart(90 + 40 * branches, lane, turn, points)
