"""The answers of an LRU layer to the `Reducible` protocol, on its parameters as float64 arrays."""

from dataclasses import dataclass

import numpy as np

from hankelboard.storage.spectrum import discarded_shares
from hankelboard.trainer.reduction.families.lru_parameters import (
    SYSTEM_NAMES,
    Parameters,
    reduced_parameters,
    system_from_parameters,
    transport_first_moments,
    transport_second_moments,
    with_lru_scale,
)
from hankelboard.trainer.reduction.linear.conjugate_pairs import (
    Modes,
    balance_pairs,
    consequences,
    dense_response,
    doubled,
    estimated_shares,
    importances,
    interval,
    ranks_to_check,
    realisable_where,
    truncate_pairs,
)
from hankelboard.trainer.reduction.linear.hankel import (
    ComplexArray,
    DiagonalSystem,
    frequency_response,
    monitoring_spectrum,
)
from hankelboard.trainer.reduction.linear.kept_modes import MODAL, keep_modes, mode_scores, reordered
from hankelboard.trainer.reduction.linear.real_symmetry import RealBalance
from hankelboard.trainer.reduction.linear.rounding import finite
from hankelboard.trainer.reduction.linear.truncation import (
    Balance,
    Truncation,
    balance,
    bounds_of_ranks,
    checked_ranks,
    realisable_ranks,
    realisations,
    truncate,
)
from hankelboard.trainer.reduction.method import BALANCED, Method
from hankelboard.trainer.reduction.moments import squares, variances
from hankelboard.trainer.reduction.reducible import Arrays, FloatArray, RankTable, check_rank

VERIFIED_UNIFORM = 64
VERIFIED_POLES = 64
VERIFIED_AT_ONCE = 16


@dataclass(frozen=True, eq=False)
class LruReduction:
    """An LRU layer cut to one rank."""

    truncation: Truncation
    """Modal and dense reduced system, and the change of basis; scaled as it is written back."""
    parameters: Parameters
    """All parameters of the layer after the cut, float64."""
    method: Method = BALANCED
    error_interval: list[float] | None = None
    """Between what ‖G − G_r‖_H∞ lies, of the map that the symmetry names; of balanced truncation."""
    modes: Modes | None = None
    """Of the real map with its dense system, where that was cut."""

    @property
    def rank(self) -> int:
        """State dimension after the reduction, r."""
        return self.truncation.rank


def spectrum(parameters: Arrays) -> FloatArray:
    """Return Hankel singular values of the layer by the cheaper path, (N,) descending: for a picture only."""
    return monitoring_spectrum(system_from_parameters(parameters))


def propose(parameters: Arrays, method: Method = BALANCED) -> RankTable:
    """Return Hankel singular values (or a method's scores) and the consequences of every rank r = 0..N.

    Raises
    ------
    ValueError
        If the layer is unstable, holds a value that is not finite, or passes nothing on.
    """
    system = system_from_parameters(parameters)
    bounds: list[float] | None = None
    realisable: list[bool | None]
    condition: list[float | None]
    if method.symmetry == "real":
        n, paired = system.state_dim, balance_halves(system)
        scores, checked = importances(paired), ranks_to_check(n)
        shares, bounds = consequences([paired], checked)
        realisable, condition = realisable_where(checked, n), [*(None for _ in range(n)), 1.0]
    elif method.name in MODAL:
        scores = np.sort(mode_scores(system, method.name))[::-1]  # (N,)
        shares = discarded_shares(scores.tolist())
        realisable = [False, *(True for _ in scores)]
        condition = [None, *(1.0 for _ in scores)]
    else:
        balanced = reordered(balance(system), method.name, method.seed)
        scores, found = balanced.hsv, realisations(balanced)
        if method.name == "balanced":
            shares, bounds = discarded_shares(scores.tolist()), bounds_of_ranks(balanced, found)
        else:
            shares = _shares_in_order(balanced)
        realisable, condition = realisable_ranks(balanced, found)
    ranks = range(len(scores) + 1)
    (outputs, _), inputs = parameters["C_re"].shape, parameters["B_re"].shape[1]
    return RankTable(
        hsv=scores,
        discarded_share=shares,
        error_bound=None if bounds is None else finite(bounds),
        realisable=realisable,
        condition=condition,
        realised_modes=list(ranks),
        parameters=[rank * (3 + 2 * inputs + 2 * outputs) + parameters["D"].size for rank in ranks],
    )


def estimate(parameters: Arrays, method: Method = BALANCED) -> tuple[list[float], list[bool | None]]:
    """Return `discarded_share` and `realisable` of balanced truncation as `propose` does; tries no rank."""
    system = system_from_parameters(parameters)
    n = system.state_dim
    if method.symmetry == "real":
        checked = ranks_to_check(n)
        return estimated_shares([balance_halves(system)], checked), realisable_where(checked, n)
    shares = discarded_shares(monitoring_spectrum(system).tolist())
    return shares, realisable_where({*checked_ranks(n), n}, n)


def halves(system: DiagonalSystem) -> DiagonalSystem:
    """Return the system that conjugate_pairs.py knows: Re(C x) = 2 Re(C/2 x)."""
    return DiagonalSystem(system.eigenvalues, system.B, 0.5 * system.C, system.log_eigenvalues)


def balance_halves(system: DiagonalSystem) -> RealBalance:
    """Return the real map u -> Re(C x) in balanced coordinates. Raise ValueError if it passes nothing on."""
    paired = balance_pairs(halves(system))
    if not paired.hsv.any():
        raise ValueError("all Hankel singular values are 0: the layer passes nothing on")
    return paired


def _shares_in_order(balanced: Balance) -> list[float]:
    """Return share of Σσ that each rank discards when states are kept in the order of a method."""
    assert balanced.order is not None
    kept = np.concatenate([[0.0], np.cumsum(balanced.hsv[balanced.order])])  # (N+1,)
    if kept[-1] == 0.0:
        raise ValueError("all Hankel singular values are 0: the layer passes nothing on")
    shares = np.clip(1.0 - kept / kept[-1], 0.0, 1.0)
    return [*shares[:-1].tolist(), 0.0]


def reduce(parameters: Arrays, rank: int, method: Method = BALANCED) -> LruReduction:
    """Return the layer at exactly this rank. Rank N is the layer as it is.

    Raises
    ------
    ValueError
        If the rank is outside 1..N or cannot be realised, with the reason.
    """
    system = system_from_parameters(parameters)
    check_rank(rank, system.state_dim)
    if method.symmetry == "real" and rank < system.state_dim:
        return _reduce_real(parameters, system, rank, method)
    if method.name in MODAL:
        truncation = keep_modes(system, method.name, rank)  # modes as they are, their scale too
        return LruReduction(truncation, reduced_parameters(parameters, truncation), method)
    balanced = reordered(balance(system), method.name, method.seed)
    truncation = with_lru_scale(parameters, truncate(balanced, rank))
    errors = balanced.bounds.interval(rank, truncation.condition, truncation.gap)
    within = finite(errors) if method.name == "balanced" else None
    return LruReduction(truncation, reduced_parameters(parameters, truncation), method, within)


def _reduce_real(parameters: Arrays, system: DiagonalSystem, rank: int, method: Method) -> LruReduction:
    """Return the layer with `rank` stored modes of the real map, padding included (conjugate_pairs.py).

    V_n and W_n of the result are zero: moments are not transported through a real reduction.
    """
    paired = balance_halves(system)
    modes = truncate_pairs(paired, rank, halves(system))
    nothing: ComplexArray = np.zeros((system.state_dim, rank), np.complex128)
    truncation = Truncation(
        eigenvalues=modes.eigenvalues, B=modes.B, C=2.0 * modes.C, A_r=np.diag(modes.eigenvalues),
        B_r=modes.B, C_r=2.0 * modes.C, V_n=nothing, W_n=nothing, condition=modes.condition,
        hsv=importances(paired),
    )  # fmt: skip
    truncation = with_lru_scale(parameters, truncation)
    within = finite(interval(paired, modes.corner))
    return LruReduction(truncation, reduced_parameters(parameters, truncation), method, within, modes)


def transport_moments(
    parameters: Arrays, reduction: LruReduction, first: Arrays, second: Arrays
) -> tuple[Parameters, Parameters]:
    """Return Adam's moments in the coordinates of the reduction, by parameter name.

    What varies about the average goes by the squared weights, the average itself by the weights (moments.py).

    Parameters
    ----------
    parameters : dict
        Before the cut.
    reduction : LruReduction
    first, second : dict
        Bias-corrected averages of the gradient and of its square, by parameter name.

    Returns
    -------
    first, second : dict
        The same names; shapes of the reduced layer; second finite and >= 0.
    """
    average = transport_first_moments(parameters, reduction.truncation, first)
    if reduction.rank == parameters["nu_log"].size:
        return average, transport_second_moments(parameters, reduction.truncation, second)
    varied = transport_second_moments(parameters, reduction.truncation, variances(first, second))
    return average, dict(second) | squares(
        average, {name: varied[name] for name in SYSTEM_NAMES if name in varied}
    )


def verify(parameters_now: Arrays, reduction: LruReduction) -> float:
    """Return relative error between the layer as written back and the dense reduced system.

        max_ω ‖G_now − C_r (e^{iω} − A_r)⁻¹ B_r‖_F / max_ω ‖C_r (e^{iω} − A_r)⁻¹ B_r‖_F

    over 64 uniform frequencies and the angles of the 64 slowest poles; of the real map where that was cut.

    Parameters
    ----------
    parameters_now : dict
        The layer's parameters after the write-back, in whatever precision it trains, as float64.
    reduction : LruReduction

    Returns
    -------
    error : float
        About 1e-12 for a float64 layer; 1e-6 to 1e-4 for a float32 one, whose slow modes round the most.
        inf where shapes disagree.
    """
    now = system_from_parameters(parameters_now)
    truncation = reduction.truncation
    if (now.C.shape, now.B.shape) != (truncation.C.shape, truncation.B.shape):
        return float("inf")
    error = scale = 0.0
    for omegas in np.array_split(_verified_frequencies(reduction), VERIFIED_AT_ONCE):
        reference = _reference_response(reduction, omegas)  # (F, M, H)
        compared = now if reduction.modes is None else doubled(halves(now))
        deviation = frequency_response(compared, omegas) - reference  # (F, M, H)
        error = max(error, float(np.linalg.norm(deviation, axis=(1, 2)).max()))
        scale = max(scale, float(np.linalg.norm(reference, axis=(1, 2)).max()))
    return error / scale


def _verified_frequencies(reduction: LruReduction) -> FloatArray:
    eigenvalues = reduction.truncation.eigenvalues
    slowest = eigenvalues[np.argsort(-np.abs(eigenvalues), kind="stable")[:VERIFIED_POLES]]
    uniform = 2.0 * np.pi * np.arange(VERIFIED_UNIFORM) / VERIFIED_UNIFORM
    return np.concatenate([uniform, np.angle(slowest)])


def _reference_response(reduction: LruReduction, omegas: FloatArray) -> ComplexArray:
    """Return the response (F, M, H) of the dense reduced system; at rank N that of the layer before."""
    if reduction.modes is not None:
        return dense_response(reduction.modes, omegas)
    truncation = reduction.truncation
    if truncation.rank == truncation.hsv.size:
        return frequency_response(system_from_parameters(reduction.parameters), omegas)
    shifted = np.exp(1j * omegas)[:, None, None] * np.eye(truncation.rank) - truncation.A_r  # (F, r, r)
    response: ComplexArray = truncation.C_r @ np.linalg.solve(shifted, truncation.B_r[None])  # (F, M, H)
    return response
