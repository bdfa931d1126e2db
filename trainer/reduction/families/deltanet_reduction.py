"""Cutting gated DeltaNet: an orthonormal basis of the key dimension for each head.

    S[t] = a[t] (I − β[t] k[t] k[t]ᵀ) S[t−1] + β[t] k[t] v[t]ᵀ,   o[t] = S[t]ᵀ q[t]

With U (N, r) of orthonormal columns, k → Uᵀ k and q → Uᵀ q leave a delta rule with ‖Uᵀ k‖ <= ‖k‖ <= 1: its
state stays bounded, and at r = N nothing changes. An oblique basis, k → Wᵀ k to write, Vᵀ k to erase, as
linear attention has it, is no delta rule: unless V Wᵀ is symmetric some key has kᵀ V Wᵀ k < 0, and where
that key is repeated the state grows by 1 + β |kᵀ V Wᵀ k| in every step. So U are the leading eigenvectors of

    G = P / tr P + Q / tr Q,   P = E[S Sᵀ],   Q = E[q qᵀ]

from one pass over training sequences: directions in which states are large and queries read. The eigenvalue
of a direction is its `key_query_energy`, which orders directions and says nothing of an error. What a rank
loses is measured on other sequences, on S[t] and q[t] that met: the error of the projection at a step. What
is projected away is missing from the next erasure too, so the cut layer errs more; how much more on trained
layers is in docs/FAMILIES.md.

Baselines: coordinates by the diagonal of G, and a random orthonormal basis. U is inserted behind the
normalisation of keys and queries (trainer/layers/state_map.py) and is not trained: it would not stay
orthonormal.
"""

from dataclasses import dataclass

import numpy as np

from hankelboard.trainer.reduction.measured.elimination import table_of
from hankelboard.trainer.reduction.measured.samples import Measured, shares_over_parts
from hankelboard.trainer.reduction.method import Method
from hankelboard.trainer.reduction.reducible import Arrays, FloatArray, RankTable, check_rank

EPSILON = 1e-6
"""Added to the squared norm of keys and queries, as in published code."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Statistics(Measured):
    """What a layer measured on calibration sequences, of keys and queries behind its map.

    Samples are q[t] and S[t]_v of each head.
    """

    P: FloatArray
    """(heads, N, N) Σ over steps and value channels of S Sᵀ."""
    Q: FloatArray
    """(heads, N, N) Σ over steps of q qᵀ."""


@dataclass(frozen=True, eq=False)
class DeltaNetSystem:
    """The recurrence of a layer in double precision, with what it measured."""

    parameters: Arrays
    """By the names of the layer's parameters; `map.weight` is (heads, 0, N) before the first cut."""
    statistics: Statistics

    @property
    def state_dim(self) -> int:
        return int(self.statistics.Q.shape[1])


@dataclass(frozen=True, eq=False)
class DeltaNetReduction:
    """The recurrence at one rank."""

    before: Arrays
    basis: FloatArray
    """(heads, N, r) orthonormal columns U."""
    parameters: dict[str, FloatArray]

    @property
    def rank(self) -> int:
        return int(self.basis.shape[2])


def spectrum(system: DeltaNetSystem, method: Method) -> FloatArray:
    """Return shares of tr G, over all heads, in the directions of a method, (N,) descending.

    Raise ValueError if the output is 0 or not finite.
    """
    G, U = energy(system), directions(system, method)  # (heads, N, N) each
    of_each = np.maximum(np.einsum("hni,hnm,hmi->i", U, G, U), 0.0)  # (N,)
    sorted_down: FloatArray = np.sort(of_each / of_each.sum())[::-1]
    return sorted_down


def propose(system: DeltaNetSystem, method: Method) -> RankTable:
    """Return share of the output's energy that the projection of each rank loses at a step, and parameters.

    As if the state before it were whole: what is missing from erasures comes on top. A cut adds its map to
    the parameters: r N for each head.

    Raises
    ------
    ValueError
        If the output is 0 or not finite.
    """
    U = directions(system, method)  # (heads, N, N)
    shares = shares_over_parts(system.statistics.judged_on, [(head, head) for head in U])  # (N+1,)
    heads, rows, columns = system.parameters["map.weight"].shape
    fixed = sum(values.size for name, values in system.parameters.items() if name != "map.weight")
    maps = [heads * columns * rank for rank in range(system.state_dim)] + [heads * columns * rows]
    return table_of(shares, [fixed + size for size in maps])


def energy(system: DeltaNetSystem) -> FloatArray:
    """Return G (heads, N, N), of trace 2; 0 in a head that passes nothing on.

    Raises
    ------
    ValueError
        If P or Q is not finite, or no head passes anything on.
    """
    P, Q = system.statistics.P, system.statistics.Q
    if not (np.isfinite(P).all() and np.isfinite(Q).all()):
        raise ValueError("the output is not finite")
    traces = [np.trace(part, axis1=1, axis2=2)[:, None, None] for part in (P, Q)]  # (heads, 1, 1) each
    alive = (traces[0] > 0.0) & (traces[1] > 0.0)
    if not alive.any():
        raise ValueError("the output is 0: the layer passes nothing on, so no rank can be proposed")
    p, q = (np.where(alive, trace, 1.0) for trace in traces)
    G: FloatArray = np.where(alive, P / p + Q / q, 0.0)
    return G


def directions(system: DeltaNetSystem, method: Method) -> FloatArray:
    """Return an orthogonal matrix per head, (heads, N, N), columns in the order in which they are kept."""
    G = energy(system)
    if method.name == "diagonal":
        order = np.argsort(-np.diagonal(G, axis1=1, axis2=2), axis=1, kind="stable")  # (heads, N)
        coordinates: FloatArray = np.eye(G.shape[1])[order].transpose(0, 2, 1)
        return coordinates
    if method.name == "random":
        drawn = np.random.default_rng((method.seed, G.shape[1])).standard_normal(G.shape)
        return np.linalg.qr(drawn)[0]
    return np.linalg.eigh(G)[1][:, :, ::-1]


def reduce(system: DeltaNetSystem, rank: int, method: Method) -> DeltaNetReduction:
    """Return the layer with keys and queries of `rank` dimensions in every head; unchanged at rank N.

    Raises
    ------
    ValueError
        If the rank is outside 1..N, or the output is 0 or not finite.
    """
    n = system.state_dim
    check_rank(rank, n)
    weight = system.parameters["map.weight"]  # (heads, rows, N0)
    U = directions(system, method)[:, :, :rank]  # (heads, N, r)
    if rank == n:
        U = np.tile(np.eye(n), (len(U), 1, 1))
        return DeltaNetReduction(system.parameters, U, dict(system.parameters))
    inserted = np.ascontiguousarray(U.transpose(0, 2, 1))  # (heads, r, N)
    inserted = inserted if weight.shape[1] == 0 else inserted @ weight  # (heads, r, N0)
    return DeltaNetReduction(system.parameters, U, {**system.parameters, "map.weight": inserted})


def verify(parameters_now: Arrays, reduction: DeltaNetReduction, seed: int = 0) -> float:
    """Return relative error between the layer as written back and the layer before, with Uᵀ behind its map.

    Both are run step by step on 2 random sequences of 24 steps. inf where shapes disagree.
    """
    if parameters_now["map.weight"].shape != reduction.parameters["map.weight"].shape:
        return float("inf")
    width = reduction.before["inner.weight"].shape[1]
    x = np.random.default_rng(seed).standard_normal((2, 24, width))
    intended = simulate(reduction.before, x, reduction.basis)
    error = np.linalg.norm(simulate(parameters_now, x) - intended)
    return float(error / max(np.linalg.norm(intended), np.finfo(np.float64).tiny))


def simulate(parameters: Arrays, x: FloatArray, basis: FloatArray | None = None) -> FloatArray:
    """Return o (batch, L, heads, d_v) of x (batch, L, H), step by step, with Uᵀ of a basis behind the map."""
    q, k, v = _keys_and_values(parameters, x)
    if basis is not None:
        q, k = (np.einsum("blhn,hnr->blhr", part, basis) for part in (q, k))
    beta = 1.0 / (1.0 + np.exp(-x @ parameters["strength.weight"].T))  # (batch, L, heads)
    delta = np.logaddexp(0.0, x @ parameters["decay.weight"].T + parameters["dt_bias"])
    decay = np.exp(-delta * np.exp(parameters["A_log"]))  # (batch, L, heads)
    S = np.zeros((*k[:, 0].shape, v.shape[-1]))  # (batch, heads, N, d_v)
    o: FloatArray = np.empty_like(v)
    for t in range(x.shape[1]):
        S = decay[:, t, :, None, None] * S
        u = beta[:, t, :, None] * (v[:, t] - np.einsum("bhn,bhnv->bhv", k[:, t], S))
        S = S + k[:, t, ..., None] * u[..., None, :]
        o[:, t] = np.einsum("bhn,bhnv->bhv", q[:, t], S)
    return o


def _keys_and_values(parameters: Arrays, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return q and k (batch, L, heads, N), normalised and mapped, and v (batch, L, heads, d_v)."""
    weight = parameters["map.weight"]  # (heads, rows, N0)
    heads, rows, columns = weight.shape
    taps, length = parameters["convolution.weight"], x.shape[1]
    padded = np.pad(x @ parameters["inner.weight"].T, ((0, 0), (taps.shape[1] - 1, 0), (0, 0)))
    mixed = sum(padded[:, tap : tap + length] * taps[:, tap] for tap in range(taps.shape[1]))
    mixed = mixed + parameters["convolution.bias"]  # (batch, L, heads (2 N0 + d_v))
    mixed = mixed / (1.0 + np.exp(-mixed))
    q, k, v = (
        part.reshape(*x.shape[:2], heads, -1)
        for part in np.split(mixed, [heads * columns, 2 * heads * columns], axis=2)
    )
    q, k = (part / np.sqrt((part**2).sum(-1, keepdims=True) + EPSILON) for part in (q, k))
    if rows:
        q, k = (np.einsum("blhn,hrn->blhr", part, weight) for part in (q, k))
    return q, k, v
