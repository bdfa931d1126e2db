"""Resuming means the same: what changed since the last attempt is refused, accepted or said."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from hankelboard.storage import checkpoints
from hankelboard.storage.commands import Command
from hankelboard.storage.errors import ResumeRefused
from hankelboard.storage.fingerprints import decisive, incidental, versions_changed
from hankelboard.storage.schema import Whose
from hankelboard.storage.vocabulary import EventKind
from hankelboard.trainer.compression.failure import waking
from hankelboard.trainer.compression.inbox import naming
from hankelboard.trainer.compression.provenance import versions
from hankelboard.trainer.compression.run import Run
from hankelboard.trainer.data.text import check_same_alphabet, is_same_text, key_of_text
from hankelboard.trainer.training.session import Session


@dataclass(frozen=True)
class Changes:
    """What is not as the last attempt left it."""

    accepted: list[str] = field(default_factory=list)
    """Data, split or code of the model: training goes on with them because somebody says so."""
    who: Whose | None = None
    """Who said so by hand."""
    command: Command | None = None
    """In which it was said."""
    noticed: list[str] = field(default_factory=list)
    """Versions and other modules."""

    def record_accepted(self, run: Run) -> None:
        """Record who goes on with what; before the attempt that does, so that none is without."""
        if self.accepted and self.command:
            run.event(EventKind.CHANGES_ACCEPTED, changes=self.accepted, **naming(self.command))
        elif self.accepted and self.who:
            run.event(EventKind.CHANGES_ACCEPTED, changes=self.accepted, **self.who)

    def record_noticed(self, run: Run) -> None:
        """Say what else changed, in an event of the attempt that goes on with it."""
        if self.noticed:
            run.event(EventKind.CHANGES_NOTICED, changes=self.noticed)


def changes_since(session: Session, accepted_by: Whose | None = None) -> Changes:
    """Return what changed since the last attempt; nothing where there is nothing to go on from.

    Parameters
    ----------
    accepted_by : Whose, optional
        Who goes on whatever changed, beside those who said so in a command.

    Raises
    ------
    ResumeRefused
        If data, their split or the model's code changed and nobody accepts it.
    """
    run, before, now = session.run, session.run.history.fingerprints, session.fingerprints
    if not checkpoints.checkpoint_names(run.paths):
        return Changes()
    check_same_alphabet(session.config.data, session.task, run.history.text)
    changed = decisive(before, now)
    if not is_same_text(session.task, run.history.text):
        changed.insert(0, f"the text ({key_of_text(session.config.data)})")
    command = _acceptance(waking(run.paths, run.history))
    if changed and accepted_by is None and command is None:
        raise ResumeRefused(refusal(run.paths.run_id, changed))
    noticed = [*versions_changed(run.history.versions, versions()), *incidental(before, now)]
    return Changes(changed, accepted_by, command, noticed)


def _acceptance(asked: Iterable[Command]) -> Command | None:
    return next((command for command in asked if command.accept_changes), None)


def refusal(run_id: str, changed: list[str]) -> str:
    """Return the sentence: what is not as it was, and what to do."""
    return (
        f"not resumed: {', '.join(changed)} changed since the last attempt. Put back what was there and "
        f"resume, or go on with what is there now: hankelboard run {run_id} --accept-changes"
    )
