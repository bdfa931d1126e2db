"""Interventions on the step axis: what happened to a run besides training, as marks for its charts."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from hankelboard.app.charts import metrics
from hankelboard.app.words import events
from hankelboard.storage.history import History
from hankelboard.storage.records import Record

MARKS_SHOWN = 300

Mark = tuple[int, str, bool, Record]
"""Step, kind, whether on the live path, the event."""


def intervention_marks(history: History) -> list[dict[str, Any]]:
    """One mark per intervention: step, kind, text, live. Beyond MARKS_SHOWN neighbours are put together."""
    marks = [_mark(event, history) for event in history.interventions]
    if len(marks) <= MARKS_SHOWN:
        return [_shown([mark]) for mark in marks]
    width = max(1, -(-max(step for step, *_ in marks) // MARKS_SHOWN))
    groups: dict[tuple[int, bool], list[Mark]] = {}
    for mark in marks:
        groups.setdefault((mark[0] // width, mark[2]), []).append(mark)
    return [_shown(group) for group in groups.values()]


def loss_lost_at(history: History) -> int | None:
    """Step of the latest record on the live path at which the training loss was no finite number any more."""
    for event in reversed(history.interventions):
        if event.get("kind") == "loss_not_finite" and history.on_path(event):
            return int(event.get("step", 0))
    return None


def _mark(event: Record, history: History) -> Mark:
    told = str(event.get("kind"))
    kind = metrics.MARK_OF_EVENT.get(told, "pause")
    if told == "decision_accepted" and event.get("verdict") == "reject":
        kind = "rejected"
    if told == "branch_started":
        return event["from_step"], kind, True, event
    live = history.on_path(event) or history.is_left_at_turn(event)  # beside the rollback that undid it
    return event.get("step", 0), kind, live, event


def _shown(group: Sequence[Mark]) -> dict[str, Any]:
    """A group as one mark: its strongest kind, and how many of each kind it stands for."""
    step, kind, live, event = group[0]
    if len(group) == 1:
        return {"step": step, "kind": kind, "text": events.describe(event), "live": live}
    counts = Counter(kind for _, kind, _, _ in group)
    kind = max(counts, key=list(metrics.MARKS).index)
    told = ", ".join(f"{count} x {name}" for name, count in counts.items())
    last = max(mark[0] for mark in group)
    return {"step": step, "kind": kind, "text": f"steps {step:,} to {last:,}: {told}", "live": live}
