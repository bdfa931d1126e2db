"""The policy `pragmatic`: a cut is on trial for some steps and undone when validation fell too far.

A greedy reduction that looks at validation: a fixed share of the states per opportunity,
one step back when it hurts, and no more cuts after that.
"""

from typing import Any

from hankelboard.settings.config import ReductionConfig
from hankelboard.storage.errors import CheckpointError
from hankelboard.storage.layout import CheckpointName
from hankelboard.storage.schema import Scores
from hankelboard.storage.vocabulary import EventKind, Policy
from hankelboard.trainer.compression.monitor import Monitor
from hankelboard.trainer.compression.run import Run


def trial_steps(opportunities: list[int], configured: int, total: int) -> int:
    """Return the steps until a cut is judged: as configured, else the least distance of opportunities.

    >>> trial_steps([25, 50, 75], 0, 1000)
    25
    >>> trial_steps([25], 0, 1000)
    25
    >>> trial_steps([25, 50], 200, 1000)
    200
    """
    if configured:
        return configured
    distances = [after - before for before, after in zip([0, *opportunities], opportunities, strict=False)]
    return min(distances, default=total)


class Trials:
    """The cut on trial, if any. All it remembers is in the loop state: it is resumed and rolled back."""

    def __init__(self, run: Run, monitor: Monitor, config: ReductionConfig, opportunities: list[int]):
        self._run, self._monitor = run, monitor
        self._threshold = config.threshold
        self._steps = trial_steps(opportunities, config.trial, run.steps)

    @property
    def running(self) -> bool:
        return self._run.state.trial is not None

    def begin(self, proposal: int, checkpoint: str, before: Scores) -> None:
        """Put a cut on trial; `before` is the validation before it."""
        state = self._run.state
        state.trial = {
            "proposal": proposal, "checkpoint": checkpoint, "before": before.get("accuracy"),
            "until": state.step + self._steps,
        }  # fmt: skip

    def judge(self, *, at_end: bool) -> bool:
        """Judge the cut when its time is over; return whether it was undone."""
        run, trial = self._run, self._run.state.trial
        if trial is None or (run.state.step < trial["until"] and not at_end):
            return False
        before, now = trial["before"], self._monitor.measure().get("accuracy")
        fell = before is not None and now is not None and now < before - self._threshold
        run.event(
            EventKind.REDUCTION_JUDGED,
            proposal=trial["proposal"],
            before=before,
            now=now,
            threshold=self._threshold,
            kept=not fell,
        )
        run.state.trial = None
        return fell and self._undo(trial)

    def _undo(self, trial: dict[str, Any]) -> bool:
        run = self._run
        name = CheckpointName.parse(trial["checkpoint"])
        assert name is not None
        try:
            run.roll_back(name, policy=Policy.PRAGMATIC, by=f"policy:{Policy.PRAGMATIC}", consumed=run.steps)
        except CheckpointError as error:
            run.recorder.say(f"the cut of proposal {trial['proposal']} stays: {error}")
            return False
        return True
