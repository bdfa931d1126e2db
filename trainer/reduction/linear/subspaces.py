"""Which states a truncation keeps, compared over time: overlap, order, and regret of an early choice.

The scale of a mode is free: row k of B times d and column k of C over d is the same map. Two systems are
compared in one scale, the canonical one, and with their phases aligned, so that nothing here depends on it.
"""

from dataclasses import replace

import numpy as np
from scipy.linalg import svdvals
from scipy.optimize import linear_sum_assignment
from scipy.stats import kendalltau

from hankelboard.trainer.reduction.linear.hankel import ComplexArray, DiagonalSystem
from hankelboard.trainer.reduction.linear.truncation import Balance, balance

TINY = np.finfo(np.float64).tiny


def balanced_in_canonical_scale(system: DiagonalSystem) -> Balance:
    """Return what balances the system once its modes have their canonical scale."""
    return balance(canonical(system))


def canonical(system: DiagonalSystem) -> DiagonalSystem:
    """Return the same map with ‖row k of B‖ = ‖column k of C‖, by factors > 0.

    P and Q then have one diagonal. Among all scales of the modes this one has the smallest tr P + tr Q, which
    balanced coordinates have among all coordinates. A mode that passes nothing on is set to 0.
    """
    rows, columns = np.linalg.norm(system.B, axis=1), np.linalg.norm(system.C, axis=0)  # (N,)
    heard = (rows > 0.0) & (columns > 0.0)
    size = np.sqrt(rows) * np.sqrt(columns)  # (N,) what both become

    def scaled(norms: ComplexArray) -> ComplexArray:
        return np.where(heard, size / np.where(heard, norms, 1.0), 0.0)

    return replace(system, B=system.B * scaled(rows)[:, None], C=system.C * scaled(columns))


def phases(system: DiagonalSystem, like: DiagonalSystem) -> ComplexArray:
    """Return what turns the modes of a system, B d and C / d with |d| = 1, nearest to those of another.

    Both are in canonical scale.

    Returns
    -------
    d : (N,) complex128
    """
    of_B = (system.B * like.B.conj()).sum(axis=1)  # (N,)
    of_C = (system.C.conj() * like.C).sum(axis=0)  # (N,)
    likeness = of_B + of_C
    size = np.abs(likeness)
    return np.where(size > 0.0, likeness.conj() / np.where(size > 0.0, size, 1.0), 1.0)


def kept_bases(balanced: Balance, rank: int, like: Balance) -> tuple[ComplexArray, ComplexArray]:
    """Return V_r and W_r (N, r) that a truncation keeps, phases as in another system of the same modes.

    Both are in canonical scale. Fewer columns beyond the numerical rank.
    """
    turned = phases(balanced.system, like.system)[:, None]
    V, W = balanced.bases(min(rank, balanced.numerical_rank))
    return turned * V, turned * W


def overlap(before: Balance, now: Balance, rank: int) -> float:
    """Return the overlap of what two systems of the same modes, both in canonical scale, keep at a rank."""
    return overlap_of(kept_bases(before, rank, now)[0], kept_bases(now, rank, now)[0])


def overlap_of(V: ComplexArray, other: ComplexArray) -> float:
    """Return ‖orth(V)ᴴ orth(V')‖²_F / min(r, r') in [0, 1]: 1 when one subspace holds the other.

    Parameters
    ----------
    V, other : (N, r), (N, r') complex128
        Of full column rank, in the same coordinates.
    """
    product = _orthonormal(V).conj().T @ _orthonormal(other)  # (r, r')
    return min(1.0, float(np.linalg.norm(product) ** 2 / min(product.shape)))


def random_overlap(rank: int, state_dim: int) -> float:
    """Return the expected overlap of two subspaces of one dimension drawn at random, r / N."""
    return rank / state_dim


def subspace_regret(final: Balance, V: ComplexArray) -> float:
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
    total = _summed(final)
    n = final.numerical_rank
    W = final.bases(n)[1]  # (N, n), T⁻¹ = Wᴴ
    projected = _orthonormal(W.conj().T @ V)  # (n, r)
    sigma = final.hsv[:n]
    captured = float(sigma @ (np.abs(projected) ** 2).sum(axis=1))  # tr Π Σ
    best = float(sigma[: projected.shape[1]].sum())
    return max(0.0, best - captured) / total


def cut_regret(final: Balance, V: ComplexArray, W: ComplexArray) -> float:
    """Return how much more of the final system's Hankel operator an earlier cut loses than the best one.

        regret = (‖L_oᴴ (I − V Wᴴ) L_c‖_* − Σ_{i>r} σ_i) / Σσ

    V Wᴴ is the oblique projector that a cut applies; with the orthogonal one in its place this is
    `subspace_regret`. No operator of rank r comes nearer in the nuclear norm than Σ_{i>r} σ_i (Mirsky), so it
    is >= 0; it can exceed 1.

    Parameters
    ----------
    final : Balance
    V, W : (N, r) complex128
        Of the earlier cut, Wᴴ V = I, in the coordinates of the final system's modes.

    Raises
    ------
    ValueError
        If the final system passes nothing on.
    """
    total = _summed(final)
    lost = final.L_o.conj().T @ (final.L_c - V @ (W.conj().T @ final.L_c))  # (N, N)
    return max(0.0, float(svdvals(lost).sum()) - float(final.hsv[V.shape[1] :].sum())) / total


def random_regret(final: Balance, rank: int) -> float:
    """Return the expected regret of `rank` of the N balanced states drawn by lot, for either projector.

    Each is drawn with probability r / N, so tr Π Σ is r / N of Σσ in the mean.
    """
    share = float(final.hsv[:rank].sum()) / _summed(final)
    return max(0.0, share - rank / final.system.state_dim)


def order_stability(before: Balance, now: Balance, count: int) -> float | None:
    """Return Kendall's τ between the order of the strongest directions before and of their successors now.

    Each of the first `count` balanced directions is matched with one of now, so that the sum of
    |W_nowᴴ V_before| (unit columns) is as large as possible: it keeps its identity while its σ moves. An
    order drawn by lot has 0 in the mean.

    Parameters
    ----------
    before, now : Balance
        Of two systems of the same modes in canonical scale.
    count : int

    Returns
    -------
    tau : float in [-1, 1], 1 when no two of them changed places; None for fewer than two directions
    """
    count = min(count, before.numerical_rank, now.numerical_rank)
    if count < 2:
        return None
    V, W = kept_bases(before, count, now)[0], now.bases(now.numerical_rank)[1]
    likeness = np.abs(W.conj().T @ V)  # (n, count)
    likeness /= np.maximum(np.linalg.norm(likeness, axis=0), TINY)
    places = linear_sum_assignment(-likeness.T)[1]  # (count,)
    tau = float(kendalltau(np.arange(count), places).statistic)
    return tau if np.isfinite(tau) else None


def _summed(final: Balance) -> float:
    total = float(final.hsv.sum())
    if total <= 0.0:
        raise ValueError("all Hankel singular values are 0: there is nothing to regret")
    return total


def _orthonormal(V: ComplexArray) -> ComplexArray:
    scaled = V / np.maximum(np.linalg.norm(V, axis=0), TINY)
    return np.asarray(np.linalg.qr(scaled)[0], dtype=np.complex128)
