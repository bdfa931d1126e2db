"""A run that failed: why, and no to the commands for which a worker would start it again at once."""

import contextlib
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Unpack, cast

from hankelboard.storage.commands import Command
from hankelboard.storage.errors import HankelboardError, ResumeRefused
from hankelboard.storage.history import History, read_history
from hankelboard.storage.journal import Journal
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.runs import RunLock
from hankelboard.storage.schema import Event, EventFields, Place
from hankelboard.storage.status import BeatWatch
from hankelboard.storage.vocabulary import ENDED, CommandKind, EventKind, Phase, RunState
from hankelboard.trainer.compression.inbox import naming, unanswered
from hankelboard.trainer.compression.recorder import Recorder
from hankelboard.trainer.compression.signals import AskedToEnd
from hankelboard.trainer.compression.terminal import say

REFUSAL = "the run failed before it could be carried out"
REFUSAL_OF_FINISHED = "the run stays finished, it cannot be gone on with here"
REVIVING = frozenset({CommandKind.RESUME, CommandKind.ROLLBACK})
"""Commands for which a worker starts a trainer of a run that has ended."""


def fail(recorder: Recorder, paths: RunPaths, error: BaseException) -> RunState:
    """Record why the run failed, in the process that trained it."""
    if not isinstance(error, HankelboardError):  # whose message a traceback would hide
        say(traceback.format_exc(), sys.stderr)
    recorder.event(EventKind.RUN_FAILED, reason=describe(error))
    _refuse(recorder, paths, REFUSAL)
    recorder.show(RunState.FAILED, Phase.TRAINING)
    return RunState.FAILED


def not_begun(recorder: Recorder, paths: RunPaths, history: History, error: BaseException) -> RunState:
    """Record why an attempt did not begin; return what became of it.

    A run that had finished stays so: what was asked of it is refused. One whose data or code changed waits
    for a person. What was asked to end can be resumed.
    """
    if isinstance(error, AskedToEnd):
        return _leave(recorder, history, error)
    if isinstance(error, ResumeRefused):
        return _hold(recorder, paths, history, str(error))
    if history.state != RunState.FINISHED:
        return fail(recorder, paths, error)
    if not isinstance(error, HankelboardError):
        say(traceback.format_exc(), sys.stderr)
    _refuse(recorder, paths, f"{REFUSAL_OF_FINISHED}: {describe(error)}")
    recorder.show(RunState.FINISHED, Phase.TRAINING)
    return RunState.FAILED


def _leave(recorder: Recorder, history: History, asked: AskedToEnd) -> RunState:
    """End before training began, without a word where the run had ended before."""
    by_hand = asked.number == signal.SIGINT
    state = RunState.STOPPED if by_hand else RunState.INTERRUPTED
    if history.state in ENDED:
        state = history.state
    elif by_hand:
        recorder.event(EventKind.RUN_STOPPED, reason="Ctrl-C, before training began")
    else:
        recorder.event(EventKind.ATTEMPT_ENDED, reason="the process was asked to end before training began")
    recorder.show(state, Phase.TRAINING)
    return RunState.STOPPED if by_hand else RunState.INTERRUPTED


def _hold(recorder: Recorder, paths: RunPaths, history: History, reason: str) -> RunState:
    """Let a run wait for a person: what it is made of changed."""
    if history.state != RunState.FINISHED:
        recorder.event(EventKind.RESUME_REFUSED, reason=reason)
    _refuse(recorder, paths, reason)
    recorder.show(history.state if history.state in ENDED else RunState.INTERRUPTED, Phase.TRAINING)
    return RunState.INTERRUPTED


def _refuse(recorder: Recorder, paths: RunPaths, reason: str) -> None:
    for command in waking(paths, read_history(paths)):
        recorder.event(EventKind.COMMAND_REFUSED, **naming(command), reason=reason)


def give_up(
    paths: RunPaths,
    reason: str,
    still: Callable[[History], bool] = lambda history: True,
    watch: BeatWatch | None = None,
) -> None:
    """Record that a run cannot even start; one that had finished stays so. Takes run.lock.

    `still` looks again once it is taken: what somebody else did to the run meanwhile stands.
    """
    with answering(paths, watch) as (journal, history, attempt):
        if not still(history):
            return
        finished = history.state == RunState.FINISHED
        if not finished:
            append(journal, history, attempt, EventKind.RUN_FAILED, reason=reason)
        why = f"{REFUSAL_OF_FINISHED}: {reason}" if finished else REFUSAL
        for command in waking(paths, history):
            append(journal, history, attempt, EventKind.COMMAND_REFUSED, **naming(command), reason=why)


@contextlib.contextmanager
def answering(paths: RunPaths, watch: BeatWatch | None = None) -> Iterator[tuple[Journal, History, int]]:
    """Yield the journal of a run that nobody trains, its history, and the attempt that answers.

    A worker gives the `watch` of the run: it has others to look after, and waits for no beat.
    """
    with RunLock(paths, watch=watch) as lock, Journal(paths.events, guard=lock.fence.check) as journal:
        yield journal, read_history(paths), lock.fence.number


def describe(error: BaseException) -> str:
    """Return an error in one line."""
    text = str(error).strip().splitlines()
    return text[0] if isinstance(error, HankelboardError) and text else f"{type(error).__name__}: {error}"


def waking(paths: RunPaths, history: History) -> list[Command]:
    """Return the commands for which a worker starts a trainer, again and again while nobody answers them."""
    return [command for command in unanswered(paths, history) if command.kind in REVIVING]


def append(
    journal: Journal, history: History, attempt: int, kind: EventKind, **fields: Unpack[EventFields]
) -> None:
    """Append an event to the journal of a run that nobody trains, and fold it."""
    where: Place = {"step": history.step, "branch": history.branch, "attempt": attempt}
    event = cast(Event, {"kind": kind, **where, **fields})
    journal.append(event, durable=True)
    history.apply(event)
