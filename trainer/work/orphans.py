"""Runs that have no trainer now: what is to become of them, and answers to commands sent to them."""

from hankelboard.storage.commands import Command
from hankelboard.storage.history import History, read_history
from hankelboard.storage.journal import Journal
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.runs import Run, RunLock
from hankelboard.storage.summary import ENDED
from hankelboard.trainer.compression.failure import append, naming


def wants_trainer(run: Run, history: History, asked: list[Command]) -> bool:
    """Return whether a worker should start a child for this run."""
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
    """Return why a run in this state does not take this command, None when it does."""
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
                append(journal, history, "command_refused", **naming(command), reason=reason)


def _end(journal: Journal, history: History, command: Command, kind: str, reason: str) -> None:
    append(journal, history, kind, reason=reason, command_id=command.id)


def needs_nothing(history: History, asked: list[Command]) -> bool:
    """Return whether the run has ended and nobody asks anything of it."""
    return history.state in ENDED and history.state != "interrupted" and not asked
