"""Which states a truncation keeps, compared over time: overlap, order, and regret of an early choice."""

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import kendalltau

from hankelboard.trainer.reduction.linear.hankel import ComplexArray
from hankelboard.trainer.reduction.linear.truncation import Balance


def kept_subspace(balanced: Balance, rank: int) -> ComplexArray:
    """Return the basis V_r (N, r) that a truncation keeps; fewer columns beyond the numerical rank."""
    return balanced.bases(min(rank, balanced.numerical_rank))[0]


def overlap(V: ComplexArray, other: ComplexArray) -> float:
    """Return ‖orth(V)ᴴ orth(V')‖²_F / min(r, r') in [0, 1]: 1 when one subspace holds the other.

    Parameters
    ----------
    V, other : (N, r), (N, r') complex128
        Of full column rank, in the same coordinates.
    """
    product = _orthonormal(V).conj().T @ _orthonormal(other)  # (r, r')
    return min(1.0, float(np.linalg.norm(product) ** 2 / min(product.shape)))


def selection_regret(final: Balance, V: ComplexArray) -> float:
    """Return how much less of the final system a subspace carries than the best one of its dimension.

        regret = (Σ_{i≤r} σ_i − tr Π Σ) / Σσ

    with Π the orthogonal projector onto T⁻¹ V in the balanced coordinates x = T z of the final system. By Ky
    Fan it is >= 0, and 0 for what the final system itself would keep.

    Parameters
    ----------
    final : Balance
        Of the system at the end.
    V : (N, r) complex128
        Basis of what was kept, in the coordinates of the system's own modes.

    Returns
    -------
    regret : float in [0, 1]

    Raises
    ------
    ValueError
        If the final system passes nothing on.
    """
    total = float(final.hsv.sum())
    if total <= 0.0:
        raise ValueError("all Hankel singular values are 0: there is nothing to regret")
    n = final.numerical_rank
    W = final.bases(n)[1]  # (N, n), T⁻¹ = Wᴴ
    projected = _orthonormal(W.conj().T @ V)  # (n, r)
    sigma = final.hsv[:n]
    captured = float(sigma @ (np.abs(projected) ** 2).sum(axis=1))  # tr Π Σ
    best = float(sigma[: projected.shape[1]].sum())
    return max(0.0, best - captured) / total


def random_regret(final: Balance, rank: int, seed: int) -> float:
    """Return the regret of a subspace drawn at random, for scale."""
    generator = np.random.default_rng(seed)
    shape = (final.system.state_dim, rank)
    return selection_regret(final, generator.standard_normal(shape) + 1j * generator.standard_normal(shape))


def order_stability(before: Balance, now: Balance, count: int) -> float | None:
    """Return Kendall's τ between the order of the strongest directions before and of their successors now.

    Each of the first `count` balanced directions is matched with one of now, so that the sum of
    |W_nowᴴ V_before| (unit columns) is as large as possible: it keeps its identity while its σ moves.

    Returns
    -------
    tau : float in [-1, 1], 1 when no two of them changed places; None for fewer than two directions
    """
    count = min(count, before.numerical_rank, now.numerical_rank)
    if count < 2:
        return None
    V, W = before.bases(count)[0], now.bases(now.numerical_rank)[1]
    likeness = np.abs(W.conj().T @ V)  # (n, count)
    likeness /= np.maximum(np.linalg.norm(likeness, axis=0), np.finfo(np.float64).tiny)
    places = linear_sum_assignment(-likeness.T)[1]  # (count,)
    tau = float(kendalltau(np.arange(count), places).statistic)
    return tau if np.isfinite(tau) else None


def _orthonormal(V: ComplexArray) -> ComplexArray:
    scaled = V / np.maximum(np.linalg.norm(V, axis=0), np.finfo(np.float64).tiny)
    return np.asarray(np.linalg.qr(scaled)[0], dtype=np.complex128)
