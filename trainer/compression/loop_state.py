"""Where a training is: all that the loop counts, kept in every checkpoint."""

from dataclasses import dataclass, field
from typing import Any

from hankelboard.storage.schema import Best


@dataclass
class LoopState:
    step: int = 0
    """Completed optimizer updates on this path."""
    position: int = 0
    """Training samples seen: says which batch comes next."""
    branch: int = 0
    policy: str = ""
    attempts_consumed: int = -1
    """Opportunities up to and including this step are over: proposed, skipped or rolled back."""
    waiting: str = ""
    """pause or train while a person decides."""
    reductions: list[int] = field(default_factory=list)
    """Proposals whose reductions are in the weights."""
    pending_proposal: int | None = None
    pending_s: float = 0.0
    """Seconds that the pending proposal has waited here: downtime and pauses excluded."""
    trial: dict[str, Any] | None = None
    """A cut of the policy pragmatic that is not judged yet: proposal, checkpoint, before, until."""
    train_s: float = 0.0
    """Seconds spent training: waiting, pausing and measuring excluded."""
    waiting_s: float = 0.0
    cutting_s: float = 0.0
    """Seconds spent on cuts: evidence, their spectra, checkpoints and validations."""
    energy_j: float | None = None
    """Energy spent training, where the machine says it; of all that its processors did meanwhile."""
    best: Best | None = None
    """Best validation metric on this path: metric, value, step."""
    last: dict[str, float] = field(default_factory=dict)
    """Latest validation metrics."""
    forms: list[str | None] = field(default_factory=list)
    """Form of the recurrence of each reducible layer; None where a family has one only."""
    forms_of: list[int] = field(default_factory=list)
    """The state dimensions that the forms were chosen for."""
    scan: str = ""
    """What computes scans of complex states, for those dimensions; empty where no layer has any."""
