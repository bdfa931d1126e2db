"""Runs that have no trainer now: what is to become of them, and answers to commands sent to them."""

from collections.abc import Iterator

from hankelboard.storage import commands
from hankelboard.storage.commands import Command
from hankelboard.storage.history import History, read_history
from hankelboard.storage.journal import Journal
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.records import Record
from hankelboard.storage.runs import Run, RunLock
from hankelboard.storage.summary import ENDED


def unanswered(paths: RunPaths, history: History) -> Iterator[Command]:
    """Valid commands in the inbox that no trainer has applied or refused."""
    for command_id in commands.command_ids(paths):
        known = history.commands.get(command_id)
        if known is None or known.state == "accepted":
            command = commands.read_command(paths, command_id)
            if command is not None:
                yield command


def wants_trainer(run: Run, history: History, asked: list[Command]) -> bool:
    """Whether a worker should start a child for this run."""
    kinds = {command.kind for command in asked}
    if "kill" in kinds:
        return False
    if history.state == "finished":
        return "rollback" in kinds
    if history.state in ("stopped", "failed", "cancelled"):
        return bool(kinds & {"rollback", "resume"})
    if history.state == "queued" and "stop" in kinds:
        return False
    return run.queued or bool(kinds & {"rollback", "resume"})


def refusal(state: str, kind: str) -> str | None:
    """Why a run in this state does not take this command, None when it does."""
    if state == "finished" and kind != "rollback":
        return "the run is finished; roll back to a checkpoint to train on from there"
    if state == "cancelled" and kind != "resume":
        return "the run was cancelled before it started"
    if state in ("stopped", "failed") and kind not in ("resume", "rollback"):
        return f"the run is {state}; resume it or roll it back first"
    return None


def answer(paths: RunPaths, history: History, asked: list[Command]) -> None:
    """Answer what needs no trainer: cancel a queued run, refuse what makes no sense. Takes run.lock."""
    with RunLock(paths), Journal(paths.events) as journal:
        for command in asked:
            if history.state == "queued" and command.kind in ("stop", "kill"):
                _end(journal, history, command, "run_cancelled", f"cancelled by {command.by}")
                history = read_history(paths)
                continue
            if command.kind == "kill" and (history.state not in ENDED or history.state == "interrupted"):
                _end(journal, history, command, "run_stopped", f"killed by {command.by}, without saving")
                history = read_history(paths)
                continue
            reason = refusal(history.state, command.kind)
            if reason:
                _answer(journal, history, command, "command_refused", reason=reason)


def fail(paths: RunPaths, reason: str) -> None:
    """Give up on a run that cannot even start. Takes run.lock."""
    with RunLock(paths), Journal(paths.events) as journal:
        history = read_history(paths)
        _append(journal, history, "run_failed", reason=reason)
        for command in wanting_an_attempt(paths, history):
            _answer(journal, history, command, "command_refused", reason=FAILED)


FAILED = "the run failed before it could be carried out"


def wanting_an_attempt(paths: RunPaths, history: History) -> list[Command]:
    """Commands for which a worker starts a trainer, again and again while nobody answers them."""
    return [command for command in unanswered(paths, history) if command.kind in ("resume", "rollback")]


def _end(journal: Journal, history: History, command: Command, kind: str, reason: str) -> None:
    _append(journal, history, kind, reason=reason, command_id=command.id)


def _answer(journal: Journal, history: History, command: Command, kind: str, **fields: str) -> None:
    _append(
        journal, history, kind, command_id=command.id, command=command.kind, by=command.by, **fields
    )  # fmt: skip


def _append(journal: Journal, history: History, kind: str, **fields: str) -> None:
    where: Record = {"step": history.step, "branch": history.branch, "attempt": max(history.attempt, 0)}
    journal.append({"kind": kind, **where, **fields}, durable=True)


def needs_nothing(history: History, asked: list[Command]) -> bool:
    """Whether the run has ended and nobody asks anything of it."""
    return history.state in ENDED and history.state != "interrupted" and not asked
