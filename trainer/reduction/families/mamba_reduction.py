"""Cutting a selective layer (Mamba-1): one index set shared by all channels, by measured output energy.

    h[t]_dn = a[t]_dn h[t−1]_dn + b[t]_dn,   y[t]_d = Σ_n C[t]_n h[t]_dn,   C[t] = W_C x[t]

States do not act on each other, so a removed state leaves the others as they are; B and C are shared by all
channels, so a state can go only in all channels at once. From one pass over training sequences:

    M_ij = Σ_{t,d} C_i h_di C_j h_dj     the error of every deletion (measured/elimination.py)
    P_ij = Σ_{t,d} h_di h_dj             h_J ≈ K h_I, folded exactly: W_C[I] += Kᵀ W_C[J]

With compensation, the default, order and error of every rank include it (measured/compensation.py):
neighbouring states of a Mamba layer are nearly multiples of each other; deletion alone overstates the loss.
What a rank loses is measured on sequences that neither was fitted to (measured/samples.py).
Baselines: the diagonal of M, random, and `mean_lti`, the surrogate of the CompreSSM paper: a, Δ B and C
averaged over inputs make each channel a linear time-invariant system whose states are ranked by √(P_nn Q_nn).
"""

from dataclasses import dataclass, field

import numpy as np

from hankelboard.trainer.reduction.linear.hankel import factor
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
from hankelboard.trainer.reduction.reducible import Arrays, FloatArray, RankTable, check_rank

STATE_AXIS = {"A_log": 1, "W_B": 0, "W_C": 0}
"""Which axis of each parameter counts states; the others do not change by a cut."""
STABLE = 1.0 - 1e-9
"""Largest E[a²] in a Gramian: a state that never forgets has none that is finite."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Statistics(Measured):
    """What a layer measured on calibration sequences; samples, of one part, are C and h."""

    M: FloatArray
    """(N, N) Σ over steps and channels of C_i h_di C_j h_dj."""
    P: FloatArray
    """(N, N) Σ over steps and channels of h_di h_dj."""
    decay: FloatArray
    """(D, N) mean of a."""
    drive: FloatArray
    """(D, N) mean of Δ_d B_n."""
    read: FloatArray
    """(N,) mean of C."""
    hsv: FloatArray
    """(N,) `second_moment_hsv` of the layer."""
    choices: dict[Method, tuple[Order, FloatArray]] = field(default_factory=dict, repr=False, init=False)
    """Result of `choice`."""


@dataclass(frozen=True, eq=False)
class SelectiveSystem:
    """A selective layer in double precision, with what it measured."""

    parameters: Arrays
    """A_log (D, N), W_B and W_C (N, D), W_down (R, D), W_up (D, R), dt_bias (D,)."""
    statistics: Statistics

    @property
    def state_dim(self) -> int:
        return len(self.parameters["W_B"])


@dataclass(frozen=True, eq=False)
class SelectiveReduction:
    """A selective layer at one rank."""

    before: Arrays
    kept: Order
    """(r,) indices of the states that stay, ascending."""
    mixing: FloatArray
    """(N, r) C'[t] = mixingᵀ C[t]: a selection, with Kᵀ of the removed states added."""
    parameters: dict[str, FloatArray]

    @property
    def rank(self) -> int:
        return len(self.kept)


def spectrum(system: SelectiveSystem) -> FloatArray:
    """Return Hankel singular values from second-moment Gramians, (N,) descending: for a picture only.

    Raises
    ------
    ValueError
        If the layer holds a value that is not finite.
    """
    if not np.isfinite(system.statistics.hsv).all():
        raise ValueError("a parameter or input of the layer is not finite")
    return system.statistics.hsv


def propose(system: SelectiveSystem, method: Method) -> RankTable:
    """Return the share of the output's energy that each rank loses on calibration sequences, and parameters.

    Raises
    ------
    ValueError
        If the output is 0 or not finite.
    """
    n, channels = system.state_dim, system.parameters["A_log"].shape[0]
    fixed = sum(values.size for name, values in system.parameters.items() if name not in STATE_AXIS)
    _, shares = choice(system.statistics, method)
    return table_of(shares, [rank * 3 * channels + fixed for rank in range(n + 1)])


def choice(statistics: Statistics, method: Method) -> tuple[Order, FloatArray]:
    """Return the order in which a method keeps states, (N,), and the share that each rank loses, (N+1,).

    Raises
    ------
    ValueError
        If the output is 0 or not finite.
    """
    if method not in statistics.choices:
        statistics.choices[method] = _choice(statistics, method)
    return statistics.choices[method]


def _choice(statistics: Statistics, method: Method) -> tuple[Order, FloatArray]:
    if not np.isfinite(statistics.M).all():
        raise ValueError("the output is not finite")
    order = _order(statistics, method)
    basis = regression_basis(statistics.P, order) if method.compensation else selection_basis(order)
    return order, shares_over_parts(statistics.judged_on, [basis])


def _order(statistics: Statistics, method: Method) -> Order:
    if method.compensation and method.name == "energy":
        return eliminate_compensated(statistics.P, statistics.samples[0].reads)
    if method.name == "mean_lti":
        return np.argsort(-mean_lti_scores(statistics), kind="stable")
    return order_of(statistics.M, method.name, method.seed)


def mean_lti_scores(statistics: Statistics) -> FloatArray:
    """Return Σ over channels of √(P_nn Q_nn) of the averaged systems, (N,)."""
    forgotten = 1.0 - np.minimum(statistics.decay**2, STABLE)  # (D, N)
    scores: FloatArray = (np.abs(statistics.drive) * np.abs(statistics.read) / forgotten).sum(axis=0)
    return scores


def reduce(system: SelectiveSystem, rank: int, method: Method) -> SelectiveReduction:
    """Return the layer with `rank` states. Rank N is the layer as it is.

    Raises
    ------
    ValueError
        If the rank is outside 1..N, or the output is not finite.
    """
    n = system.state_dim
    check_rank(rank, n)
    in_order, _ = choice(system.statistics, method)
    kept, removed = np.sort(in_order[:rank]), np.sort(in_order[rank:])
    mixing = np.eye(n)[:, kept]  # (N, r)
    if method.compensation and len(removed):
        mixing[removed] = regression(system.statistics.P, kept, removed)
    parameters = {
        name: np.take(values, kept, axis=STATE_AXIS[name]) if name in STATE_AXIS else values
        for name, values in system.parameters.items()
    }
    parameters["W_C"] = mixing.T @ system.parameters["W_C"]  # (r, D)
    return SelectiveReduction(system.parameters, kept, mixing, parameters)


def transport_moments(
    reduction: SelectiveReduction, first: Arrays, second: Arrays
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Return Adam's moments of the kept states.

    For W_C that is exact, compensation or not: its gradient is Σ_t ∂y ∘ h xᵀ, and the states that stay do not
    change. Gradients of A and W_B also depend on what reads a state, which compensation changes a little.
    """
    return _kept(reduction, first), _kept(reduction, second)


def _kept(reduction: SelectiveReduction, moments: Arrays) -> dict[str, FloatArray]:
    return {
        name: np.take(values, reduction.kept, axis=STATE_AXIS[name]) if name in STATE_AXIS else values
        for name, values in moments.items()
    }


def verify(parameters_now: Arrays, reduction: SelectiveReduction, seed: int = 0) -> float:
    """Return relative error between the layer as written back and the layer before, read through `mixing`.

    Both are run step by step on 2 random sequences of 24 steps. inf where shapes disagree.
    """
    if parameters_now["W_C"].shape != reduction.parameters["W_C"].shape:
        return float("inf")
    channels = len(reduction.before["dt_bias"])
    x = np.random.default_rng(seed).standard_normal((2, 24, channels))
    intended = simulate(reduction.before, x, reduction.mixing, reduction.kept)
    error = np.linalg.norm(simulate(parameters_now, x) - intended)
    return float(error / max(np.linalg.norm(intended), np.finfo(np.float64).tiny))


def simulate(
    parameters: Arrays, x: FloatArray, mixing: FloatArray | None = None, kept: Order | None = None
) -> FloatArray:
    """Return the layer on sequences x (batch, L, D), one step after the other; y (batch, L, D).

    With `mixing` (N, r) and `kept` (r,): all N states run, the kept ones are read by mixingᵀ C[t].
    """
    delta = np.logaddexp(0.0, x @ parameters["W_down"].T @ parameters["W_up"].T + parameters["dt_bias"])
    B, C = x @ parameters["W_B"].T, x @ parameters["W_C"].T  # (batch, L, N) each
    A = -np.exp(parameters["A_log"])  # (D, N)
    h = np.zeros((x.shape[0], *A.shape))  # (batch, D, N)
    y = np.empty_like(x)
    for t in range(x.shape[1]):
        driven = (delta[:, t] * x[:, t])[..., None] * B[:, t, None]
        h = np.exp(delta[:, t, :, None] * A) * h + driven
        read, seen = (C[:, t], h) if mixing is None else (C[:, t] @ mixing, h[..., kept])
        y[:, t] = (seen * read[:, None]).sum(axis=-1)
    return y


def second_moment_hsv(
    decays: FloatArray, drives: FloatArray, reads: FloatArray, weights: FloatArray | None = None
) -> FloatArray:
    """Return Hankel singular values of channels as systems with random coefficients, summed over channels.

        P_ij = E[b_i b_j] / (1 − E[a_i a_j]),   Q_ij = E[C_i C_j] / (1 − E[a_i a_j]),   σ = svd(L_Qᵀ L_P)

    as if steps were independent of each other: a picture of the spectrum, on which no cut is based.

    Parameters
    ----------
    decays, drives : (S, D, N)
        a and b at S steps.
    reads : (S, N)
        C at the same steps.
    weights : (D,), optional

    Returns
    -------
    hsv : (N,) descending; NaN where a coefficient is not finite
    """
    count, channels, n = decays.shape
    if not all(np.isfinite(part).all() for part in (decays, drives, reads)):
        return np.full(n, np.nan)
    read = reads.T @ reads / count  # (N, N)
    total = np.zeros(n)
    for d in range(channels):
        a, b = decays[:, d], drives[:, d]  # (S, N) each
        forgotten = 1.0 - np.minimum(a.T @ a / count, STABLE)  # (N, N)
        L_c, L_o = (factor((G / forgotten).astype(np.complex128)) for G in (b.T @ b / count, read))
        sigma = np.linalg.svd(L_o.conj().T @ L_c, compute_uv=False)
        total += sigma if weights is None else weights[d] * sigma
    return total
