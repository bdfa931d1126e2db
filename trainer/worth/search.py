"""Which short runs to make, within a budget of updates: longer ones until the answer is clear."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hankelboard.settings.config import Config
from hankelboard.trainer.data.scoring import UNSCORED
from hankelboard.trainer.data.task import Task
from hankelboard.trainer.worth.short_runs import divided, train_short
from hankelboard.trainer.worth.verdict import (
    DIVISORS,
    ENOUGH_SEEDS,
    HALF,
    Answer,
    ShortRun,
    Verdict,
    Why,
    learned_by,
    verdict,
)

SHARE = 0.1
"""Default budget, as a share of the training's updates."""
SHORT_TRAINING = 3000
"""Trainings of at most this length are over in minutes, and hardly longer than learning takes at all."""
SHARE_OF_SHORT = 5.0
"""Default budget of those."""
FIRST = 50
"""Updates of the shortest runs."""
MORE_SEEDS = 5
"""Seeds that may be added where longer runs do not fit into the budget."""

Key = tuple[int, int, int]
"""Divisor, seed, updates."""


def default_budget(steps: int) -> float:
    """Return the default budget in trainings.

    >>> default_budget(200_000), default_budget(1200)
    (0.1, 5.0)
    """
    return SHARE_OF_SHORT if steps <= SHORT_TRAINING else SHARE


@dataclass
class Search:
    """Short runs of one configuration, and what may still be spent."""

    config: Config
    task: Task
    budget: int
    """Updates of all short runs together."""
    seeds: int
    margin: float
    tell: Callable[[ShortRun], None] = lambda run: None
    """Called after each run."""
    runs: dict[Key, ShortRun] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chance_loss, self.chance_accuracy = chance(self.task.val.labels)
        self.divisors = distinct(self.config.state_dims)
        self.total_steps = self.config.training.steps

    @property
    def spent(self) -> int:
        """Updates that were made."""
        return sum(run.steps for run in self.runs.values())

    def answer(self) -> Answer:
        """Return what the runs say so far."""
        return verdict(
            list(self.runs.values()),
            chance_loss=self.chance_loss,
            margin=self.margin,
            total_steps=self.total_steps,
        )

    def go(self) -> Answer:
        """Train where the large network learns, and twice as long each time until the answer is clear."""
        steps = self._first_length()
        while self._train(self.round_at(steps)):
            answer = self.answer()
            longer = min(2 * steps, self.total_steps)
            if answer.verdict != Verdict.UNKNOWN or longer == steps or not self._fits(self.round_at(longer)):
                break
            steps = longer
        self._look_at_shorter(steps)
        self._add_seeds(steps)
        self._look_at_smaller(steps)
        return self.answer()

    def _first_length(self) -> int:
        """Return the length at which the large network, one seed of it, has learned half of what there is.

        The longest that can be compared within the budget, if it has not by then.
        """
        steps = min(FIRST, self.total_steps)
        while self._train([self._keys(1, steps)[0]]):
            learned = learned_by(list(self.runs.values()), steps, self.chance_loss)
            longer = min(2 * steps, self.total_steps)
            if learned >= HALF or longer == steps or not self._fits(self.round_at(longer)):
                break
            steps = longer
        return steps

    def round_at(self, steps: int) -> list[Key]:
        """Return the runs of a comparison with the first smaller size, seed by seed."""
        pairs = zip(*(self._keys(divisor, steps) for divisor in self.divisors[:2]), strict=True)
        return [key for pair in pairs for key in pair]

    def _look_at_shorter(self, steps: int) -> None:
        """Compare at half the length, too, where longer runs do not fit: does a gap last?"""
        shorter = steps // 2
        if self.answer().why == Why.TOO_EARLY and (1, self.config.training.seed, shorter) in self.runs:
            self._train(self.round_at(shorter))

    def _add_seeds(self, steps: int) -> None:
        """Add seeds while the difference is uncertain and they fit into the budget."""
        for _ in range(MORE_SEEDS):
            if self.answer().why != Why.UNCERTAIN:
                return
            self.seeds += 1
            if not self._train(self.round_at(steps)):
                self.seeds -= 1
                return

    def _look_at_smaller(self, steps: int) -> None:
        """Train the smallest size where the next one is as good, or as the gain may be larger there."""
        if self.answer().verdict != Verdict.UNKNOWN:
            for divisor in self.divisors[2:]:
                self._train(self._keys(divisor, steps)[:ENOUGH_SEEDS])

    def _keys(self, divisor: int, steps: int) -> list[Key]:
        first = self.config.training.seed
        return [(divisor, seed, steps) for seed in range(first, first + self.seeds)]

    def cost(self, keys: Iterable[Key]) -> int:
        """Return the updates of those runs that are not made yet."""
        return sum(key[2] for key in keys if key not in self.runs)

    def _fits(self, keys: list[Key]) -> bool:
        return self.spent + self.cost(keys) <= self.budget

    def _train(self, keys: list[Key]) -> bool:
        """Make the runs that are missing; none of them if they do not fit into the budget."""
        if not self._fits(keys):
            return False
        for key in keys:
            if key not in self.runs:
                divisor, seed, steps = key
                self.runs[key] = train_short(self.config, self.task, divisor=divisor, seed=seed, steps=steps)
                self.tell(self.runs[key])
        return True


def distinct(state_dims: list[int]) -> list[int]:
    """Return the divisors that give networks of different sizes.

    >>> distinct([64, 64]), distinct([4]), distinct([1])
    ([1, 4, 16], [1, 4], [1])
    """
    sizes = {tuple(divided(state_dims, divisor)): divisor for divisor in reversed(DIVISORS)}
    return sorted(sizes.values())


def chance(labels: Tensor) -> tuple[float, float]:
    """Return loss (nats) and accuracy of guessing by how frequent each label is.

    >>> loss, accuracy = chance(torch.tensor([0, 0, 1, 1, UNSCORED]))
    >>> round(loss, 4), accuracy
    (0.6931, 0.5)
    """
    scored = labels[labels != UNSCORED]
    if not len(scored):
        return 0.0, 0.0
    shares = torch.bincount(scored.flatten()).double() / scored.numel()
    shares = shares[shares > 0]
    return float(-(shares * shares.log()).sum()), float(shares.max())
