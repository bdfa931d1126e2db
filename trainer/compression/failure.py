"""A run that failed: why, and no to the commands for which a worker would start it again at once."""

import traceback
from typing import Unpack

from hankelboard.storage.commands import Command
from hankelboard.storage.errors import HankelboardError
from hankelboard.storage.history import History, read_history
from hankelboard.storage.journal import Journal
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.runs import RunLock
from hankelboard.storage.schema import EventFields, Place
from hankelboard.storage.vocabulary import CommandKind, EventKind, Phase, RunState
from hankelboard.trainer.compression.inbox import naming, unanswered
from hankelboard.trainer.compression.recorder import Recorder

REFUSAL = "the run failed before it could be carried out"
REVIVING = frozenset({CommandKind.RESUME, CommandKind.ROLLBACK})
"""Commands for which a worker starts a trainer of a run that has ended."""


def fail(recorder: Recorder, paths: RunPaths, error: Exception) -> None:
    """Record why the run failed, in the process that trained it."""
    if not isinstance(error, HankelboardError):  # whose message a traceback would hide
        traceback.print_exc()
    recorder.event(EventKind.RUN_FAILED, reason=describe(error))
    for command in waking(paths, read_history(paths)):
        recorder.event(EventKind.COMMAND_REFUSED, **naming(command), reason=REFUSAL)
    recorder.show(RunState.FAILED, Phase.TRAINING)


def give_up(paths: RunPaths, reason: str) -> None:
    """Record that a run cannot even start; a finished one stays finished. Takes run.lock."""
    with RunLock(paths), Journal(paths.events) as journal:
        history = read_history(paths)
        if history.state != RunState.FINISHED:
            append(journal, history, EventKind.RUN_FAILED, reason=reason)
        for command in waking(paths, history):
            append(journal, history, EventKind.COMMAND_REFUSED, **naming(command), reason=REFUSAL)


def describe(error: Exception) -> str:
    """Return an error in one line."""
    text = str(error).strip().splitlines()
    return text[0] if isinstance(error, HankelboardError) and text else f"{type(error).__name__}: {error}"


def waking(paths: RunPaths, history: History) -> list[Command]:
    """Return the commands for which a worker starts a trainer, again and again while nobody answers them."""
    return [command for command in unanswered(paths, history) if command.kind in REVIVING]


def append(journal: Journal, history: History, kind: EventKind, **fields: Unpack[EventFields]) -> None:
    """Append an event to the journal of a run that nobody trains."""
    where: Place = {"step": history.step, "branch": history.branch, "attempt": max(history.attempt, 0)}
    journal.append({"kind": kind, **where, **fields}, durable=True)
