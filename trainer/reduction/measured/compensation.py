"""Which states to remove where the read-out of the others may be changed: elimination with regression.

States h act on nothing but the output y = c · h, whose read-out c[t] is linear in the input. A removed state
is replaced by its regression on the kept ones, folded into their read-out. Removing state m of the set I adds

    h_m ≈ Σ_i k_i h_i,   k_i = −X_mi / X_mm,   X = (P_II)⁻¹,   P = E[h hᵀ]
    E[(c_m (h_m − Σ_i k_i h_i))²] ≈ E[c_m²] / X_mm,   and c_i becomes c_i + k_i c_m

to the error if c and the residual are independent, which is how optimal brain surgeon prunes weights (Hassibi
and Stork 1992). Regressions on nested sets compose, so c after many removals is that of one regression. The
order is chosen so; the error of every rank is then measured, on rows of c and h that were kept.
"""

from dataclasses import dataclass

import numpy as np

from hankelboard.trainer.reduction.measured.elimination import Order, positive
from hankelboard.trainer.reduction.reducible import FloatArray

SAMPLED_OUTPUTS = 8192
SAMPLED_NUMBERS = 1 << 21
"""Outputs whose c and h a layer keeps for this: their number, and the most numbers of each."""
FRESH = 64
"""(P_II)⁻¹ is computed anew about this number of times; in between one state is taken out of it at a time."""


@dataclass(frozen=True, eq=False)
class Samples:
    """What some outputs y = c · h were made of, and how many outputs there were in all."""

    reads: FloatArray
    """(S, N) c."""
    states: FloatArray
    """(S, N) h."""


@dataclass(frozen=True, eq=False)
class Elimination:
    """States in the order in which they are kept, and the squared error of every rank."""

    order: Order
    """(N,) the first r stay at rank r."""
    errors: FloatArray
    """(N+1,) Σ (y − y_r)² over the samples; Σ y² at rank 0, 0 at rank N."""


def eliminate_compensated(P: FloatArray, samples: Samples, order: Order | None = None) -> Elimination:
    """Eliminate states backwards with regression; with `order` in that order, the last one first.

    Parameters
    ----------
    P : (N, N)
        Second moments of the states, up to a factor.
    samples : Samples
    order : (N,), optional

    Returns
    -------
    elimination : Elimination
    """
    n = len(P)
    P = positive(P)
    scale = np.sqrt(np.diag(P))  # (N,)
    P = P / np.outer(scale, scale)
    reads, states = samples.reads * scale, samples.states / scale  # (S, N) each: c · h is the same
    y = np.einsum("sn,sn->s", reads, states)  # (S,)
    errors = np.zeros(n + 1)
    errors[0] = y @ y
    kept, removed = list(range(n)), []
    energy = np.einsum("sn,sn->n", reads, reads)  # (N,) Σ c²
    X = _inverse(P)
    for rank in range(n - 1, 0, -1):
        if rank % max(1, n // FRESH) == 0:
            X = _inverse(P[np.ix_(kept, kept)])
        diagonal = np.maximum(np.diag(X), np.finfo(np.float64).tiny)  # (rank + 1,)
        place = int(np.argmin(energy / diagonal)) if order is None else kept.index(order[rank])
        k = -np.delete(X[place], place) / diagonal[place]  # (rank,)
        X = _without(X, place)
        removed.append(kept.pop(place))
        gone = reads[:, place]
        reads, states = np.delete(reads, place, axis=1), np.delete(states, place, axis=1)
        reads += np.outer(gone, k)  # (S, rank)
        energy = np.einsum("sn,sn->n", reads, reads)
        errors[rank] = np.square(y - np.einsum("sn,sn->s", reads, states)).sum()
    return Elimination(np.array([*kept, *removed[::-1]], dtype=np.intp), errors)


def _inverse(P: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.inv(P), dtype=np.float64)


def _without(X: FloatArray, place: int) -> FloatArray:
    """Return inverse of a matrix without one row and column, from its inverse X."""
    rest = np.delete(X, place, axis=0)
    column = rest[:, place]
    smaller: FloatArray = np.delete(rest, place, axis=1) - np.outer(column, column) / X[place, place]
    return smaller


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
