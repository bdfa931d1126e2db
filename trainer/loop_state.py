"""Where a training is: all that the loop counts, kept in every checkpoint."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class LoopState:
    step: int = 0
    """Completed optimizer updates on this path."""
    position: int = 0
    """Training samples seen: says which batch comes next."""
    branch: int = 0
    policy: str = ""
    attempts_consumed: int = 0
    """Attempt steps up to and including this one are done: proposed, skipped or rolled back."""
    reductions: list[int] = field(default_factory=list)
    """Proposals whose reductions are in the weights."""
    pending_proposal: int | None = None
    train_s: float = 0.0
    """Seconds spent training: waiting, pausing and measuring excluded."""
    waiting_s: float = 0.0
    best: dict[str, Any] | None = None
    """Best validation metric on this path: metric, value, step."""
    last: dict[str, float] = field(default_factory=dict)
    """Latest validation metrics."""
