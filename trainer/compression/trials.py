"""The policy `pragmatic`: a cut is on trial for some steps and undone when validation fell too far.

A greedy reduction that looks at validation: a fixed share of the states per attempt,
one step back when it hurts, and no more cuts after that.
"""

from typing import Any

from hankelboard.storage.errors import CheckpointError
from hankelboard.storage.layout import CheckpointName
from hankelboard.trainer.compression.session import Session

POLICY = "pragmatic"


def trial_steps(attempts: list[int], configured: int, total: int) -> int:
    """Steps until a cut is judged: as configured, else the smallest distance of two attempts.

    >>> trial_steps([25, 50, 75], 0, 1000)
    25
    >>> trial_steps([25], 0, 1000)
    25
    >>> trial_steps([25, 50], 200, 1000)
    200
    """
    if configured:
        return configured
    distances = [after - before for before, after in zip([0, *attempts], attempts, strict=False)]
    return min(distances, default=total)


class Trials:
    """The cut on trial, if any. All it remembers is in the loop state: it is resumed and rolled back."""

    def __init__(self, session: Session, attempts: list[int]):
        config = session.config
        self._session = session
        self._threshold = config.reduction.threshold
        self._steps = trial_steps(attempts, config.reduction.trial, config.training.steps)

    @property
    def running(self) -> bool:
        return self._session.state.trial is not None

    def begin(self, proposal: int, checkpoint: str, before: dict[str, float]) -> None:
        """Put a cut on trial; `before` is the validation before it."""
        state = self._session.state
        state.trial = {
            "proposal": proposal, "checkpoint": checkpoint, "before": before["accuracy"],
            "until": state.step + self._steps,
        }  # fmt: skip

    def judge(self, *, at_end: bool) -> bool:
        """Judge the cut when its time is over; returns whether it was undone."""
        session, trial = self._session, self._session.state.trial
        if trial is None or (session.state.step < trial["until"] and not at_end):
            return False
        now = session.measure()["accuracy"]
        kept = now >= trial["before"] - self._threshold
        session.event(
            "reduction_judged",
            proposal=trial["proposal"],
            before=trial["before"],
            now=now,
            threshold=self._threshold,
            kept=kept,
        )
        session.state.trial = None
        return not kept and self._undo(trial)

    def _undo(self, trial: dict[str, Any]) -> bool:
        session = self._session
        name = CheckpointName.parse(trial["checkpoint"])
        assert name is not None
        try:
            session.roll_back(
                name, policy=POLICY, by=f"policy:{POLICY}", consumed=session.config.training.steps
            )
        except CheckpointError as error:
            session.recorder.say(f"the cut of proposal {trial['proposal']} stays: {error}")
            return False
        session.save("branch")
        return True
