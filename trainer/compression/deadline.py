"""How long a proposal waits for a person, and what is decided when nobody does."""

import contextlib
import time

from hankelboard.settings.config import ReductionConfig
from hankelboard.storage import proposals
from hankelboard.storage.errors import AlreadyDecided
from hankelboard.storage.history import TIMEOUT, ProposalOutcome
from hankelboard.storage.records import Record
from hankelboard.trainer.compression.session import Session


class Deadline:
    """Counts the seconds that a proposal waits, and decides by default when its time is over.

    The seconds are in the loop state, so that they are resumed and rolled back. Only people can be late:
    `tick` is not called where a policy decides by itself.
    """

    def __init__(self, session: Session):
        self._session = session
        self._config = session.config.reduction
        self._ticked: float | None = None

    def tick(self, outcome: ProposalOutcome, *, at_end: bool) -> None:
        """Count the time since the last tick; decide by default when it is up."""
        now, state, config = time.monotonic(), self._session.state, self._config
        state.pending_s += now - (now if self._ticked is None else self._ticked)
        self._ticked = now
        if config.deadline_s and state.pending_s >= config.deadline_s:
            self._decide(outcome, config.default, f"nobody decided within {config.deadline_s:g} s")
        elif config.deadline_steps and state.step - outcome.step >= config.deadline_steps:
            self._decide(outcome, config.default, f"nobody decided within {config.deadline_steps} steps")
        elif at_end and config.at_end == "expire":
            self._decide(outcome, "reject", "training ended before a decision")

    def suspend(self) -> None:
        """The time until the next tick does not count."""
        self._ticked = None

    def _decide(self, outcome: ProposalOutcome, verdict: str, reason: str) -> None:
        """A decision like any other: of two deciders the first one wins, here too."""
        session = self._session
        with contextlib.suppress(AlreadyDecided):
            proposals.decide(
                session.paths, outcome.number, verdict, by=TIMEOUT, via="trainer", reason=reason,
                history=session.history,
            )  # fmt: skip


def deadline_record(config: ReductionConfig) -> Record | None:
    """For people, in a proposal: when a default decides, and how."""
    if not config.deadline_s and not config.deadline_steps:
        return None
    return {"s": config.deadline_s, "steps": config.deadline_steps, "default": config.default}
