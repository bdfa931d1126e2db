"""When reductions are attempted: an explicit list of steps, decoupled from evaluation."""

from collections.abc import Sequence


def attempt_steps(
    total_steps: int, *, attempts: int, window: float, explicit: Sequence[int] = ()
) -> list[int]:
    """Steps (counted in completed updates) at which a reduction is attempted, ascending, without repeats.

    Evenly spaced through the first `window` share of the training, the last attempt at its end, none where
    training ends; or the explicit steps, which may be 0 (before training) and `total_steps` (after it).

    >>> attempt_steps(1000, attempts=4, window=0.1)
    [25, 50, 75, 100]
    >>> attempt_steps(1000, attempts=4, window=0.1, explicit=[500, 10])
    [10, 500]
    """
    if explicit:
        return sorted({int(step) for step in explicit if 0 <= step <= total_steps})
    end = window * total_steps
    steps = {max(1, round(end * (index + 1) / attempts)) for index in range(attempts)}
    return sorted(step for step in steps if step < total_steps)


def attempt_due(steps: Sequence[int], *, consumed: int, step: int) -> int | None:
    """The latest attempt that lies after `consumed` and not after `step`, so that none is ever lost.

    >>> attempt_due([25, 50], consumed=25, step=60)
    50
    >>> attempt_due([25, 50], consumed=50, step=60) is None
    True
    """
    due = [attempt for attempt in steps if consumed < attempt <= step]
    return due[-1] if due else None
