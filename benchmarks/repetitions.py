"""Repetitions of works that take turns, so that a noisy machine disturbs all alike; medians and spreads."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

REPETITIONS = 3


class Missing(RuntimeError):
    """Something that only a benchmark needs is not installed; the message says how to install it."""


@dataclass(frozen=True)
class Spent:
    """Seconds of the clock and of this process's threads."""

    wall: float
    cpu: float


def spent(work: Callable[[], object]) -> Spent:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def alternating(
    works: Mapping[str, Callable[[], object]], repetitions: int = REPETITIONS
) -> dict[str, list[Any]]:
    """Return what each work returns, in rounds: one of each, then again."""
    found: dict[str, list[Any]] = {name: [] for name in works}
    for _ in range(repetitions):
        for name, work in works.items():
            found[name].append(work())
    return found


def spread(values: Sequence[float], scale: float = 1.0, digits: int = 1) -> str:
    """Return the median and, in brackets, the smallest and largest."""
    shown = [
        f"{scale * value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values))
    ]
    return f"{shown[0]} ({shown[1]}-{shown[2]})"


def ratio(one: Sequence[float], other: Sequence[float]) -> str:
    """Return the median of the ratios within each round."""
    found = statistics.median(a / b for a, b in zip(one, other, strict=True))
    return f"{found:.3g} x"
