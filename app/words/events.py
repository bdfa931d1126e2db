"""Events of a run in words: who did what, and why."""

from collections.abc import Callable

from hankelboard.app.words import labels
from hankelboard.storage.records import Record

ICONS = {
    "run_started": "flag",
    "attempt_started": "play_arrow",
    "run_finished": "check_circle",
    "run_stopped": "stop_circle",
    "run_failed": "error",
    "run_cancelled": "cancel",
    "attempt_ended": "power_off",
    "paused": "pause",
    "resumed": "play_arrow",
    "proposal_published": "gavel",
    "decision_accepted": "how_to_reg",
    "decision_refused": "error",
    "reduction_applied": "content_cut",
    "reduction_refused": "block",
    "reduction_rolled_back": "undo",
    "branch_started": "undo",
    "checkpoint_published": "save",
    "checkpoint_pruned": "delete_sweep",
    "reduction_judged": "balance",
    "policy_changed": "rule_settings",
    "loss_not_finite": "warning",
}
QUIET = {"command_accepted", "waiting_started", "waiting_ended", "kernel_chosen"}
"""Kinds that the timeline leaves out: another line says the same, or it is of no use to who decides."""


def describe(event: Record) -> str:
    """One event in one plain sentence; never fails on a record that lacks something."""
    kind = str(event.get("kind"))
    sentence = _SENTENCES.get(kind)
    if sentence is None:
        return kind.replace("_", " ")
    try:
        return sentence(event) + _why(event)
    except (KeyError, TypeError, ValueError, AttributeError):
        return kind.replace("_", " ") + _why(event)


def icon(event: Record) -> str:
    return ICONS.get(str(event.get("kind")), "chevron_right")


def _why(event: Record) -> str:
    reason = event.get("reason")
    return f". Reason: {reason}" if isinstance(reason, str) and reason.strip() else ""


def _by(event: Record) -> str:
    return f" by {labels.who(event['by'])}" if event.get("by") else ""


def _attempt_started(event: Record) -> str:
    device = f" on {event['device']}" if event.get("device") else ""
    if event.get("checkpoint"):
        return f"Process {event['attempt'] + 1} resumed from checkpoint {event['checkpoint']}{device}"
    return (
        f"Process {event['attempt'] + 1} started{device}, state dimension {labels.dims(event['state_dims'])}"
    )


def _finished(event: Record) -> str:
    return f"Training finished. Test: {labels.scores(event.get('test'))}"


def _proposal(event: Record) -> str:
    cut = f": {labels.change(event.get('state_dims'), event.get('ranks'))}" if event.get("ranks") else ""
    return f"Proposal {event['proposal']} published{cut}"


def _decision(event: Record) -> str:
    verb = "approved" if event["verdict"] == "approve" else "rejected"
    at = f"; to be applied at step {event['apply_at_step']}" if verb == "approved" else ""
    ranks = f", ranks {labels.dims(event['ranks'])}" if verb == "approved" and event.get("ranks") else ""
    return f"Proposal {event['proposal']} {verb}{_by(event)}{ranks}{at}"


def _applied(event: Record) -> str:
    before, after = (labels.percent((event.get(key) or {}).get("accuracy")) for key in ("before", "after"))
    return (
        f"Cut {labels.change(event['from'], event['to'])} (proposal {event['proposal']}): "
        f"validation accuracy {before} → {after}"
    )


def _judged(event: Record) -> str:
    before, now = labels.percent(event["before"]), labels.percent(event["now"])
    verdict = "kept" if event["kept"] else f"undone, more than {event['threshold'] * 100:g} points lower"
    return f"Cut of proposal {event['proposal']} judged: validation accuracy {before} → {now}, {verdict}"


def _policy(event: Record) -> str:
    meanwhile = {"pause": "training pauses", "train": "training goes on"}.get(event.get("waiting", ""), "")
    waiting = f"; while a person decides {meanwhile}" if meanwhile else ""
    return f"Policy is now {event['policy']}{waiting}{_by(event)}"


def _pruned(event: Record) -> str:
    freed = f", {labels.size(event['bytes'])} freed" if event.get("bytes") else ""
    return f"Checkpoint {event['checkpoint']} removed by retention{freed}"


def _reduction_refused(event: Record) -> str:
    if event.get("proposal") is None:
        return "No cut proposed here"
    return f"Cut of proposal {event['proposal']} refused by the trainer"


def _branch(event: Record) -> str:
    return (
        f"Rolled back to step {event['from_step']}{_by(event)}: branch {event['branch']} starts from "
        f"checkpoint {event['checkpoint']}, policy {event['policy']}"
    )


def _checkpoint(event: Record) -> str:
    cause = labels.CAUSES.get(str(event.get("cause")), str(event.get("cause")))
    return f"Checkpoint {event['checkpoint']} ({cause}{', pinned' if event.get('pinned') else ''})"


def _command(verb: str) -> Callable[[Record], str]:
    return lambda event: f"Command {event.get('command') or event['command_id']}{_by(event)} {verb}"


_SENTENCES: dict[str, Callable[[Record], str]] = {
    "run_started": lambda event: "Training started",
    "attempt_started": _attempt_started,
    "attempt_ended": lambda event: "The process was interrupted; the run can be resumed",
    "run_finished": _finished,
    "run_stopped": lambda event: "Training stopped",
    "run_failed": lambda event: "Training failed",
    "run_cancelled": lambda event: "Cancelled before it started",
    "stop_requested": lambda event: f"Stop requested{_by(event)}",
    "paused": lambda event: f"Paused{_by(event)}",
    "resumed": lambda event: f"Resumed{_by(event)}",
    "waiting_started": lambda event: f"Waiting for a decision on proposal {event['proposal']}",
    "waiting_ended": lambda event: "No longer waiting",
    "proposal_published": _proposal,
    "proposal_superseded": lambda event: f"Proposal {event['proposal']} superseded",
    "proposal_expired": lambda event: f"Proposal {event['proposal']} expired",
    "decision_accepted": _decision,
    "decision_refused": lambda event: f"Decision on proposal {event['proposal']} refused by the trainer",
    "reduction_applied": _applied,
    "reduction_refused": _reduction_refused,
    "reduction_rolled_back": lambda event: f"Cut of proposal {event['proposal']} undone",
    "branch_started": _branch,
    "checkpoint_published": _checkpoint,
    "checkpoint_pruned": _pruned,
    "reduction_judged": _judged,
    "command_accepted": _command("accepted"),
    "command_applied": _command("carried out"),
    "command_refused": _command("refused"),
    "policy_changed": _policy,
    "kernel_chosen": lambda event: "Form of the recurrence chosen",
    "loss_not_finite": lambda event: "The training loss is not a finite number",
}
