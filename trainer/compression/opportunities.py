"""Opportunities to cut: steps at which a reduction is proposed, whenever validation happens."""

from collections.abc import Sequence
from itertools import pairwise


def opportunity_steps(
    total_steps: int, *, count: int, window: float, explicit: Sequence[int] = ()
) -> list[int]:
    """Return the steps (completed updates) with an opportunity to cut, ascending, without repeats.

    Evenly spaced through the first `window` share of the training, the last one at its end, none where
    training ends; or the explicit steps, which may be 0 (before training) and `total_steps` (after it).

    >>> opportunity_steps(1000, count=4, window=0.1)
    [25, 50, 75, 100]
    >>> opportunity_steps(1000, count=4, window=0.1, explicit=[500, 10])
    [10, 500]
    """
    if explicit:
        return sorted({int(step) for step in explicit if 0 <= step <= total_steps})
    end = window * total_steps
    steps = {max(1, round(end * (index + 1) / count)) for index in range(count)}
    return sorted(step for step in steps if step < total_steps)


def least_distance(steps: Sequence[int]) -> int:
    """Return the least distance between two opportunities; 0 where there are none.

    >>> least_distance([60, 120, 200])
    60
    >>> least_distance([60])
    0
    """
    return min((later - step for step, later in pairwise(steps)), default=0)


def opportunity_due(steps: Sequence[int], *, consumed: int, step: int) -> int | None:
    """Return the latest opportunity after `consumed` and not after `step`, so that none is ever lost.

    >>> opportunity_due([25, 50], consumed=25, step=60)
    50
    >>> opportunity_due([25, 50], consumed=50, step=60) is None
    True
    """
    due = [opportunity for opportunity in steps if consumed < opportunity <= step]
    return due[-1] if due else None
