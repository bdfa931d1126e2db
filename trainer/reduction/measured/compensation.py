"""Which states to remove where the read-out of the others may be changed: elimination with regression.

States h act on nothing but the output y = c · h, whose read-out c[t] is linear in the input. A removed state
is replaced by its regression on the kept ones, folded into their read-out. Removing state m of the set I adds

    h_m ≈ Σ_i k_i h_i,   k_i = −X_mi / X_mm,   X = (P_II)⁻¹,   P = E[h hᵀ]
    E[(c_m (h_m − Σ_i k_i h_i))²] ≈ E[c_m²] / X_mm,   and c_i becomes c_i + k_i c_m

to the error if c and the residual are independent, which is how optimal brain surgeon prunes weights (Hassibi
and Stork 1992). Regressions on nested sets compose, so c after many removals is that of one regression. The
order is chosen so; what every rank then loses is measured (samples.py).
"""

import numpy as np

from hankelboard.trainer.reduction.measured.elimination import Order, positive
from hankelboard.trainer.reduction.reducible import FloatArray

FRESH = 64
"""(P_II)⁻¹ is computed anew about this number of times; in between one state is taken out of it at a time."""


def eliminate_compensated(P: FloatArray, reads: FloatArray) -> Order:
    """Return states in the order in which they are kept, by backward elimination with regression.

    Parameters
    ----------
    P : (N, N)
        Second moments of the states, up to a factor.
    reads : (S, N)
        c of some outputs.

    Returns
    -------
    order : (N,)
        The first r stay at rank r.
    """
    n = len(P)
    P = positive(P)
    scale = np.sqrt(np.diag(P))  # (N,)
    P = P / np.outer(scale, scale)
    reads = reads * scale  # of states / scale: c · h is the same
    kept, removed = list(range(n)), []
    energy = np.einsum("sn,sn->n", reads, reads)  # (N,) Σ c²
    X = _inverse(P)
    for rank in range(n - 1, 0, -1):
        if rank % max(1, n // FRESH) == 0:
            X = _inverse(P[np.ix_(kept, kept)])
        diagonal = np.maximum(np.diag(X), np.finfo(np.float64).tiny)  # (rank + 1,)
        place = int(np.argmin(energy / diagonal))
        k = -np.delete(X[place], place) / diagonal[place]  # (rank,)
        X = _without(X, place)
        removed.append(kept.pop(place))
        gone = reads[:, place]
        reads = np.delete(reads, place, axis=1) + np.outer(gone, k)  # (S, rank)
        energy = np.einsum("sn,sn->n", reads, reads)
    return np.array([*kept, *removed[::-1]], dtype=np.intp)


def regression_basis(P: FloatArray, order: Order) -> tuple[FloatArray, FloatArray]:
    """Return V and W (N, N) of a choice that replaces removed states by their regression on the kept ones.

    With h in this order and P = L D Lᵀ, L with ones on its diagonal, L⁻¹ h are what each state adds to the
    regression on those before it: c · h = (Lᵀ c) · (L⁻¹ h), and the first r terms are the output at rank r.
    """
    P = positive(P)[np.ix_(order, order)]
    scale = np.sqrt(np.diag(P))  # (N,)
    L = np.linalg.cholesky(P / np.outer(scale, scale)) * scale[:, None]
    L = L / np.diag(L)
    V, W = np.empty_like(P), np.empty_like(P)
    V[order], W[order] = L, np.linalg.inv(L).T
    return V, W


def _inverse(P: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.inv(P), dtype=np.float64)


def _without(X: FloatArray, place: int) -> FloatArray:
    """Return inverse of a matrix without one row and column, from its inverse X."""
    rest = np.delete(X, place, axis=0)
    column = rest[:, place]
    smaller: FloatArray = np.delete(rest, place, axis=1) - np.outer(column, column) / X[place, place]
    return smaller
