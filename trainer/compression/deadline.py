"""How long a proposal waits for a person, and what is decided when nobody does."""

import contextlib

from hankelboard.settings.config import ReductionConfig
from hankelboard.storage import proposals
from hankelboard.storage.errors import AlreadyDecided
from hankelboard.storage.history import TIMEOUT, ProposalOutcome
from hankelboard.storage.schema import Deadline as DeadlineRecord
from hankelboard.storage.vocabulary import Verdict
from hankelboard.trainer.compression.run import Run


class Deadline:
    """Counts the seconds that a proposal waits, and decides by default when its time is over.

    The seconds are in the loop state, so that they are resumed and rolled back. Only people can be late:
    `tick` is not called where a policy decides by itself.
    """

    def __init__(self, run: Run, config: ReductionConfig):
        self._run, self._config = run, config
        self._ticked: float | None = None

    def tick(self, outcome: ProposalOutcome, *, at_end: bool) -> None:
        """Count the time since the last tick; decide by default when it is up."""
        now, state, config = self._run.clock.monotonic(), self._run.state, self._config
        state.pending_s += now - (now if self._ticked is None else self._ticked)
        self._ticked = now
        if config.deadline_s and state.pending_s >= config.deadline_s:
            self._decide(outcome, config.default, f"nobody decided within {config.deadline_s:g} s")
        elif config.deadline_steps and state.step - outcome.step >= config.deadline_steps:
            self._decide(outcome, config.default, f"nobody decided within {config.deadline_steps} steps")
        elif at_end and config.at_end == "expire":
            self._decide(outcome, Verdict.REJECT, "training ended before a decision")

    def suspend(self) -> None:
        """Do not count the time until the next tick."""
        self._ticked = None

    def _decide(self, outcome: ProposalOutcome, verdict: str, reason: str) -> None:
        """Decide as a person would: of two decisions the first wins."""
        run = self._run
        run.recorder.check()
        with contextlib.suppress(AlreadyDecided):
            proposals.decide(
                run.paths, outcome.number, verdict, by=TIMEOUT, via="trainer", reason=reason,
                history=run.history,
            )  # fmt: skip


def deadline_record(config: ReductionConfig) -> DeadlineRecord | None:
    """Return what a proposal shows of it: when the default decides, and how; None without a deadline."""
    if not config.deadline_s and not config.deadline_steps:
        return None
    return {"s": config.deadline_s, "steps": config.deadline_steps, "default": config.default}
