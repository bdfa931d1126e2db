"""Reduced real systems as stored modes y = 2 Re(C x), one of each conjugate pair, and gradients through that.

A layer of N stored modes (λ, B, C) is a real system of order 2N, with the stacked state [x; x̄]:

    λ₂ = [λ; λ̄],   B₂ = [B; B̄],   C₂ = [C, C̄],   y = C₂ [x; x̄]

Balanced truncation of the real realisation (real_symmetry.py) to an order m leaves c conjugate pairs and k
real poles, m = 2c + k. Each takes one stored mode, a real pole with half of its output column, which 2 Re
doubles. A rank counts stored modes. It is cut to the largest order that fits into it, and modes that are
left over are padding: former modes with C = 0.

Gradients with respect to a complex quantity z are g = dL/dRe z + i dL/dIm z, so dL = Re(ḡ dz).
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from hankelboard.trainer.reduction.linear.blas_threads import one_blas_thread
from hankelboard.trainer.reduction.linear.hankel import ComplexArray, DiagonalSystem, factor
from hankelboard.trainer.reduction.linear.real_symmetry import (
    RealBalance,
    balance_real,
    pair_importances,
    real_gramians,
)
from hankelboard.trainer.reduction.linear.rounding import ErrorBounds
from hankelboard.trainer.reduction.linear.truncation import Realisation
from hankelboard.trainer.reduction.reducible import FloatArray

REALNESS = 1e-12
"""|Im λ| / |λ| below which an eigenvalue of a real matrix counts as real: LAPACK returns those exactly so."""
EIGENVALUE_GAP = 1e-4
"""|λ_j − λ_i| below which off-diagonal gradients are those of states that move alike."""
CHECKED_WORK = 1.5e8
"""Σ over systems of N⁴ up to which every rank is checked: the eigenvalues of all their corners, and the
eigenvectors of those that are kept, take some seconds on one core."""
QUICK_WORK = 2e7
"""The same up to which orders of a layer that is not to be cut are found exactly: about half a second."""
FEW_RANKS = 40
"""Ranks that are checked above that, before those that are the same are dropped."""


Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Corner:
    """The leading corner of a balanced real system that a rank keeps."""

    order: int
    realisation: Realisation


EMPTY = Corner(0, Realisation(1.0, 1.0))
"""What is kept where nothing is passed on, and at rank 0."""


@dataclass(frozen=True, eq=False)
class Modes:
    """A reduced layer of r stored modes, y = 2 Re(C x)."""

    eigenvalues: ComplexArray
    """(r,) λ'."""
    B: ComplexArray
    """(r, H)."""
    C: ComplexArray
    """(M, r), halved for real poles."""
    real: npt.NDArray[np.bool_]
    """(r,) whether a mode is a real pole."""
    padding: npt.NDArray[np.bool_]
    """(r,) whether a mode is a former one with C = 0."""
    V: ComplexArray
    """(2N, r) [x; x̄] = V x' where also the partners of pairs are counted."""
    W: ComplexArray
    """(2N, r) x' = Wᴴ [x; x̄]."""
    A_r: FloatArray
    """(m, m) of the dense real system in balanced coordinates."""
    B_r: FloatArray
    """(m, H)."""
    C_r: FloatArray
    """(M, m)."""
    corner: Corner
    """What is kept."""

    @property
    def order(self) -> int:
        """Order m of the real system."""
        return self.corner.order

    @property
    def condition(self) -> float:
        """cond(E) of the m modes."""
        return self.corner.realisation.condition

    def scaled(self, factors: ComplexArray) -> "Modes":
        """Return the same map with row k of B times factors[k]; real factors for real poles."""
        return replace(
            self,
            B=self.B * factors[:, None],
            C=self.C / factors,
            V=self.V / factors,
            W=self.W * factors.conj(),
        )

    def with_row_norms(self, norms: npt.ArrayLike) -> "Modes":
        """Return the same map with rows of B of these norms, one for all or (r,)."""
        rows = np.maximum(np.linalg.norm(self.B, axis=1), np.finfo(np.float64).tiny)
        return self.scaled((np.asarray(norms) / rows).astype(np.complex128))


def doubled(system: DiagonalSystem) -> DiagonalSystem:
    """Return the real system as a diagonal one of order 2N: λ₂, B₂, C₂."""
    return DiagonalSystem(
        np.concatenate([system.eigenvalues, system.eigenvalues.conj()]),
        np.concatenate([system.B, system.B.conj()]),
        np.concatenate([system.C, system.C.conj()], axis=1),
        np.concatenate([system.logarithms, system.logarithms.conj()]),
    )


@one_blas_thread
def balance_pairs(system: DiagonalSystem) -> RealBalance:
    """Return the real system u -> 2 Re(C x) in balanced coordinates; of order 0 if its output is 0."""
    if not system.C.any() or not system.B.any():
        n, (outputs, _), inputs = system.state_dim, system.C.shape, system.B.shape[1]
        nothing = np.zeros((2 * n, 0))
        zeros = np.zeros(2 * n)
        return RealBalance(
            system, np.zeros((0, 0)), np.zeros((0, inputs)), np.zeros((outputs, 0)), zeros,
            nothing, nothing, ErrorBounds(zeros, zeros, 0.0, system.gap),
        )  # fmt: skip
    return balance_real(_with_doubled_output(system))


def shuffled(balanced: RealBalance, seed: int) -> RealBalance:
    """Return the same balanced states, kept in a random order, two by two: a baseline.

    Every choice of balanced states is stable. `hsv` is in the order in which states are kept.
    """
    order_now = len(balanced.A)
    pairs = np.random.default_rng((seed, order_now)).permutation(order_now // 2)
    both = np.stack([2 * pairs, 2 * pairs + 1], axis=1).ravel()
    order = np.concatenate([both, np.arange(len(both), order_now)])  # (K,)
    rest = np.arange(order_now, len(balanced.hsv))
    return replace(
        balanced,
        A=balanced.A[np.ix_(order, order)],
        B=balanced.B[order],
        C=balanced.C[:, order],
        hsv=balanced.hsv[np.concatenate([order, rest])],
        V=balanced.V[:, order],
        W=balanced.W[:, order],
    )


def importances(balanced: RealBalance) -> FloatArray:
    """Return (N,) of stored modes, descending: the two Hankel singular values that a pair takes."""
    return pair_importances(np.sort(balanced.hsv)[::-1])


def monitoring_importances(system: DiagonalSystem) -> FloatArray:
    """Return `importances` by the cheaper path, for a picture and not for a proposal: σ² = eig(L_cᵀ Q L_c).

    Resolved to about 1e-8 of the largest, in less than half of the time.
    """
    P, Q = real_gramians(_with_doubled_output(system))  # (2N, 2N) each
    L_c = factor(P.astype(np.complex128)).real  # (2N, 2N)
    squares = np.linalg.eigvalsh(L_c.T @ Q @ L_c)  # (2N,) ascending
    return pair_importances(np.sqrt(np.clip(squares[::-1], 0.0, None)))


def _with_doubled_output(system: DiagonalSystem) -> DiagonalSystem:
    """Return what real_symmetry.py sees of y = 2 Re(C x): the output there is Re(C x)."""
    return DiagonalSystem(system.eigenvalues, system.B, 2.0 * system.C, system.log_eigenvalues)


def ranks_to_check(state_dim: int, systems: int = 1) -> set[int]:
    """Return ranks that may be chosen: all, or about 30 in even ratios if that is too much work; N always.

    >>> sorted(ranks_to_check(4))
    [1, 2, 3, 4]
    """
    if systems * state_dim**4 <= CHECKED_WORK:
        return set(range(1, state_dim + 1))
    return {round(rank) for rank in np.geomspace(1, state_dim, FEW_RANKS)}


def realisable_where(checked: Collection[int], state_dim: int) -> list[bool | None]:
    """Return which ranks 0..N can be chosen: those that were checked; rank 0 is none.

    >>> realisable_where({1, 3}, 3)
    [False, True, None, True]
    """
    return [False if rank == 0 else True if rank in checked else None for rank in range(state_dim + 1)]


def corner_for(balanced: RealBalance, rank: int) -> Corner:
    """Return the largest corner that at most `rank` stored modes can hold and that has a diagonal form.

    One that has none (cond(E) > 1e6, as where two real poles meet) gives way to the next lower order.
    """
    for order in range(min(2 * rank, len(balanced.A)), 0, -1):
        A = balanced.A[:order, :order]
        if order <= rank or _kept(np.linalg.eigvals(A)).sum() <= rank:
            realisation = _realisation(A)
            if not realisation.refused:
                return Corner(order, realisation)
    return EMPTY


def order_for(balanced: RealBalance, rank: int) -> int:
    """Return the order of `corner_for`, below which nothing is kept; 0 where nothing is passed on."""
    return corner_for(balanced, rank).order


def _realisation(A: FloatArray) -> Realisation:
    eigenvalues, E = np.linalg.eig(A)
    return Realisation(float(np.linalg.cond(E)), 1.0 - float(np.abs(eigenvalues).max()))


def at_every_rank(
    balances: Sequence[RealBalance],
    checked: Collection[int],
    ask: Callable[[RealBalance, int], Kept],
    none: Kept,
) -> list[list[Kept]]:
    """Return what is kept of each system at each rank 0..N−1: `none` at rank 0.

    Between checked ranks that of the next lower one, which loses no less.
    """
    kept = [[none] * len(balances)]
    for rank in range(1, len(balances[0].hsv) // 2):
        kept.append([ask(balanced, rank) for balanced in balances] if rank in checked else kept[-1])
    return kept


def tails_of_ranks(balances: Sequence[RealBalance], orders: Sequence[Sequence[int]]) -> list[FloatArray]:
    """Return (S,) for each rank 0..N: Σ of each system's singular values beyond the order that is kept."""
    tails = [[each.hsv[order:].sum() for each, order in zip(balances, here, strict=True)] for here in orders]
    return [np.array(here) for here in (*tails, [0.0] * len(balances))]


@one_blas_thread
def consequences(
    balances: Sequence[RealBalance], checked: Collection[int]
) -> tuple[list[float], list[float]]:
    """Return shares of Σσ over all systems that each rank 0..N discards, and bounds on its H∞ error.

    Both are those of the corners that are really kept, the bounds with what rounding adds. Systems do not
    share inputs or outputs, so the largest of their errors is that of all.
    """
    corners = at_every_rank(balances, checked, corner_for, EMPTY)
    tails = tails_of_ranks(balances, [[corner.order for corner in here] for here in corners])
    bounds = [max(interval(*pair)[1] for pair in zip(balances, here, strict=True)) for here in corners]
    return shares_of(tails), [*bounds, 0.0]


@one_blas_thread
def estimated_shares(balances: Sequence[RealBalance], checked: Collection[int]) -> list[float]:
    """Return the shares as in `consequences`, in little time: of large layers as if no pole were real.

    Of many poles few are.
    """
    work = sum((len(balanced.hsv) // 2) ** 4 for balanced in balances)
    order_of = order_for if work <= QUICK_WORK else lambda balanced, rank: 2 * rank
    return shares_of(tails_of_ranks(balances, at_every_rank(balances, checked, order_of, 0)))


def interval(balanced: RealBalance, corner: Corner) -> tuple[float, float]:
    """Return least and largest ‖G − G_r‖_H∞ of a corner, see rounding.py."""
    return balanced.bounds.interval(corner.order, corner.realisation.condition, corner.realisation.gap)


def shares_of(tails: Sequence[FloatArray]) -> list[float]:
    """Return share of Σσ over all systems that each rank discards."""
    return [float(tail.sum() / tails[0].sum()) for tail in tails]


def _real(eigenvalues: npt.NDArray[np.inexact]) -> npt.NDArray[np.bool_]:
    small: npt.NDArray[np.bool_] = np.abs(eigenvalues.imag) <= REALNESS * np.abs(eigenvalues)
    return small


def _kept(eigenvalues: npt.NDArray[np.inexact]) -> npt.NDArray[np.bool_]:
    """Return which eigenvalues are stored: one of each pair, and the real ones."""
    kept: npt.NDArray[np.bool_] = _real(eigenvalues) | (eigenvalues.imag > 0.0)
    return kept


@one_blas_thread
def truncate_pairs(balanced: RealBalance, rank: int, system: DiagonalSystem) -> Modes:
    """Return the layer with `rank` stored modes, padding included.

    Of the order of `corner_for`: the rank stays.

    Parameters
    ----------
    balanced : RealBalance
    rank : int
        1 <= rank < N.
    system : DiagonalSystem
        The layer before, of whose modes padding is taken.
    """
    return _padded(_modes(balanced, corner_for(balanced, rank)), rank, system)


def _modes(balanced: RealBalance, corner: Corner) -> Modes:
    """Return the modal form A_r = E diag(λ') E⁻¹ of a corner, B' = E⁻¹ B_r, C' = C_r E, without partners."""
    order = corner.order
    A, B, C = balanced.A[:order, :order], balanced.B[:order], balanced.C[:, :order]
    eigenvalues, E = (np.asarray(part, dtype=np.complex128) for part in np.linalg.eig(A))
    inverse = np.linalg.inv(E)  # (m, m)
    kept = _kept(eigenvalues)
    real = _real(eigenvalues[kept])
    return Modes(
        eigenvalues=np.where(real, eigenvalues[kept].real, eigenvalues[kept]).astype(np.complex128),
        B=inverse[kept] @ B,
        C=(C @ E)[:, kept] * np.where(real, 0.5, 1.0),
        real=real,
        padding=np.zeros(len(real), dtype=np.bool_),
        V=_stacked(balanced.V[:, :order] @ E[:, kept]),
        W=0.5 * _stacked(balanced.W[:, :order] @ inverse.conj().T[:, kept]),
        A_r=A,
        B_r=B,
        C_r=C,
        corner=corner,
    )


def dense_response(modes: Modes, omegas: FloatArray) -> ComplexArray:
    """Return response of the dense real system, (F, M, H)."""
    shifted = np.exp(1j * omegas)[:, None, None] * np.eye(modes.order) - modes.A_r  # (F, m, m)
    driven = np.linalg.solve(shifted, modes.B_r[None].astype(np.complex128))  # (F, m, H)
    return np.asarray(modes.C_r @ driven, dtype=np.complex128)


def _stacked(columns: ComplexArray) -> ComplexArray:
    """Map coordinates [Re x; Im x] to [x; x̄], (2N, r)."""
    top, bottom = np.split(columns, 2)  # (N, r) each
    return np.concatenate([top + 1j * bottom, top - 1j * bottom])


def _padded(modes: Modes, rank: int, system: DiagonalSystem) -> Modes:
    """Return modes up to the rank: the former modes with the largest gain, with C = 0."""
    missing = rank - len(modes.eigenvalues)
    gains = np.linalg.norm(system.C, axis=0) * np.linalg.norm(system.B, axis=1)  # (N,)
    chosen = np.argsort(gains / np.expm1(system.logarithms.real), kind="stable")[:missing]  # expm1 < 0
    columns = np.eye(2 * system.state_dim, dtype=np.complex128)[:, chosen]  # (2N, missing)
    return replace(
        modes,
        eigenvalues=np.concatenate([modes.eigenvalues, system.eigenvalues[chosen]]),
        B=np.concatenate([modes.B, system.B[chosen]]),
        C=np.concatenate([modes.C, np.zeros((len(modes.C), missing))], axis=1),
        real=np.concatenate([modes.real, np.zeros(missing, dtype=np.bool_)]),
        padding=np.concatenate([modes.padding, np.ones(missing, dtype=np.bool_)]),
        V=np.concatenate([modes.V, columns], axis=1),
        W=np.concatenate([modes.W, columns], axis=1),
    )


@dataclass(frozen=True, eq=False)
class Gradients:
    """Average gradients of a layer's λ (N,), B (N, H) and C (M, N); or average squares, of the real parts of
    the gradients as real parts and of the imaginary ones as imaginary parts."""

    eigenvalues: ComplexArray
    B: ComplexArray
    C: ComplexArray


def transport_first(system: DiagonalSystem, given: Gradients, modes: Modes) -> Gradients:
    """Return average gradients in the coordinates of the reduced layer: exact up to the discarded states.

        G_B' = Vᴴ G_B,   G_C' = G_C W,   g_λ' = diag(Vᴴ G_A W)

    of the stacked system, in which a stored mode has half of its gradient, its partner the conjugate half.
    For λ and B of a padding mode it is 0 as long as C is; for its C that of the former mode.
    """
    half = Gradients(*(0.5 * part for part in (given.eigenvalues, given.B, given.C)))
    G_B = np.concatenate([half.B, half.B.conj()])  # (2N, H)
    G_C = np.concatenate([half.C, half.C.conj()], axis=1)  # (M, 2N)
    G_A = _state_matrix_gradient(doubled(system), half.eigenvalues, G_B, G_C)  # (2N, 2N)
    per_pole, per_residue = _multiplicity(modes)
    used = ~modes.padding
    eigenvalues = (modes.V.conj() * (G_A @ modes.W)).sum(axis=0) * per_pole * used  # (r,)
    B = (modes.V.conj().T @ G_B) * (per_pole * used)[:, None]  # (r, H)
    C = G_C @ modes.W * per_residue  # (M, r)
    return Gradients(
        np.where(modes.real, eigenvalues.real, eigenvalues),
        np.where(modes.real[:, None], B.real, B),
        np.where(modes.real, C.real, C),
    )


def transport_second(given: Gradients, modes: Modes) -> Gradients:
    """Return average squares by the squared weights of the first moments' rule, for λ' over g_λ,i alone.

    For independent real and imaginary parts; nothing is negative.
    """
    per_pole, per_residue = _multiplicity(modes)
    poles = (modes.V.conj() * modes.W).T * (0.5 * per_pole[:, None])  # (r, 2N)
    inputs = modes.V.conj().T * (0.5 * per_pole[:, None])  # (r, 2N)
    outputs = modes.W.T * (0.5 * per_residue[:, None])  # (r, 2N)
    return Gradients(
        _squared(poles, given.eigenvalues), _squared(inputs, given.B), _squared(outputs, given.C.T).T
    )


def _multiplicity(modes: Modes) -> tuple[FloatArray, FloatArray]:
    """Return how often a stored mode's λ and B, and its C, count in the real system (real poles: C half)."""
    return np.where(modes.real, 1.0, 2.0), np.full(len(modes.real), 2.0)


def _squared(weights: ComplexArray, squares: ComplexArray) -> ComplexArray:
    """Return variances of Σ_i w_i g_i + w_{i+N} ḡ_i from those of g, real and imaginary parts apart."""
    w, partner = np.split(weights, 2, axis=1)  # (r, N) each
    real = (w + partner).real ** 2 @ squares.real + (w - partner).imag ** 2 @ squares.imag
    imaginary = (w + partner).imag ** 2 @ squares.real + (w - partner).real ** 2 @ squares.imag
    return np.asarray(real + 1j * imaginary, dtype=np.complex128)


def _state_matrix_gradient(
    system: DiagonalSystem, g_eigenvalues: ComplexArray, G_B: ComplexArray, G_C: ComplexArray
) -> ComplexArray:
    """Return gradient G_A of the dense A at diag(λ₂), (2N, 2N), of a loss that no change of basis alters.

        (G_A)_ij (λ̄_j − λ̄_i) = (Cᴴ G_C − G_B Bᴴ)_ij

    Where eigenvalues nearly meet, states move alike, x_j = x_i (B_j B_iᴴ)/‖B_i‖², and (G_A)_ij is (G_A)_ii
    times the conjugate of that factor, as for λ and λ̄ of a real pole.
    """
    diagonal = np.concatenate([g_eigenvalues, g_eigenvalues.conj()])  # (2N,)
    residual = system.C.conj().T @ G_C - G_B @ system.B.conj().T  # (2N, 2N)
    gap = system.eigenvalues[None, :] - system.eigenvalues[:, None]  # (2N, 2N) λ_j − λ_i
    inner = system.B @ system.B.conj().T  # (2N, 2N) B_i B_jᴴ
    alike = inner / np.maximum(inner.diagonal().real, np.finfo(np.float64).tiny)[:, None]
    G_A: ComplexArray = residual * gap + EIGENVALUE_GAP**2 * diagonal[:, None] * alike
    G_A /= np.abs(gap) ** 2 + EIGENVALUE_GAP**2
    np.fill_diagonal(G_A, diagonal)
    return G_A
