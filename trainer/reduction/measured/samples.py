"""What an output is made of, y = c · h, and what every rank of a nested choice of states loses of it.

A choice is nested when rank r keeps the first r of N terms:

    y = Σ_i (c · v_i) (w_i · h),   Wᵀ V = I,   y_r = Σ_{i ≤ r} (c · v_i) (w_i · h)

so that all errors Σ (y − y_r)² follow from one pass over rows of c and h that were seen together. Rows of
sequences that V and W were not fitted to say what the choice costs elsewhere; those that it was fitted to say
too little, and moments E[c cᵀ] and E[h hᵀ] alone do not know which c met which h.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from hankelboard.trainer.reduction.reducible import FloatArray

SAMPLED_OUTPUTS = 8192
SAMPLED_NUMBERS = 1 << 21
"""Outputs whose c and h a layer keeps: their number, and the most numbers of each."""


@dataclass(frozen=True, eq=False)
class Samples:
    """What some outputs y = c · h were made of."""

    reads: FloatArray
    """(S, N) c."""
    states: FloatArray
    """(S, N) h."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Measured:
    """What a layer measured on calibration sequences: a subclass has the moments that a choice is fitted to.

    A copy of a layer has the same object, which nobody writes into.
    """

    samples: list[Samples]
    """Of each part of the output (head, group), on the sequences of the moments."""
    held_out: list[Samples] | None = None
    """The same on other sequences, which no choice is fitted to; None where there were none."""

    @property
    def judged_on(self) -> list[Samples]:
        """Samples on which the errors of ranks are measured: held out where there are such."""
        return self.held_out or self.samples

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def errors_of_ranks(samples: Samples, V: FloatArray, W: FloatArray) -> FloatArray:
    """Return Σ (y − y_r)² for r = 0..N, (N+1,): Σ y² at rank 0, 0 at rank N.

    Parameters
    ----------
    samples : Samples
    V, W : (N, N)
        Columns in the order in which they are kept.
    """
    terms = (samples.reads @ V) * (samples.states @ W)  # (S, N)
    missing = np.cumsum(terms[:, ::-1], axis=1)[:, ::-1]  # (S, N) Σ_{i > r}, from the small end
    return np.concatenate([np.square(missing).sum(axis=0), [0.0]])


def shares_of(errors: FloatArray) -> FloatArray:
    """Return share of the output's energy that each rank loses, (N+1,): 1 at rank 0, 0 at rank N, falling.

    Raises
    ------
    ValueError
        If the output is 0 or not finite.
    """
    if not np.isfinite(errors).all():
        raise ValueError("the output is not finite")
    if errors[0] <= 0.0:
        raise ValueError("the output is 0: the layer passes nothing on, so no rank can be proposed")
    rising = np.maximum.accumulate(errors[:0:-1])  # ranks N … 1
    shares = np.clip(rising[::-1] / errors[0], 0.0, 1.0)
    falling: FloatArray = np.concatenate([[1.0], shares])
    return falling


def shares_over_parts(parts: Sequence[Samples], bases: Sequence[tuple[FloatArray, FloatArray]]) -> FloatArray:
    """Return `shares_of` all parts of an output together, each with V and W of its own: heads, groups.

    Raises
    ------
    ValueError
        If the output is 0 or not finite.
    """
    errors = [errors_of_ranks(part, V, W) for part, (V, W) in zip(parts, bases, strict=True)]
    return shares_of(np.sum(errors, axis=0))
