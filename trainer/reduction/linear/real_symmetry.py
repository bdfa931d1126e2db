"""Balanced truncation of the real map y = Re(C x): the 2N real states of a diagonal system.

With z = [Re x; Im x] the layer is a real system, whose Gramians follow in closed form from those of the
complex one and from their unconjugated twins,

    P_ij = (B Bᴴ)_ij / (1 − λ_i λ̄_j)      P'_ij = (B Bᵀ)_ij / (1 − λ_i λ_j)
    Q_ij = (Cᴴ C)_ij / (1 − λ̄_i λ_j)      Q'_ij = (Cᵀ C)_ij / (1 − λ_i λ_j)

    P_z = ½ [[Re(P + P'), Im(P' − P)], [Im(P' + P), Re(P − P')]]
    Q_z = ½ [[Re(Q + Q'), −Im(Q + Q')], [−Im(Q' − Q), Re(Q − Q')]]

A real order m has conjugate pairs of eigenvalues, stored as one mode each with twice its output row, and
real ones. A rank counts stored modes: it is cut to the largest order that needs exactly that number.
"""

from dataclasses import dataclass

import numpy as np

from hankelboard.trainer.reduction.linear.hankel import (
    ComplexArray,
    DiagonalSystem,
    factor,
    frequency_response,
    gramians,
)
from hankelboard.trainer.reduction.linear.truncation import CONDITION_LIMIT, NUMERICAL_RANK, Truncation
from hankelboard.trainer.reduction.reducible import FloatArray, check_rank

REALNESS = 1e-12
"""|Im λ| / |λ| below which an eigenvalue of a real matrix counts as real: LAPACK returns those exactly so."""
AGREEMENT = 1e-8
"""Largest relative difference between the stored modes and the dense real system."""


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


def real_gramians(system: DiagonalSystem) -> tuple[FloatArray, FloatArray]:
    """Return Gramians of z = [Re x; Im x], (2N, 2N) each."""
    P, Q = gramians(system)
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
    P, Q = real_gramians(system)
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
    return RealBalance(system, A, B, C, hsv, V, W)


def pair_importances(hsv: FloatArray) -> FloatArray:
    """Return (N,) importance of a stored mode: the two singular values that a pair takes.

    >>> pair_importances(np.array([4.0, 3.0, 2.0, 1.0])).tolist()
    [7.0, 3.0]
    """
    pairs: FloatArray = hsv.reshape(-1, 2).sum(axis=1)
    return pairs


def order_for(balanced: RealBalance, rank: int) -> int:
    """Return the largest real order whose eigenvalues need exactly `rank` stored modes.

    Raises
    ------
    ValueError
        If there is none: the numerical rank is too low, or two real eigenvalues come at once.
    """
    for order in range(min(2 * rank, len(balanced.A)), rank - 1, -1):
        eigenvalues = np.linalg.eigvals(balanced.A[:order, :order]).astype(np.complex128)
        if _stored(eigenvalues).sum() == rank:
            return order
    raise ValueError(f"rank {rank} cannot be realised: no real order has exactly that many stored modes")


def _stored(eigenvalues: ComplexArray) -> np.ndarray:
    """Return which eigenvalues are kept: one of each pair, and the real ones."""
    real = np.abs(eigenvalues.imag) <= REALNESS * np.abs(eigenvalues)
    kept: np.ndarray = real | (eigenvalues.imag > 0.0)
    return kept


def truncate_real(balanced: RealBalance, rank: int) -> Truncation:
    """Return the layer at this many stored modes.

    V_n and W_n of the result are zero: moments are not transported through a real reduction.

    Raises
    ------
    ValueError
        If the rank is outside 1..N or cannot be realised, with the reason.
    """
    system = balanced.system
    check_rank(rank, system.state_dim)
    order = order_for(balanced, rank)
    A, B, C = balanced.A[:order, :order], balanced.B[:order], balanced.C[:, :order]
    eigenvalues, E = np.linalg.eig(A)
    eigenvalues, E = eigenvalues.astype(np.complex128), E.astype(np.complex128)
    condition = float(np.linalg.cond(E))
    if not np.abs(eigenvalues).max() < 1.0 or not condition <= CONDITION_LIMIT:
        raise ValueError(
            f"rank {rank} cannot be realised: cond(E) = {condition:.1e}, "
            f"largest modulus {np.abs(eigenvalues).max():.16g}"
        )
    kept = _stored(eigenvalues)
    twice = np.where(eigenvalues[kept].imag > 0.0, 2.0, 1.0)  # (r,)
    modal_B: ComplexArray = np.linalg.solve(E, B)[kept].astype(np.complex128)  # (r, H)
    modal_C: ComplexArray = (C @ E)[:, kept] * twice  # (M, r)
    result = _modal(eigenvalues[kept], modal_B, modal_C, condition, balanced)
    _check(result, A, B, C)
    return result


def _modal(
    eigenvalues: ComplexArray, B: ComplexArray, C: ComplexArray, condition: float, balanced: RealBalance
) -> Truncation:
    nothing = np.zeros((balanced.system.state_dim, len(eigenvalues)), np.complex128)
    return Truncation(
        eigenvalues=eigenvalues, B=B, C=C, A_r=np.diag(eigenvalues), B_r=B, C_r=C, V_n=nothing, W_n=nothing,
        condition=condition, hsv=pair_importances(balanced.hsv),
    )  # fmt: skip


def _check(result: Truncation, A: FloatArray, B: FloatArray, C: FloatArray) -> None:
    """Raise ValueError unless Re(C' x') is the dense real system, on a few frequencies."""
    omegas = np.linspace(0.0, np.pi, 9)
    stored = DiagonalSystem(result.eigenvalues, result.B, result.C)
    both = frequency_response(stored, np.concatenate([omegas, -omegas]))  # (18, M, H)
    real_map = 0.5 * (both[:9] + both[9:].conj())  # (9, M, H)
    shifted = np.exp(1j * omegas)[:, None, None] * np.eye(len(A)) - A
    dense = C @ np.linalg.solve(shifted, B[None].astype(np.complex128))  # (9, M, H)
    error = float(np.linalg.norm(real_map - dense) / np.linalg.norm(dense))
    if not error <= AGREEMENT:
        raise ValueError(f"rank {result.rank} cannot be realised: its modes differ by {error:.1e}")
