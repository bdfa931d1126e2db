"""Cutting gated linear attention: one index set per head, by measured output energy.

    S[t]_iv = α[t]_i S[t−1]_iv + k[t]_i v[t]_v,   o[t]_v = Σ_i q[t]_i S[t]_iv,   q[t] = W_q x[t]

Each key channel i has a decay of its own, so no change of basis keeps the recurrence; but rows of S do not
act on each other, and a removed one leaves the others as they are. From one pass over training sequences, in
every head:

    M_ij = Σ_{t,v} (q_i S_iv)(q_j S_jv)     the error of every deletion (measured/elimination.py)
    P_ij = Σ_{t,v} S_iv S_jv                S_J ≈ K S_I, folded exactly: W_q[I] += Kᵀ W_q[J]

With compensation, the default, order and error of every rank include it (measured/compensation.py). What a
rank loses is measured on sequences that neither was fitted to (measured/samples.py).
All heads of a layer keep the same number of key channels, each its own. Baselines: the diagonal of M, random.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hankelboard.trainer.reduction.measured.compensation import eliminate_compensated, regression_basis
from hankelboard.trainer.reduction.measured.elimination import (
    Order,
    order_of,
    regression,
    selection_basis,
    table_of,
)
from hankelboard.trainer.reduction.measured.samples import Measured, shares_over_parts
from hankelboard.trainer.reduction.method import Method
from hankelboard.trainer.reduction.moments import squares, variances
from hankelboard.trainer.reduction.reducible import Arrays, FloatArray, RankTable, check_rank

CUT = ("W_q", "W_k", "W_up", "gate_bias")
"""Parameters whose axis 1 counts key channels; the others do not change by a cut."""
Indices = npt.NDArray[np.intp]
SHARPNESS = 16.0
"""τ in α = sigmoid(gate)^(1/τ), as published: decays begin near 1."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Statistics(Measured):
    """What a layer measured on calibration sequences; samples are q[t] and S[t]_v of each head."""

    M: FloatArray
    """(heads, N, N) Σ over steps and value channels of q_i S_iv q_j S_jv."""
    P: FloatArray
    """(heads, N, N) Σ over steps and value channels of S_iv S_jv."""
    choices: dict[Method, tuple[Indices, FloatArray]] = field(default_factory=dict, repr=False, init=False)
    """Result of `choice`."""


@dataclass(frozen=True, eq=False)
class GlaSystem:
    """The recurrence of a layer in double precision, with what it measured."""

    parameters: Arrays
    """W_q and W_k (heads, N, H), W_v (heads, d_v, H), W_down (R, H), W_up (heads, N, R),
    gate_bias (heads, N)."""
    statistics: Statistics

    @property
    def state_dim(self) -> int:
        return int(self.parameters["W_q"].shape[1])


@dataclass(frozen=True, eq=False)
class GlaReduction:
    """The recurrence at one rank."""

    before: Arrays
    kept: Indices
    """(heads, r) key channels that stay, ascending."""
    mixing: FloatArray
    """(heads, N, r) q' = mixingᵀ q: a selection, with Kᵀ of the removed channels added."""
    parameters: dict[str, FloatArray]

    @property
    def rank(self) -> int:
        return int(self.kept.shape[1])


def propose(system: GlaSystem, method: Method) -> RankTable:
    """Return share of the output's energy, over all heads, that each rank loses, and what it would save.

    Raises
    ------
    ValueError
        If the output is 0 or not finite.
    """
    _, shares = choice(system.statistics, method)
    per_channel = sum(values[:, 0].size for name, values in system.parameters.items() if name in CUT)
    fixed = sum(values.size for name, values in system.parameters.items() if name not in CUT)
    return table_of(shares, [rank * per_channel + fixed for rank in range(system.state_dim + 1)])


def choice(statistics: Statistics, method: Method) -> tuple[Indices, FloatArray]:
    """Return the order in which key channels are kept, (heads, N), and the share each rank loses, (N+1,).

    Shares are of the output's energy over all heads: outputs of heads are apart, so errors add up.

    Raises
    ------
    ValueError
        If the output is 0 or not finite.
    """
    if method not in statistics.choices:
        statistics.choices[method] = _choice(statistics, method)
    return statistics.choices[method]


def _choice(statistics: Statistics, method: Method) -> tuple[Indices, FloatArray]:
    if not np.isfinite(statistics.M).all():
        raise ValueError("the output is not finite")
    orders = [_order(statistics, head, method) for head in range(len(statistics.M))]
    if method.compensation:
        bases = [regression_basis(P, order) for P, order in zip(statistics.P, orders, strict=True)]
    else:
        bases = [selection_basis(order) for order in orders]
    return np.stack(orders), shares_over_parts(statistics.judged_on, bases)


def _order(statistics: Statistics, head: int, method: Method) -> Order:
    if method.compensation and method.name == "energy":
        return eliminate_compensated(statistics.P[head], statistics.samples[head].reads)
    return order_of(statistics.M[head], method.name, method.seed + head)


def reduce(system: GlaSystem, rank: int, method: Method) -> GlaReduction:
    """Return the layer with `rank` key channels in every head. Rank N is the layer as it is.

    Raises
    ------
    ValueError
        If the rank is outside 1..N, or the output is not finite.
    """
    n = system.state_dim
    check_rank(rank, n)
    in_order, _ = choice(system.statistics, method)
    kept = np.sort(in_order[:, :rank], axis=1)  # (heads, r)
    mixing = np.stack([np.eye(n)[:, head] for head in kept])  # (heads, N, r)
    if method.compensation and rank < n:
        for head, removed in enumerate(np.sort(in_order[:, rank:], axis=1)):
            mixing[head, removed] = regression(system.statistics.P[head], kept[head], removed)
    parameters = _kept(kept, system.parameters)
    parameters["W_q"] = mixing.transpose(0, 2, 1) @ system.parameters["W_q"]  # (heads, r, H)
    return GlaReduction(system.parameters, kept, mixing, parameters)


def transport_moments(
    reduction: GlaReduction, first: Arrays, second: Arrays
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Return Adam's moments of the kept key channels.

    For W_q that is exact while the loss's derivative by o is: its gradient is Σ_t (S Do) xᵀ, and the rows of
    S that stay do not change, compensation or not. A kept key is now also read in the place of those that
    are gone, so the gradient of W_k is mixingᵀ of the old one, up to the differences of decays (cosine with
    the true one .95 after a cut to a half, .89 without). That of the gate is taken as it is (.81 to .84).
    What varies of W_k about its average goes by the squared weights (moments.py).
    """
    average, square = _kept(reduction.kept, first), _kept(reduction.kept, second)
    if "W_k" in first:
        average["W_k"] = reduction.mixing.transpose(0, 2, 1) @ first["W_k"]  # (heads, r, H)
    if "W_k" in second:
        varied = (reduction.mixing**2).transpose(0, 2, 1) @ variances(first, second)["W_k"]  # (heads, r, H)
        square |= squares(average, {"W_k": varied})
    return average, square


def _kept(kept: Indices, arrays: Arrays) -> dict[str, FloatArray]:
    heads = np.arange(len(kept))[:, None]
    return {name: values[heads, kept] if name in CUT else values for name, values in arrays.items()}


def verify(parameters_now: Arrays, reduction: GlaReduction, seed: int = 0) -> float:
    """Return relative error between the layer as written back and the layer before, read through `mixing`.

    Both are run step by step on 2 random sequences of 24 steps. inf where shapes disagree.
    """
    if parameters_now["W_q"].shape != reduction.parameters["W_q"].shape:
        return float("inf")
    width = reduction.before["W_q"].shape[2]
    x = np.random.default_rng(seed).standard_normal((2, 24, width))
    intended = simulate(reduction.before, x, reduction)
    error = np.linalg.norm(simulate(parameters_now, x) - intended)
    return float(error / max(np.linalg.norm(intended), np.finfo(np.float64).tiny))


def simulate(parameters: Arrays, x: FloatArray, reduction: GlaReduction | None = None) -> FloatArray:
    """Return o (batch, L, heads, d_v) of sequences x (batch, L, H), one step after the other.

    With a reduction all N rows of S run, and those that it keeps are read by mixingᵀ q.
    """
    q, k, v = (np.einsum("blx,hnx->blhn", x, parameters[name]) for name in ("W_q", "W_k", "W_v"))
    low = x @ parameters["W_down"].T  # (batch, L, R)
    gate = np.einsum("blr,hnr->blhn", low, parameters["W_up"]) + parameters["gate_bias"]
    decay = np.exp(-np.logaddexp(0.0, -gate) / SHARPNESS)  # (batch, L, heads, N)
    if reduction is not None:
        q = np.einsum("blhn,hnr->blhr", q, reduction.mixing)
    S = np.zeros((*k[:, 0].shape, v.shape[-1]))  # (batch, heads, N, d_v)
    o: FloatArray = np.empty_like(v)
    for t in range(x.shape[1]):
        S = decay[:, t, ..., None] * S + k[:, t, ..., None] * v[:, t, :, None]
        seen = S if reduction is None else S[:, np.arange(S.shape[1])[:, None], reduction.kept]
        o[:, t] = np.einsum("bhr,bhrv->bhv", q[:, t], seen)
    return o
