"""Events of a run in words: who did what, and why. Each kind has its row in WORDS, at the end."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hankelboard.app.words import labels
from hankelboard.storage.schema import Event, ReductionApplied, ReductionJudged
from hankelboard.storage.vocabulary import EventKind, Verdict


@dataclass(frozen=True)
class Words:
    """How the timeline shows a kind of event."""

    name: str
    """For a table or chart by kind."""
    icon: str
    """Of Material Symbols."""
    sentence: Callable[[Any], str]
    """Without the reason, which `describe` adds."""
    quiet: bool = False
    """Left out of the timeline: another line says the same, or it does not help to decide."""


def describe(event: Event) -> str:
    """Return one event in one plain sentence; a record that lacks something gets fewer words."""
    kind = str(event.get("kind"))
    words = WORDS.get(kind)
    if words is None:
        return name(kind)
    try:
        return words.sentence(event) + _why(event)
    except (KeyError, TypeError, ValueError, AttributeError):
        return kind.replace("_", " ") + _why(event)


def name(kind: str) -> str:
    """Return a kind of event in words; unknown kinds have a name, too."""
    return WORDS[kind].name if kind in WORDS else kind.replace("_", " ")


def icon(kind: str) -> str:
    """Return the icon of a kind of event; unknown kinds have one, too."""
    return WORDS[kind].icon if kind in WORDS else "chevron_right"


def is_quiet(event: Event) -> bool:
    """Return whether the timeline leaves this event out."""
    words = WORDS.get(str(event.get("kind")))
    return words is not None and words.quiet


def _why(event: Event) -> str:
    reason = event.get("reason")
    return f". Reason: {reason}" if isinstance(reason, str) and reason.strip() else ""


def _by(event: Event) -> str:
    return f" by {labels.who(event['by'], event.get('by_role'))}" if event.get("by") else ""


def _attempt_started(event: Event) -> str:
    device = f" on {event['device']}" if event.get("device") else ""
    if event.get("checkpoint"):
        return f"Process {event['attempt'] + 1} resumed from checkpoint {event['checkpoint']}{device}"
    return (
        f"Process {event['attempt'] + 1} started{device}, state dimension {labels.dims(event['state_dims'])}"
    )


def _finished(event: Event) -> str:
    return f"Training finished. Test: {labels.scores(event.get('test'))}"


def _proposal(event: Event) -> str:
    cut = f": {labels.change(event.get('state_dims'), event.get('ranks'))}" if event.get("ranks") else ""
    return f"Proposal {event['proposal']} published{cut}"


def _decision(event: Event) -> str:
    verb = "approved" if event["verdict"] == Verdict.APPROVE else "rejected"
    at = f"; to be applied at step {event['apply_at_step']}" if verb == "approved" else ""
    ranks = f", ranks {labels.dims(event['ranks'])}" if verb == "approved" and event.get("ranks") else ""
    return f"Proposal {event['proposal']} {verb}{_by(event)}{ranks}{at}"


def _applied(event: ReductionApplied) -> str:
    before, after = (labels.accuracy(scores) for scores in (event.get("before"), event.get("after")))
    return (
        f"Cut {labels.change(event['from'], event['to'])} (proposal {event['proposal']}): "
        f"validation accuracy {before} → {after}"
    )


def _judged(event: ReductionJudged) -> str:
    before, now = labels.percent(event["before"]), labels.percent(event["now"])
    verdict = "kept" if event["kept"] else f"undone, more than {event['threshold'] * 100:g} points lower"
    return f"Cut of proposal {event['proposal']} judged: validation accuracy {before} → {now}, {verdict}"


def _policy(event: Event) -> str:
    meanwhile = labels.WAITING.get(event.get("waiting", ""), "")
    waiting = f"; while a person decides {meanwhile}" if meanwhile else ""
    return f"Policy is now {event['policy']}{waiting}{_by(event)}"


def _pruned(event: Event) -> str:
    freed = f", {labels.size(event['bytes'])} freed" if event.get("bytes") else ""
    return f"Checkpoint {event['checkpoint']} removed by retention{freed}"


def _reduction_refused(event: Event) -> str:
    if event.get("proposal") is None:
        return "No cut proposed here"
    return f"Cut of proposal {event['proposal']} refused by the trainer"


def _branch(event: Event) -> str:
    return (
        f"Rolled back to step {event['from_step']}{_by(event)}: branch {event['branch']} starts from "
        f"checkpoint {event['checkpoint']}, policy {event['policy']}"
    )


def _checkpoint(event: Event) -> str:
    cause = labels.cause(str(event.get("cause")))
    return f"Checkpoint {event['checkpoint']} ({cause}{', pinned' if event.get('pinned') else ''})"


def _changes(event: Event) -> str:
    return ", ".join(map(str, event["changes"]))


def _command(verb: str) -> Callable[[Event], str]:
    return lambda event: f"Command {event.get('command') or event['command_id']}{_by(event)} {verb}"


WORDS: dict[str, Words] = {
    EventKind.RUN_STARTED: Words("training started", "flag", lambda event: "Training started"),
    EventKind.ATTEMPT_STARTED: Words("process started", "play_arrow", _attempt_started),
    EventKind.ATTEMPT_ENDED: Words(
        "process interrupted",
        "power_off",
        lambda event: "The process was interrupted; the run can be resumed",
    ),
    EventKind.RUN_FINISHED: Words("training finished", "check_circle", _finished),
    EventKind.RUN_STOPPED: Words("training stopped", "stop_circle", lambda event: "Training stopped"),
    EventKind.RUN_FAILED: Words("training failed", "error", lambda event: "Training failed"),
    EventKind.RUN_CANCELLED: Words("cancelled", "cancel", lambda event: "Cancelled before it started"),
    EventKind.RUN_RELEASED: Words(
        "machine released",
        "gavel",
        lambda event: "The machine was released; the run waits for a decision",
    ),
    EventKind.STOP_REQUESTED: Words(
        "stop requested", "chevron_right", lambda event: f"Stop requested{_by(event)}"
    ),
    EventKind.PAUSED: Words("paused", "pause", lambda event: f"Paused{_by(event)}"),
    EventKind.RESUMED: Words("resumed", "play_arrow", lambda event: f"Resumed{_by(event)}"),
    EventKind.WAITING_STARTED: Words(
        "waiting began",
        "chevron_right",
        lambda event: f"Waiting for a decision on proposal {event['proposal']}",
        quiet=True,
    ),
    EventKind.WAITING_ENDED: Words(
        "waiting ended", "chevron_right", lambda event: "No longer waiting", quiet=True
    ),
    EventKind.PROPOSAL_PUBLISHED: Words("proposal", "gavel", _proposal),
    EventKind.PROPOSAL_SUPERSEDED: Words(
        "proposal superseded", "chevron_right", lambda event: f"Proposal {event['proposal']} superseded"
    ),
    EventKind.PROPOSAL_EXPIRED: Words(
        "proposal expired", "chevron_right", lambda event: f"Proposal {event['proposal']} expired"
    ),
    EventKind.DECISION_ACCEPTED: Words("decision", "how_to_reg", _decision),
    EventKind.DECISION_REFUSED: Words(
        "decision refused",
        "error",
        lambda event: f"Decision on proposal {event['proposal']} refused by the trainer",
    ),
    EventKind.REDUCTION_APPLIED: Words("cut", "content_cut", _applied),
    EventKind.REDUCTION_REFUSED: Words("no cut, or refused", "block", _reduction_refused),
    EventKind.REDUCTION_ROLLED_BACK: Words(
        "cut undone", "undo", lambda event: f"Cut of proposal {event['proposal']} undone"
    ),
    EventKind.BRANCH_STARTED: Words("rollback", "undo", _branch),
    EventKind.CHECKPOINT_PUBLISHED: Words("checkpoint", "save", _checkpoint),
    EventKind.CHECKPOINT_PRUNED: Words("checkpoint removed", "delete_sweep", _pruned),
    EventKind.REDUCTION_JUDGED: Words("cut judged", "balance", _judged),
    EventKind.COMMAND_ACCEPTED: Words("command accepted", "chevron_right", _command("accepted"), quiet=True),
    EventKind.COMMAND_APPLIED: Words("command carried out", "chevron_right", _command("carried out")),
    EventKind.COMMAND_REFUSED: Words("command refused", "chevron_right", _command("refused")),
    EventKind.POLICY_CHANGED: Words("policy changed", "rule_settings", _policy),
    EventKind.KERNEL_CHOSEN: Words(
        "form of the recurrence chosen",
        "chevron_right",
        lambda event: "Form of the recurrence chosen",
        quiet=True,
    ),
    EventKind.RESUME_REFUSED: Words(
        "not resumed", "front_hand", lambda event: "Not resumed: waits for a person"
    ),
    EventKind.CHANGES_ACCEPTED: Words(
        "changes accepted",
        "published_with_changes",
        lambda event: f"Trained on{_by(event)} with what changed: {_changes(event)}",
    ),
    EventKind.CHANGES_NOTICED: Words(
        "something else changed",
        "difference",
        lambda event: f"Since the last process there changed: {_changes(event)}",
    ),
    EventKind.TROUBLE_BEGAN: Words(
        "trouble with writing", "save_as", lambda event: "Files cannot be written; training goes on"
    ),
    EventKind.TROUBLE_ENDED: Words(
        "trouble ended", "check_circle", lambda event: "Files can be written again"
    ),
    EventKind.LOSS_NOT_FINITE: Words(
        "loss not finite", "warning", lambda event: "The training loss is not a finite number"
    ),
}
