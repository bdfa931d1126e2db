"""Balanced truncation of a diagonal system by the square-root method, and back to diagonal form.

    P = L_c L_cᴴ,   Q = L_o L_oᴴ,   L_oᴴ L_c = U Σ Zᴴ
    V = L_c Z_r Σ_r^{-1/2},   W = L_o U_r Σ_r^{-1/2},   Wᴴ V = I
    A_r = Wᴴ diag(λ) V,   B_r = Wᴴ B,   C_r = C V
    A_r = E diag(λ') E⁻¹,   B' = E⁻¹ B_r,   C' = C_r E

Moore 1981; Antoulas 2005, sec. 7.3; the factors by Tombs and Postlethwaite 1987. There is no N×N inverse and
no division by a discarded σ. The map u -> C x is complex; ‖G − G_r‖_H∞ <= 2 Σ_{i>r} σ_i.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hankelboard.trainer.reduction.linear.blas_threads import one_blas_thread
from hankelboard.trainer.reduction.linear.hankel import ComplexArray, DiagonalSystem, factor, gramians
from hankelboard.trainer.reduction.linear.rounding import ErrorBounds, error_bounds
from hankelboard.trainer.reduction.reducible import FloatArray, check_rank

CONDITION_LIMIT = 1e6
"""cond(E) above which a rank is refused: 10 of the 16 digits remain on the way to diagonal form.

The largest seen for LRU layers, random and trained, N up to 256, is below 100."""
NUMERICAL_RANK = 1e-12
"""Share of σ_1 down to which a σ, known to about 1e-16 σ_1, still carries a direction of the state space."""
ALL_RANKS_CHECKED = 128
"""Up to this N every rank is checked; above, the ranks of `checked_ranks`."""


@dataclass(frozen=True, eq=False)
class Balance:
    """A system with what balances it; every rank is truncated from the same factors."""

    system: DiagonalSystem
    L_c: ComplexArray
    """(N, N), P = L_c L_cᴴ."""
    L_o: ComplexArray
    """(N, N), Q = L_o L_oᴴ."""
    U: ComplexArray
    """(N, N) left singular vectors of L_oᴴ L_c."""
    hsv: FloatArray
    """(N,) Hankel singular values, descending."""
    Z: ComplexArray
    """(N, N) right singular vectors of L_oᴴ L_c."""
    order: npt.NDArray[np.intp] | None = None
    """(N,) which balanced states are kept first; None = the strongest. See selection.py."""

    @property
    def numerical_rank(self) -> int:
        """How many σ exceed 1e-12 σ_1; the directions of the others are rounding."""
        return int(np.count_nonzero(self.hsv > NUMERICAL_RANK * self.hsv[0]))

    @cached_property
    def bounds(self) -> ErrorBounds:
        """H∞ errors of keeping the strongest states, with what rounding adds."""
        scales = np.linalg.norm(self.L_c, axis=1), np.linalg.norm(self.L_o, axis=1)
        return error_bounds(self.L_c, self.L_o, self.U, self.Z, self.hsv, scales, self.system.gap)

    def bases(self, rank: int) -> tuple[ComplexArray, ComplexArray]:
        """Return V and W of shape (N, rank) with Wᴴ V = I: those of a lower rank are their first columns."""
        kept = slice(rank) if self.order is None else self.order[:rank]
        root = np.sqrt(self.hsv[kept])  # (r,)
        V: ComplexArray = self.L_c @ (self.Z[:, kept] / root)  # (N, r)
        W: ComplexArray = self.L_o @ (self.U[:, kept] / root)  # (N, r)
        return V, W


@dataclass(frozen=True, eq=False)
class Truncation:
    """A reduced system, modal as it is written back and dense as the theory gives it.

    At rank N nothing is discarded: the system itself, with V_n = W_n = I and a diagonal A_r.
    """

    eigenvalues: ComplexArray
    """(r,) λ'."""
    B: ComplexArray
    """(r, H) B' = W_nᴴ B."""
    C: ComplexArray
    """(M, r) C' = C V_n."""
    A_r: ComplexArray
    """(r, r) in balanced coordinates."""
    B_r: ComplexArray
    """(r, H)."""
    C_r: ComplexArray
    """(M, r)."""
    V_n: ComplexArray
    """(N, r) old state x = V_n x', the scale of the modes included."""
    W_n: ComplexArray
    """(N, r) new state x' = W_nᴴ x, W_nᴴ V_n = I."""
    condition: float
    """cond(E) with unit columns."""
    hsv: FloatArray
    """(N,) Hankel singular values before the cut, descending."""

    @property
    def gap(self) -> float:
        """1 − max |λ'|."""
        return 1.0 - float(np.abs(self.eigenvalues).max())

    @property
    def rank(self) -> int:
        """State dimension after the reduction, r."""
        return len(self.eigenvalues)


@one_blas_thread
def balance(system: DiagonalSystem) -> Balance:
    """Return factors of both Gramians and the singular value decomposition L_oᴴ L_c = U Σ Zᴴ."""
    P, Q = gramians(system)
    L_c, L_o = factor(P), factor(Q)  # (N, N)
    U, hsv, Zh = np.linalg.svd(L_o.conj().T @ L_c)
    return Balance(system, L_c, L_o, U, hsv, Zh.conj().T)


@one_blas_thread
def truncate(balanced: Balance, rank: int) -> Truncation:
    """Keep the `rank` strongest balanced states and return to diagonal form.

    The scale of a mode is free: row k of B' is given the median row norm of B (over its rows that are not
    zero) and C' the inverse factor, because Adam is not scale-invariant. Rank N returns the
    system unchanged: its only modal form up to order and scale, exact even where Gramians are singular.

    Parameters
    ----------
    balanced : Balance
    rank : int
        1 <= rank <= N.

    Returns
    -------
    Truncation

    Raises
    ------
    ValueError
        If the rank is outside 1..N, or cannot be realised: the layer passes nothing on, the rank exceeds the
        numerical rank, cond(E) > 1e6, or an eigenvalue leaves the unit disc. Never another rank instead.
    """
    system = balanced.system
    check_rank(rank, system.state_dim)
    if balanced.hsv[0] == 0.0:
        raise ValueError(
            "all Hankel singular values are 0: the layer passes nothing on, nothing can be truncated"
        )
    if rank == system.state_dim:
        return _unchanged(balanced)
    if rank > balanced.numerical_rank:
        raise ValueError(
            f"rank {rank} cannot be realised: σ_{rank} = {balanced.hsv[rank - 1]:.1e} is rounding beside "
            f"σ_1 = {balanced.hsv[0]:.1e}; the numerical rank is {balanced.numerical_rank}"
        )
    V, W = balanced.bases(rank)
    A_r = W.conj().T @ (system.eigenvalues[:, None] * V)  # (r, r)
    eigenvalues, E, condition = _modes(A_r)
    if reason := _realisation(eigenvalues, E, condition).refused:
        raise ValueError(f"rank {rank} cannot be realised: {reason}")
    B_r, C_r = W.conj().T @ system.B, system.C @ V  # (r, H), (M, r)
    W_n: ComplexArray = np.linalg.solve(E, W.conj().T).conj().T.astype(np.complex128)  # (N, r) = W E^{-H}
    B_modal: ComplexArray = np.linalg.solve(E, B_r).astype(np.complex128)  # (r, H)
    modal = Truncation(
        eigenvalues=eigenvalues,
        B=B_modal,
        C=C_r @ E,
        A_r=A_r,
        B_r=B_r,
        C_r=C_r,
        V_n=V @ E,
        W_n=W_n,
        condition=condition,
        hsv=balanced.hsv,
    )
    return scale_modes(modal, median_row_norm(system.B))


def balanced_truncation(
    eigenvalues: npt.ArrayLike, B: npt.ArrayLike, C: npt.ArrayLike, rank: int, symmetry: str = "complex"
) -> Truncation:
    """Return balanced truncation of a stable diagonal system: `truncate(balance(system), rank)`.

    Parameters
    ----------
    eigenvalues : (N,) complex128
    B : (N, H) complex128
    C : (M, N) complex128
    rank : int
        1 <= rank <= N.
    symmetry : "complex"
        The complex map u -> C x. Truncation of the real realisation is not implemented.

    Returns
    -------
    Truncation

    Raises
    ------
    ValueError
        If the system is invalid or the rank cannot be realised, with the reason.

    >>> balanced_truncation([0.5, 0.1], [[1.0], [0.0]], [[3.0, 2.0]], rank=1).eigenvalues.real
    array([0.5])
    """
    if symmetry != "complex":
        raise ValueError(f"symmetry = {symmetry!r}: only 'complex' is implemented")
    system = DiagonalSystem(*(np.asarray(x, dtype=np.complex128) for x in (eigenvalues, B, C)))
    return truncate(balance(system), rank)


def scale_modes(truncation: Truncation, row_norms: npt.ArrayLike) -> Truncation:
    """Return the same map with ‖row k of B'‖ = row_norms[k]: B' and C', V_n and W_n take inverse factors > 0.

    Parameters
    ----------
    truncation : Truncation
    row_norms : float or (r,) float64, > 0
    """
    scale = np.asarray(row_norms) / np.linalg.norm(truncation.B, axis=1)  # (r,)
    return replace(
        truncation,
        B=truncation.B * scale[:, None],
        C=truncation.C / scale,
        V_n=truncation.V_n / scale,
        W_n=truncation.W_n * scale,
    )


def median_row_norm(B: ComplexArray) -> float:
    """Return median norm of the rows of B that are not zero; 1 when all are.

    >>> median_row_norm(np.array([[3.0, 4.0], [0.0, 0.0]]))
    5.0
    """
    norms = np.linalg.norm(B, axis=1)  # (N,)
    return float(np.median(norms[norms > 0.0])) if norms.any() else 1.0


def checked_ranks(state_dim: int) -> list[int]:
    """Return ranks below N whose realisation is checked for a proposal.

    All of them for N <= 128. Above: 1..64, then multiples of 8 to 128, of 16 to 256 and of 32 beyond.

    >>> checked_ranks(256)[62:70]
    [63, 64, 72, 80, 88, 96, 104, 112]
    """
    if state_dim <= ALL_RANKS_CHECKED:
        return list(range(1, state_dim))
    grid = [*range(1, 64), *range(64, 128, 8), *range(128, 256, 16), *range(256, state_dim, 32)]
    return [rank for rank in grid if rank < state_dim]


@dataclass(frozen=True)
class Realisation:
    """What the way back to diagonal form makes of one rank."""

    condition: float
    """cond(E), at most 1/eps."""
    gap: float
    """1 − max |λ'|."""

    @property
    def refused(self) -> str:
        """Why the rank cannot be written back, or an empty string."""
        if not self.gap > 0.0:
            return f"an eigenvalue has modulus {1.0 - self.gap:.16g} >= 1"
        if not self.condition <= CONDITION_LIMIT:
            return f"cond(E) = {self.condition:.1e} exceeds {CONDITION_LIMIT:.0e}"
        return ""


@one_blas_thread
def realisations(balanced: Balance, ranks: Iterable[int] | None = None) -> dict[int, Realisation]:
    """Return what becomes of `checked_ranks(N)`, or of other ranks, found by doing it.

    Rank N is no change; ranks beyond the numerical rank are left out.
    """
    n, limit = balanced.system.state_dim, balanced.numerical_rank
    V, W = balanced.bases(limit)
    A = W.conj().T @ (balanced.system.eigenvalues[:, None] * V)  # (limit, limit)
    chosen = checked_ranks(n) if ranks is None else ranks
    found = {
        rank: _realisation(*_modes(A[:rank, :rank])) for rank in chosen if 1 <= rank <= min(limit, n - 1)
    }
    return found | {n: Realisation(1.0, balanced.system.gap)} if limit else found


def realisable_ranks(
    balanced: Balance, found: Mapping[int, Realisation]
) -> tuple[list[bool | None], list[float | None]]:
    """Return which ranks can be written back.

    Parameters
    ----------
    balanced : Balance
    found : dict
        Of `realisations`.

    Returns
    -------
    realisable : list of N+1 bool or None
        Index r; None = not checked. [0] is False, [N] is True (no change), ranks beyond the numerical rank
        are False.
    condition : list of N+1 float or None
        cond(E), at most 1/eps; None where it was not computed.
    """
    ranks = range(balanced.system.state_dim + 1)
    realisable = [
        not found[rank].refused if rank in found else False if rank > balanced.numerical_rank else None
        for rank in ranks
    ]
    return [False, *realisable[1:]], [found[rank].condition if rank in found else None for rank in ranks]


def bounds_of_ranks(balanced: Balance, found: Mapping[int, Realisation]) -> list[float]:
    """Return 2 Σ_{i>r} σ_i of every rank r = 0..N with what rounding adds, see rounding.py.

    Where a rank was not checked, its way to diagonal form counts as the next lower one's that was.
    """
    bounds, last = [], Realisation(1.0, balanced.system.gap)
    for rank in range(balanced.system.state_dim + 1):
        last = found.get(rank, last)
        bounds.append(balanced.bounds.interval(rank, last.condition, last.gap)[1])
    return bounds


def _unchanged(balanced: Balance) -> Truncation:
    system, identity = balanced.system, np.eye(balanced.system.state_dim, dtype=np.complex128)
    return Truncation(
        eigenvalues=system.eigenvalues,
        B=system.B,
        C=system.C,
        A_r=np.diag(system.eigenvalues),
        B_r=system.B,
        C_r=system.C,
        V_n=identity,
        W_n=identity,
        condition=1.0,
        hsv=balanced.hsv,
    )


def _modes(A_r: ComplexArray) -> tuple[ComplexArray, ComplexArray, float]:
    """Return eigenvalues, unit eigenvectors E and cond(E), capped at 1/eps so that it can be stored."""
    eigenvalues, E = np.linalg.eig(A_r)
    singular = np.linalg.svd(E, compute_uv=False)  # (r,)
    return eigenvalues, E, float(singular[0] / max(singular[-1], np.finfo(np.float64).eps * singular[0]))


def _realisation(eigenvalues: ComplexArray, _: ComplexArray, condition: float) -> Realisation:
    return Realisation(condition, 1.0 - float(np.abs(eigenvalues).max()))
