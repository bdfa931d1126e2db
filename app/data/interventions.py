"""Interventions on the step axis: what happened to a run apart from training, as marks for its charts."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from hankelboard.app.words import events
from hankelboard.comparison import colors
from hankelboard.storage.history import History
from hankelboard.storage.schema import Event
from hankelboard.storage.vocabulary import EventKind, Verdict

MARK_OF_EVENT: dict[str, str] = {  # of each kind in INTERVENTIONS
    EventKind.PROPOSAL_PUBLISHED: "proposal",
    EventKind.DECISION_ACCEPTED: "proposal",
    EventKind.REDUCTION_APPLIED: "cut",
    EventKind.REDUCTION_REFUSED: "rejected",
    EventKind.BRANCH_STARTED: "rollback",
    EventKind.PAUSED: "pause",
    EventKind.RESUMED: "pause",
    EventKind.POLICY_CHANGED: "pause",
    EventKind.REDUCTION_JUDGED: "judged",
    EventKind.LOSS_NOT_FINITE: "not finite",
}
MARKS = {  # kind: (sign above the line, colour, dash); the later kind wins at one step
    "pause": ("II", colors.QUIET, [2, 3]),
    "judged": ("✓", colors.QUIET, [2, 3]),
    "rejected": ("×", colors.QUIET, [4, 2]),
    "proposal": ("?", colors.WAITING, [6, 3]),
    "cut": ("▼", colors.CUT, [1, 0]),
    "rollback": ("↺", colors.BACK, [8, 2]),
    "not finite": ("!", colors.BROKEN, [2, 2]),
}
MARKS_SHOWN = 300

Mark = tuple[int, str, bool, Event]
"""Step, kind of mark, whether on the live path, the event."""


def intervention_marks(history: History) -> list[dict[str, Any]]:
    """Return one mark per intervention; beyond MARKS_SHOWN neighbours are put together."""
    marks = [_mark(event, history) for event in history.interventions]
    if len(marks) <= MARKS_SHOWN:
        return [_shown([mark]) for mark in marks]
    width = max(1, -(-max(step for step, *_ in marks) // MARKS_SHOWN))
    groups: dict[tuple[int, bool], list[Mark]] = {}
    for mark in marks:
        groups.setdefault((mark[0] // width, mark[2]), []).append(mark)
    return [_shown(group) for group in groups.values()]


def loss_lost_at(history: History) -> int | None:
    """Return the latest step on the live path at which the training loss was not finite; None without one."""
    for event in reversed(history.interventions):
        if event.get("kind") == EventKind.LOSS_NOT_FINITE and history.on_path(event):
            return int(event.get("step", 0))
    return None


def _mark(event: Event, history: History) -> Mark:
    kind = MARK_OF_EVENT[event["kind"]]
    if event["kind"] == EventKind.DECISION_ACCEPTED and event.get("verdict") == Verdict.REJECT:
        kind = "rejected"
    if event["kind"] == EventKind.BRANCH_STARTED:
        return event["from_step"], kind, True, event
    live = history.on_path(event) or history.is_left_at_turn(event)  # beside the rollback that undid it
    return event.get("step", 0), kind, live, event


def _shown(group: Sequence[Mark]) -> dict[str, Any]:
    """Return a group as one mark: its strongest kind, and how many of each kind it stands for."""
    step, kind, live, event = group[0]
    if len(group) == 1:
        return {"step": step, "kind": kind, "text": events.describe(event), "live": live}
    counts = Counter(kind for _, kind, _, _ in group)
    kind = max(counts, key=list(MARKS).index)
    parts = ", ".join(f"{count} x {name}" for name, count in counts.items())
    last = max(mark[0] for mark in group)
    return {"step": step, "kind": kind, "text": f"steps {step:,} to {last:,}: {parts}", "live": live}
