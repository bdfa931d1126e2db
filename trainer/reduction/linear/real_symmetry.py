"""Balanced truncation of the real map y = Re(C x): the 2N real states of a diagonal system.

With z = [Re x; Im x] the layer is a real system, whose Gramians follow in closed form from those of the
complex one and from their unconjugated twins,

    P_ij = (B Bᴴ)_ij / (1 − λ_i λ̄_j)      P'_ij = (B Bᵀ)_ij / (1 − λ_i λ_j)
    Q_ij = (Cᴴ C)_ij / (1 − λ̄_i λ_j)      Q'_ij = (Cᵀ C)_ij / (1 − λ_i λ_j)

    P_z = ½ [[Re(P + P'), Im(P' − P)], [Im(P' + P), Re(P − P')]]
    Q_z = ½ [[Re(Q + Q'), −Im(Q + Q')], [−Im(Q' − Q), Re(Q − Q')]]

A real order m has conjugate pairs of eigenvalues and real ones: conjugate_pairs.py stores them as modes.
"""

from dataclasses import dataclass

import numpy as np

from hankelboard.trainer.reduction.linear.hankel import ComplexArray, DiagonalSystem, factor, gramians
from hankelboard.trainer.reduction.linear.rounding import ErrorBounds, error_bounds
from hankelboard.trainer.reduction.linear.truncation import NUMERICAL_RANK
from hankelboard.trainer.reduction.reducible import FloatArray


@dataclass(frozen=True, eq=False)
class RealBalance:
    """The real realisation of a system with what balances it."""

    system: DiagonalSystem
    A: FloatArray
    """(K, K) balanced state matrix of the K states above the numerical rank: its corners are truncations."""
    B: FloatArray
    """(K, H)."""
    C: FloatArray
    """(M, K)."""
    hsv: FloatArray
    """(2N,) Hankel singular values of the real map, descending."""
    V: FloatArray
    """(2N, K) z = V z' for the balanced state z'."""
    W: FloatArray
    """(2N, K) z' = Wᵀ z, Wᵀ V = I."""
    bounds: ErrorBounds
    """H∞ errors of keeping the strongest states, with what rounding adds."""


def real_gramians(system: DiagonalSystem) -> tuple[FloatArray, FloatArray]:
    """Return Gramians of z = [Re x; Im x], (2N, 2N) each."""
    return _real_gramians(system, *gramians(system))


def _real_gramians(system: DiagonalSystem, P: ComplexArray, Q: ComplexArray) -> tuple[FloatArray, FloatArray]:
    exponent = system.logarithms[:, None] + system.logarithms[None, :]  # (N, N)
    weight = -1.0 / np.expm1(exponent)  # (N, N)
    P2, Q2 = (system.B @ system.B.T) * weight, (system.C.T @ system.C) * weight  # (N, N) each
    P_z = 0.5 * np.block([[(P + P2).real, (P2 - P).imag], [(P2 + P).imag, (P - P2).real]])
    Q_z = 0.5 * np.block([[(Q + Q2).real, -(Q + Q2).imag], [-(Q2 - Q).imag, (Q - Q2).real]])
    return 0.5 * (P_z + P_z.T), 0.5 * (Q_z + Q_z.T)


def balance_real(system: DiagonalSystem) -> RealBalance:
    """Return the real realisation in balanced coordinates.

    Raises
    ------
    ValueError
        If the layer passes nothing on.
    """
    whole = gramians(system)  # of the complex map: what entries of the real ones are rounded to
    scales = [np.tile(np.sqrt(G.diagonal().real), 2) for G in whole]  # (2N,) each
    P, Q = _real_gramians(system, *whole)
    L_c, L_o = (factor(G.astype(np.complex128)).real for G in (P, Q))  # (2N, 2N) each
    U, hsv, Zt = np.linalg.svd(L_o.T @ L_c)
    if hsv[0] == 0.0:
        raise ValueError("all Hankel singular values are 0: the layer passes nothing on")
    numerical_rank = int(np.count_nonzero(hsv > NUMERICAL_RANK * hsv[0]))
    root = np.sqrt(hsv[:numerical_rank])
    V, W = L_c @ (Zt[:numerical_rank].T / root), L_o @ (U[:, :numerical_rank] / root)  # (2N, K) each
    re, im = system.eigenvalues.real[:, None], system.eigenvalues.imag[:, None]
    top, bottom = np.split(V, 2)  # (N, K) each
    A = W.T @ np.concatenate([re * top - im * bottom, im * top + re * bottom])  # (K, K)
    B = W.T @ np.concatenate([system.B.real, system.B.imag])  # (K, H)
    C = np.concatenate([system.C.real, -system.C.imag], axis=1) @ V  # (M, K)
    bounds = error_bounds(L_c, L_o, U, Zt.T, hsv, (scales[0], scales[1]), system.gap)
    return RealBalance(system, A, B, C, hsv, V, W, bounds)


def pair_importances(hsv: FloatArray) -> FloatArray:
    """Return (N,) importance of a stored mode: the two singular values that a pair takes.

    >>> pair_importances(np.array([4.0, 3.0, 2.0, 1.0])).tolist()
    [7.0, 3.0]
    """
    pairs: FloatArray = hsv.reshape(-1, 2).sum(axis=1)
    return pairs
