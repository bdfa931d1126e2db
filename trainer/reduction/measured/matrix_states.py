"""Cutting the key dimension of matrix-valued states with a scalar decay (linear attention, Mamba-2).

    S[t] = a[t] S[t−1] + k[t] v[t]ᵀ,   o[t] = S[t]ᵀ q[t],   k = K x,   q = R x

An invertible T changes nothing: k → T⁻¹ k, q → Tᵀ q. With Wᵀ V = I, k' = Wᵀ k and q' = Vᵀ q the reduced
state is exactly Wᵀ S[t], at every step; so the error, e[t] = ((I − V Wᵀ) S[t])ᵀ q[t], does not build up. It
is least for

    P = E[S Sᵀ],   Q = E[q qᵀ],   P = L_P L_Pᵀ,   Q = L_Q L_Qᵀ,   L_Qᵀ L_P = U Σ Zᵀ
    V = L_P Z_r Σ_r^{-1/2},   W = L_Q U_r Σ_r^{-1/2},   E‖e‖² = Σ_{i>r} σ_i²

as far as S[t] and q[t] are independent of each other. They are not, wherever a query asks for what was just
written: so P and Q choose the basis, and what a rank loses is measured on S[t] and q[t] that met, on other
sequences (measured/samples.py). Keys and queries that are shared by heads have one P, the sum over these. One
rank holds for all groups of a layer. Selections of coordinates, the baselines, go by P ∘ Q.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hankelboard.trainer.reduction.linear.hankel import factor
from hankelboard.trainer.reduction.linear.truncation import NUMERICAL_RANK
from hankelboard.trainer.reduction.measured.elimination import order_of, selection_basis, table_of
from hankelboard.trainer.reduction.measured.samples import Measured, shares_over_parts
from hankelboard.trainer.reduction.method import Method
from hankelboard.trainer.reduction.moments import squares, variances
from hankelboard.trainer.reduction.reducible import Arrays, FloatArray, RankTable, check_rank

UNUSED = 1e-6
"""Share of ‖w‖ ‖K‖ below which wᵀ K is rounding: no key ever points there, and none is scaled to length."""


@dataclass(frozen=True, eq=False, kw_only=True)
class MatrixStatistics(Measured):
    """What a layer measured on calibration sequences; samples are q[t] and S[t]_v, by group."""

    P: FloatArray
    """(G, N, N) mean of S Sᵀ over steps, summed over the heads of a group."""
    Q: FloatArray
    """(G, N, N) mean of q qᵀ."""


@dataclass(frozen=True, eq=False)
class MatrixSystem:
    """A layer in double precision, with what it measured."""

    keys: FloatArray
    """(G, N, D) K of each group: the last linear map before the states."""
    queries: FloatArray
    """(G, N, D) R of each group."""
    statistics: MatrixStatistics

    @property
    def state_dim(self) -> int:
        return len(self.statistics.P[0])


@dataclass(frozen=True, eq=False)
class MatrixReduction:
    """A layer at one rank."""

    before: MatrixSystem
    V: FloatArray
    """(G, N, r) queries: q' = Vᵀ q."""
    W: FloatArray
    """(G, N, r) keys and states: k' = Wᵀ k, S' = Wᵀ S; Wᵀ V = I."""

    @property
    def rank(self) -> int:
        return len(self.V[0].T)

    @property
    def keys(self) -> FloatArray:
        """(G, r, D) K' = Wᵀ K."""
        return _transposed(self.W) @ self.before.keys

    @property
    def queries(self) -> FloatArray:
        """(G, r, D) R' = Vᵀ R."""
        return _transposed(self.V) @ self.before.queries


def spectrum(system: MatrixSystem) -> FloatArray:
    """Return importances σ_i², summed over groups, (N,) descending.

    Raises
    ------
    ValueError
        If a moment is not finite.
    """
    importances: FloatArray = np.sum([_sigma(P, Q) ** 2 for P, Q in _groups(system)], axis=0)
    return importances


def propose(system: MatrixSystem, method: Method, parameters: Sequence[int]) -> RankTable:
    """Return share of the output's energy that each rank loses, on sequences that no basis was fitted to.

    `condition` is the largest ‖v_i‖ ‖w_i‖ of a kept state, 1 where V Wᵀ is an orthogonal projection. It does
    not depend on the scale of keys and queries.

    Parameters
    ----------
    parameters : (N+1,)
        Numbers in the layer's parameters at each rank, trained or not.

    Raises
    ------
    ValueError
        If a moment is not finite, or the layer passes nothing on.
    """
    bases = _bases(system, method)
    table = table_of(shares_over_parts(system.statistics.judged_on, bases), parameters)
    if method.name != "balanced":
        return table
    condition = np.max([_condition(V, W) for V, W in bases], axis=0)  # (N,)
    return replace(table, condition=[None, *condition.tolist()])


def _bases(system: MatrixSystem, method: Method) -> list[tuple[FloatArray, FloatArray]]:
    """Return V and W (N, N) of each group, with Wᵀ V = I: the first r columns are those of rank r."""
    if method.name == "balanced":
        return [balance(P, Q) for P, Q in _groups(system)]
    return [
        selection_basis(order_of(P * Q, method.name, method.seed + group))
        for group, (P, Q) in enumerate(_groups(system))
    ]


def reduce(system: MatrixSystem, rank: int, method: Method) -> MatrixReduction:
    """Return the layer with keys of dimension `rank`. Rank N is the layer as it is.

    Raises
    ------
    ValueError
        If the rank is outside 1..N, or a moment is not finite.
    """
    n = system.state_dim
    check_rank(rank, n)
    bases = []
    for group, (P, Q) in enumerate(_groups(system)):
        if rank == n or method.name != "balanced":
            kept = np.sort(order_of(P * Q, method.name, method.seed + group)[:rank])
            bases.append((np.eye(n)[:, kept],) * 2)
        else:
            V, W = (basis[:, :rank] for basis in balance(P, Q))
            bases.append(scaled(V, W, system.keys[group]))
    V, W = (np.stack(parts) for parts in zip(*bases, strict=True))
    return MatrixReduction(system, V, W)


def balance(P: FloatArray, Q: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return V and W of rank N, (N, N) each, with Wᵀ V = I: those of a lower rank are their first columns.

    Where σ is rounding, the columns are some that complete the basis.
    """
    L_P, L_Q = factor(P), factor(Q)
    U, sigma, Zt = np.linalg.svd(L_Q.T @ L_P)
    numerical_rank = int(np.count_nonzero(sigma > NUMERICAL_RANK * sigma[0]))
    root = np.sqrt(sigma[:numerical_rank])  # (K,)
    V, W = L_P @ (Zt[:numerical_rank].T / root), L_Q @ (U[:, :numerical_rank] / root)  # (N, K)
    X, Y = _complement(W), _complement(V)  # Wᵀ X = 0, Vᵀ Y = 0
    U, sigma, Zt = np.linalg.svd(Y.T @ X)
    root = np.sqrt(sigma)
    return np.hstack([V, X @ (Zt.T / root)]), np.hstack([W, Y @ (U / root)])


def scaled(V: FloatArray, W: FloatArray, keys: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the same truncation with rows of K' = Wᵀ K as long as the median row of K; R' takes the inverse.

    The scale of each state is free, but Adam depends on it.

    Parameters
    ----------
    V, W : (N, r)
    keys : (N, D)
    """
    target = float(np.median(np.linalg.norm(keys, axis=1)))
    norms = np.linalg.norm(W.T @ keys, axis=1)  # (r,)
    possible = (target > 0.0) & (norms > UNUSED * np.linalg.norm(W, axis=0) * np.linalg.norm(keys))
    scale = np.where(possible, target, 1.0) / np.where(possible, norms, 1.0)
    return V / scale, W * scale


def transport_moments(
    reduction: MatrixReduction, first: Arrays, second: Arrays, *, keys: str, queries: str
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Return Adam's moments of the two maps, named `keys` and `queries`; the others stay.

        ∂K' = Vᵀ ∂K,   ∂R' = Wᵀ ∂R      exactly, but for the error that the cut makes in the output

    since the gradient of k[t] is a sum of queries, and that of q[t] a sum of states. Second moments go as in
    moments.py.
    """
    average, varied = dict(first), variances(first, second)
    bases = {keys: reduction.V, queries: reduction.W}
    for name, basis in bases.items():
        if name in first:
            average[name] = _transposed(basis) @ first[name]  # (G, r, D)
        if name in second:
            varied[name] = _transposed(basis**2) @ varied[name]
    moved = {name: varied[name] for name in bases if name in second}
    return average, dict(second) | squares(average, moved)


def verify(keys_now: FloatArray, queries_now: FloatArray, reduction: MatrixReduction) -> float:
    """Return the relative error of Kᵀ R, through which alone the maps act, from what was intended.

    That is Kᵀ W Vᵀ R of the maps before. inf where shapes disagree.
    """
    system = reduction.before
    if keys_now.shape != (*reduction.V.shape[::2], system.keys.shape[2]):
        return float("inf")
    projected = (reduction.W @ _transposed(reduction.V)) @ system.queries  # (G, N, D)
    intended = _transposed(system.keys) @ projected  # (G, D, D)
    error = np.linalg.norm(_transposed(keys_now) @ queries_now - intended)
    return float(error / max(np.linalg.norm(intended), np.finfo(np.float64).tiny))


def _transposed(matrices: FloatArray) -> FloatArray:
    return matrices.transpose(0, 2, 1)


def _groups(system: MatrixSystem) -> list[tuple[FloatArray, FloatArray]]:
    """Return P and Q of each group."""
    P, Q = system.statistics.P, system.statistics.Q
    if not (np.isfinite(P).all() and np.isfinite(Q).all()):
        raise ValueError("the states or the queries of the layer are not finite")
    return list(zip(P, Q, strict=True))


def _sigma(P: FloatArray, Q: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.svd(factor(Q).T @ factor(P), compute_uv=False), dtype=np.float64)


def _condition(V: FloatArray, W: FloatArray) -> FloatArray:
    """Return largest ‖v_i‖ ‖w_i‖ of the first r states, (N,) for r = 1..N."""
    products = np.linalg.norm(V, axis=0) * np.linalg.norm(W, axis=0)  # (N,)
    largest: FloatArray = np.maximum.accumulate(products)
    return largest


def _complement(basis: FloatArray) -> FloatArray:
    """Return (N, N − m) orthonormal, at right angles to the m columns."""
    n, m = basis.shape
    if m == 0:
        return np.eye(n)
    return np.asarray(np.linalg.qr(basis / np.linalg.norm(basis, axis=0), mode="complete")[0][:, m:])
