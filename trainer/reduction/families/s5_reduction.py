"""The answers of an S5 layer to the `Reducible` protocol, on its parameters as float64 arrays.

The layer is a real system of order 2N, y = 2 Re(C x), and is truncated as one (conjugate_pairs.py). It is
written back exactly, with the median of the former steps for all modes:

    Δ = median Δ,   A = log λ' / Δ,   B = B̄' A / (λ' − 1),   C'

The scale of a mode is free: rows of B get the median row norm from before, as Adam is not scale-invariant.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hankelboard.storage.spectrum import discarded_shares
from hankelboard.trainer.reduction.families.lru_evidence import responses
from hankelboard.trainer.reduction.linear.conjugate_pairs import (
    Gradients,
    Modes,
    balance_pairs,
    consequences,
    dense_response,
    doubled,
    estimated_shares,
    importances,
    interval,
    monitoring_importances,
    ranks_to_check,
    realisable_where,
    shuffled,
    transport_first,
    transport_second,
    truncate_pairs,
)
from hankelboard.trainer.reduction.linear.hankel import (
    ComplexArray,
    DiagonalSystem,
    difference,
    frequency_response,
    monitoring_spectrum,
    peak_gain,
)
from hankelboard.trainer.reduction.linear.kept_modes import MODAL, importances_of_modes, strongest_modes
from hankelboard.trainer.reduction.linear.real_symmetry import RealBalance
from hankelboard.trainer.reduction.linear.rounding import finite
from hankelboard.trainer.reduction.linear.subspaces import (
    balanced_in_canonical_scale,
    overlap,
    random_overlap,
)
from hankelboard.trainer.reduction.linear.truncation import median_row_norm
from hankelboard.trainer.reduction.linear.zero_order_hold import (
    Hold,
    HoldGradients,
    continuous_gradients,
    continuous_squares,
    discrete_gradients,
    discrete_squares,
    from_eigenvalues,
    from_parameters,
    step_gradients,
    step_squares,
)
from hankelboard.trainer.reduction.measured.elimination import table_of
from hankelboard.trainer.reduction.method import BALANCED, Method
from hankelboard.trainer.reduction.moments import squares, variances
from hankelboard.trainer.reduction.reducible import Arrays, FloatArray, RankTable, check_rank

MODE_PARAMETERS = ("log_dt", "A_re_log", "A_im", "B_re", "B_im", "C_re", "C_im")
VERIFIED = 64
VERIFIED_AT_ONCE = 16
NOTHING = "all Hankel singular values are 0: the layer passes nothing on"


@dataclass(frozen=True, eq=False)
class S5Reduction:
    """An S5 layer at one rank."""

    rank: int
    modes: Modes | None
    """As written back; None at rank N."""
    error_interval: list[float] | None
    """Between what ‖G − G_r‖_H∞ lies; of balanced truncation."""
    parameters: dict[str, FloatArray]
    """All parameters of the layer after the cut."""
    method: Method = BALANCED
    kept: npt.NDArray[np.intp] | None = None
    """(r,) the modes that stay as they are, of a method that keeps modes."""


def hold_of(parameters: Arrays) -> Hold:
    """Return a and Δ of all modes, (N,)."""
    return from_parameters(parameters["A_re_log"], parameters["A_im"], np.exp(parameters["log_dt"]))


def system_of(parameters: Arrays) -> DiagonalSystem:
    """Return λ, B̄ and C of the stored modes, whose output is 2 Re(C x).

    Raises
    ------
    ValueError
        If a value is not finite or a modulus is >= 1.
    """
    hold = hold_of(parameters)
    B = hold.gain[:, None] * _complex(parameters, "B")  # (N, H)
    return DiagonalSystem(hold.eigenvalues, B, _complex(parameters, "C"), hold.logarithms)


def real_map(parameters: Arrays) -> DiagonalSystem:
    """Return the layer with the partners of all modes, of order 2N: y = C x is its real map."""
    return doubled(system_of(parameters))


def spectrum(parameters: Arrays) -> FloatArray:
    """Return Hankel singular values of the real map, two added for each stored mode, (N,) descending.

    By the cheaper path: for a picture only.
    """
    return monitoring_importances(system_of(parameters))


def propose(parameters: Arrays, method: Method = BALANCED) -> RankTable:
    """Return importances and what every rank would mean.

    Shares and bounds are those of the orders that the modes of a rank really hold; between checked ranks
    those of the next lower one, which are not smaller.

    Raises
    ------
    ValueError
        If the layer is unstable, holds a value that is not finite, or passes nothing on.
    """
    (n, inputs), outputs = parameters["B_re"].shape, len(parameters["C_re"])
    sizes = [rank * (3 + 2 * inputs + 2 * outputs) + parameters["D"].size for rank in range(n + 1)]
    if method.name in MODAL:
        scores = importances_of_modes([system_of(parameters)], method.name)  # (N,)
        return table_of(np.array(discarded_shares(scores.tolist())), sizes, scores)
    balanced = _balanced(system_of(parameters), method)
    checked = ranks_to_check(n)
    shares, bounds = consequences([balanced], checked)
    return RankTable(
        hsv=importances(balanced),
        discarded_share=shares,
        error_bound=finite(bounds) if method.name == "balanced" else None,
        realisable=realisable_where(checked, n),
        condition=[*(None for _ in range(n)), 1.0],
        realised_modes=list(range(n + 1)),
        parameters=sizes,
    )


def estimate(parameters: Arrays, method: Method = BALANCED) -> tuple[list[float], list[bool | None]]:
    """Return `discarded_share` and `realisable` as `propose` does; of large layers as if none were real."""
    balanced = _balanced(system_of(parameters), method)
    n = len(parameters["A_im"])
    checked = ranks_to_check(n)
    return estimated_shares([balanced], checked), realisable_where(checked, n)


def _balanced(system: DiagonalSystem, method: Method) -> RealBalance:
    balanced = balance_pairs(system)
    if not balanced.hsv.any():
        raise ValueError(NOTHING)
    return shuffled(balanced, method.seed) if method.name == "random" else balanced


def reduce(parameters: Arrays, rank: int, method: Method = BALANCED) -> S5Reduction:
    """Return the layer with exactly `rank` stored modes. Rank N is the layer as it is.

    Raises
    ------
    ValueError
        If the rank is outside 1..N, the layer passes nothing on, is unstable or not finite.
    """
    system = system_of(parameters)
    check_rank(rank, system.state_dim)
    kept = {name: values.copy() for name, values in parameters.items()}
    if rank == system.state_dim:
        return S5Reduction(rank, None, [0.0, 0.0] if method.name == "balanced" else None, kept, method)
    if method.name in MODAL:
        stay = strongest_modes([system], method.name, rank)[0]  # (r,)
        return S5Reduction(rank, None, None, _taken(parameters, stay), method, stay)
    balanced = _balanced(system, method)
    modes = truncate_pairs(balanced, rank, system)
    hold = from_eigenvalues(modes.eigenvalues, _steps_after(parameters, rank))
    modes = modes.with_row_norms(np.abs(hold.gain) * median_row_norm(_complex(parameters, "B")))
    within = finite(interval(balanced, modes.corner)) if method.name == "balanced" else None
    return S5Reduction(rank, modes, within, kept | parameters_of(modes, hold), method)


def _taken(arrays: Arrays, kept: npt.NDArray[np.intp]) -> dict[str, FloatArray]:
    """Return what belongs to these modes: columns of C, rows of the other parameters of modes."""
    return {
        name: np.take(values, kept, axis=1 if name.startswith("C_") else 0)
        if name in MODE_PARAMETERS
        else values.copy()
        for name, values in arrays.items()
    }


def _steps_after(parameters: Arrays, rank: int) -> FloatArray:
    """Return Δ of the modes after a cut, (r,): the median of those before."""
    return np.full(rank, float(np.median(np.exp(parameters["log_dt"]))))


def parameters_of(modes: Modes, hold: Hold) -> dict[str, FloatArray]:
    """Return the parameters of modes whose λ are those of `hold`; the map is unchanged."""
    B = modes.B / hold.gain[:, None]  # (r, H)
    A_re_log, A_im = hold.parameters()
    return {
        "log_dt": np.log(hold.dt),
        "A_re_log": A_re_log,
        "A_im": A_im,
        "B_re": B.real.copy(),
        "B_im": B.imag.copy(),
        "C_re": modes.C.real.copy(),
        "C_im": modes.C.imag.copy(),
    }


def transport_moments(
    parameters: Arrays, reduction: S5Reduction, first: Arrays, second: Arrays
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Return Adam's moments in the coordinates of the reduction, by parameter name.

    Second moments: moments.py. D keeps its own.

    Parameters
    ----------
    parameters : dict
        Before the cut.
    reduction : S5Reduction
    first, second : dict
        Bias-corrected averages of the gradient and of its square, by parameter name; missing ones count as 0.
    """
    if reduction.kept is not None:
        return _taken(first, reduction.kept), _taken(second, reduction.kept)
    if reduction.modes is None:
        return dict(first), dict(second)
    system, modes = system_of(parameters), reduction.modes
    before = (hold_of(parameters), _complex(parameters, "B"))
    after = (hold_of(reduction.parameters), _complex(reduction.parameters, "B"))

    given = discrete_gradients(*before, _continuous(parameters, first, 1))
    of_C = _of(parameters, first, "C")
    moved = transport_first(system, Gradients(given.eigenvalues, given.carried, of_C), modes)
    reached = HoldGradients(moved.eigenvalues, moved.B)
    steps = step_gradients(*after, reached)
    average = _named(reduction.parameters, continuous_gradients(*after, reached), moved.C, steps, 1)

    varied = variances(first, second)
    given = discrete_squares(before[0], _continuous(parameters, varied, 2))
    of_C = _of(parameters, varied, "C")
    moved = transport_second(Gradients(given.eigenvalues, given.carried, of_C), modes)
    reached = HoldGradients(moved.eigenvalues, moved.B)
    steps = step_squares(*after, reached)
    square = _named(reduction.parameters, continuous_squares(after[0], reached), moved.C, steps, 2)

    square = squares(average, square)
    return (
        {name: average.get(name, values) for name, values in first.items()},
        {name: square.get(name, values) for name, values in second.items()},
    )


def _continuous(parameters: Arrays, moments: Arrays, power: int) -> HoldGradients:
    """Return moments of A (N,) and B (N, H) from those by name: Re A = −exp(a)."""
    zeros = np.zeros_like(parameters["A_im"])
    a, omega = (moments.get(name, zeros) for name in ("A_re_log", "A_im"))
    scale = (-np.exp(-parameters["A_re_log"])) ** power
    return HoldGradients(a * scale + 1j * omega, _of(parameters, moments, "B"))


def _named(
    parameters: Arrays, given: HoldGradients, C: ComplexArray, steps: FloatArray, power: int
) -> dict[str, FloatArray]:
    return {
        "log_dt": steps,
        "A_re_log": given.eigenvalues.real * (-np.exp(parameters["A_re_log"])) ** power,
        "A_im": given.eigenvalues.imag.copy(),
        "B_re": given.carried.real.copy(),
        "B_im": given.carried.imag.copy(),
        "C_re": C.real.copy(),
        "C_im": C.imag.copy(),
    }


def verify(parameters_now: Arrays, reduction: S5Reduction) -> float:
    """Return relative error between the layer as written back and the dense reduced system.

        max_ω ‖G_now − C_r (e^{iω} − A_r)⁻¹ B_r‖_F / max_ω ‖C_r (e^{iω} − A_r)⁻¹ B_r‖_F

    over 64 uniform frequencies and the angles of the 64 slowest poles.

    Returns
    -------
    error : float
        About 1e-13 for a float64 layer; 1e-7 to 1e-5 for a float32 one. inf where shapes disagree.
    """
    if any(parameters_now[name].shape != reduction.parameters[name].shape for name in MODE_PARAMETERS):
        return float("inf")
    now, intended = real_map(parameters_now), real_map(reduction.parameters)
    slowest = np.argsort(-intended.logarithms.real, kind="stable")[:VERIFIED]
    omegas = np.concatenate([np.linspace(0.0, np.pi, VERIFIED), intended.logarithms.imag[slowest]])
    error = scale = 0.0
    for some in np.array_split(omegas, len(omegas) // VERIFIED_AT_ONCE):
        modes = reduction.modes
        dense = frequency_response(intended, some) if modes is None else dense_response(modes, some)
        deviation = frequency_response(now, some) - dense  # (F, M, H)
        error = max(error, float(np.linalg.norm(deviation, axis=(1, 2)).max()))
        scale = max(scale, float(np.linalg.norm(dense, axis=(1, 2)).max()))
    return error / max(scale, float(np.finfo(np.float64).tiny))


def inspect(parameters: Arrays, reduction: S5Reduction, earlier: Arrays | None) -> dict[str, Any]:
    """Return what a person sees before a cut, of the real map u -> y.

    Returns
    -------
    evidence : dict
        `gain`, `response`, `error_interval` and `stability` as of `lru_evidence.inspect`, the last two for
        balanced truncation only; stability in the coordinates of [x; x̄].
    """
    full, reduced = real_map(parameters), real_map(reduction.parameters)
    seen: dict[str, Any] = {"gain": peak_gain(full), "response": responses(full, reduced)}
    if reduction.error_interval is None:
        return seen
    before = None if earlier is None else real_map(earlier)
    order = full.state_dim if reduction.modes is None else reduction.modes.order
    moved = None if before is None else _stability(before, full, order)
    return seen | {"error_interval": reduction.error_interval, "stability": moved}


def _stability(before: DiagonalSystem, now: DiagonalSystem, order: int) -> dict[str, float] | None:
    """Return overlap of the kept subspaces and Weyl's bound; None where a cut lies between."""
    if before.state_dim != now.state_dim:
        return None
    then, later = balanced_in_canonical_scale(before), balanced_in_canonical_scale(now)
    return {
        "overlap": overlap(then, later, order),
        "overlap_random": random_overlap(order, now.state_dim),
        "weyl": float(monitoring_spectrum(difference(now, before))[0]),
    }


def _of(parameters: Arrays, moments: Arrays, name: str) -> ComplexArray:
    """Return moments of a complex parameter; 0 where there are none."""
    zeros = {f"{name}_{part}": np.zeros_like(parameters[f"{name}_{part}"]) for part in ("re", "im")}
    return _complex(zeros | dict(moments), name)


def _complex(arrays: Arrays, name: str) -> ComplexArray:
    combined: ComplexArray = arrays[f"{name}_re"] + 1j * arrays[f"{name}_im"]
    return combined
