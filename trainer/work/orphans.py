"""Runs that have no trainer now: what is to become of them, and answers to commands sent to them."""

from typing import cast

from hankelboard.storage.commands import Command
from hankelboard.storage.history import History
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.runs import Run
from hankelboard.storage.schema import EventFields
from hankelboard.storage.status import BeatWatch
from hankelboard.storage.vocabulary import ENDED, CommandKind, EventKind, RunState
from hankelboard.trainer.compression.failure import REVIVING, answering, append
from hankelboard.trainer.compression.inbox import naming, unanswered

ENDS = (CommandKind.STOP, CommandKind.KILL)
"""Commands that end a run for good."""


def wants_trainer(run: Run, history: History, asked: list[Command]) -> bool:
    """Return whether a worker should start a child for this run."""
    kinds = {command.kind for command in asked}
    if CommandKind.KILL in kinds:
        return False
    if history.held:
        return bool(kinds & REVIVING)  # a person must say so
    if history.state == RunState.FINISHED:
        return CommandKind.ROLLBACK in kinds
    if history.state in (RunState.STOPPED, RunState.FAILED, RunState.CANCELLED):
        return bool(kinds & REVIVING)
    if history.state == RunState.QUEUED and CommandKind.STOP in kinds:
        return False
    return run.queued or bool(kinds & REVIVING)


def refusal(state: str, kind: str, *, held: str = "") -> str | None:
    """Return why a run in this state does not take this command, None when it does.

    `held`: why the run waits for a person, if it does.
    """
    if state == RunState.FINISHED and kind != CommandKind.ROLLBACK:
        return "the run is finished; roll back to a checkpoint to train on from there"
    if state == RunState.CANCELLED and kind != CommandKind.RESUME:
        return "the run was cancelled before it started"
    if state in (RunState.STOPPED, RunState.FAILED) and kind not in REVIVING:
        return f"the run is {state}; resume it or roll it back first"
    if held and kind not in (*REVIVING, *ENDS):
        return "the run waits for a person; resume it first"
    return None


def answer(paths: RunPaths, history: History, asked: list[Command], watch: BeatWatch | None = None) -> None:
    """Answer what needs no trainer: cancel a queued run, refuse what makes no sense. Takes run.lock.

    What is asked, and of a run in which state, is looked at again once the lock is taken.
    """
    if not any(_reply(history, command) for command in asked):
        return
    with answering(paths, watch) as (journal, latest, attempt):
        for command in list(unanswered(paths, latest)):
            if reply := _reply(latest, command):
                append(journal, latest, attempt, reply[0], **reply[1])


def _reply(history: History, command: Command) -> tuple[EventKind, EventFields] | None:
    """Return the event that answers a command to a run in this state; None where a trainer is to answer."""
    if history.state == RunState.QUEUED and command.kind in ENDS:
        return _end(EventKind.RUN_CANCELLED, command, f"cancelled by {command.by}")
    goes_on = history.state not in ENDED or history.state == RunState.INTERRUPTED
    if goes_on and (command.kind == CommandKind.KILL or (history.held and command.kind in ENDS)):
        return _end(EventKind.RUN_STOPPED, command, f"{_how(command)}, without saving")
    if reason := refusal(history.state, command.kind, held=history.held):
        return EventKind.COMMAND_REFUSED, cast(EventFields, {**naming(command), "reason": reason})
    return None


def _how(command: Command) -> str:
    return f"{'killed' if command.kind == CommandKind.KILL else 'stopped'} by {command.by}"


def _end(kind: EventKind, command: Command, reason: str) -> tuple[EventKind, EventFields]:
    return kind, {"reason": reason, "command_id": command.id}


def needs_nothing(history: History, asked: list[Command]) -> bool:
    """Return whether the run has ended, or waits for a person, and nobody asks anything of it."""
    waits = history.state == RunState.INTERRUPTED and not history.held
    return history.state in ENDED and not waits and not asked
