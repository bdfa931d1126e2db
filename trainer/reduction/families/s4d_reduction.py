"""The answers of an S4D layer to the `Reducible` protocol, on its parameters as float64 arrays.

Every channel is a real system of order 2N with one input and one output, K[l] = 2 Re Σ_n ρ_n λ_n^l, and is
truncated by itself, all to the same number of stored modes. The layer is block-diagonal, so its H∞ error is
the largest of its channels', and so is the bound; tolerances are shares of Σσ over all channels. Written back
exactly, with Δ as it is:

    A = log λ' / Δ,   C = ρ' A / (λ' − 1),   ρ' halved for real poles
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hankelboard.storage.spectrum import discarded_shares
from hankelboard.trainer.reduction.linear.conjugate_pairs import (
    Gradients,
    Modes,
    balance_pairs,
    consequences,
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
from hankelboard.trainer.reduction.linear.hankel import ComplexArray, DiagonalSystem
from hankelboard.trainer.reduction.linear.kept_modes import MODAL, importances_of_modes, strongest_modes
from hankelboard.trainer.reduction.linear.real_symmetry import RealBalance
from hankelboard.trainer.reduction.linear.rounding import finite
from hankelboard.trainer.reduction.linear.zero_order_hold import (
    Hold,
    HoldGradients,
    continuous_gradients,
    continuous_squares,
    discrete_gradients,
    discrete_squares,
    from_eigenvalues,
    from_parameters,
)
from hankelboard.trainer.reduction.measured.elimination import table_of
from hankelboard.trainer.reduction.method import BALANCED, Method
from hankelboard.trainer.reduction.moments import squares, variances
from hankelboard.trainer.reduction.reducible import Arrays, FloatArray, RankTable, check_rank

S4dSystem = Arrays
"""log_dt and D (H,), A_re_log, A_im, C_re, C_im (H, N)."""
MODE_PARAMETERS = ("A_re_log", "A_im", "C_re", "C_im")
UNIFORM = 64
POLES = 16
ESTIMATED_CHANNELS = 8
"""How many channels stand for all of an untrained layer, whose channels are drawn alike."""


@dataclass(frozen=True, eq=False)
class S4dReduction:
    """An S4D layer at one rank."""

    rank: int
    channels: Sequence[Modes]
    """Of every channel, with B = 1; none at rank N."""
    error_interval: list[float] | None
    """Between what ‖G − G_r‖_H∞ lies: the largest of the channels'; of balanced truncation."""
    parameters: dict[str, FloatArray]
    """All parameters of the layer after the cut."""
    method: Method = BALANCED
    kept: npt.NDArray[np.intp] | None = None
    """(H, r) the modes that stay as they are, of a method that keeps modes."""


def hold_of(parameters: Arrays) -> Hold:
    """Return a and Δ of all modes, (H, N)."""
    return from_parameters(parameters["A_re_log"], parameters["A_im"], np.exp(parameters["log_dt"])[:, None])


def channel_systems(parameters: Arrays) -> list[DiagonalSystem]:
    """Return every channel as λ (N,), B = 1 (N, 1), C = ρ (1, N), whose output is 2 Re(C x).

    Raises
    ------
    ValueError
        If a value is not finite or a modulus is >= 1.
    """
    hold = hold_of(parameters)
    residues = _complex(parameters, "C") * hold.gain  # (H, N)
    one = np.ones((residues.shape[1], 1), dtype=np.complex128)
    return [
        DiagonalSystem(eigenvalues, one, row[None], logarithms)
        for eigenvalues, row, logarithms in zip(hold.eigenvalues, residues, hold.logarithms, strict=True)
    ]


def spectrum(parameters: Arrays) -> FloatArray:
    """Return Σ over channels of the two Hankel singular values that a stored mode takes, (N,) descending.

    By the cheaper path: for a picture only.
    """
    return np.asarray(sum(monitoring_importances(system) for system in channel_systems(parameters)))


def propose(parameters: Arrays, method: Method = BALANCED) -> RankTable:
    """Return importances and what every rank would mean.

    Shares and bounds are those of the orders that the modes of a rank really hold: where real poles take a
    mode each, that is less than two singular values a mode. Between checked ranks they are those of the next
    lower one, which are not smaller.

    Raises
    ------
    ValueError
        If the layer is unstable, holds a value that is not finite, or passes nothing on.
    """
    if method.name in MODAL:
        return _modal_table(parameters, method)
    balances = _balances(parameters, method)
    hsv = np.asarray(sum(importances(balanced) for balanced in balances))  # (N,)
    if hsv[0] <= 0.0:
        raise ValueError("all Hankel singular values are 0: the layer passes nothing on")
    channels, n = parameters["A_im"].shape
    checked = ranks_to_check(n, channels)
    shares, bounds = consequences(balances, checked)
    ranks = range(n + 1)
    return RankTable(
        hsv=hsv,
        discarded_share=shares,
        error_bound=finite(bounds) if method.name == "balanced" else None,
        realisable=realisable_where(checked, n),
        condition=[*(None for _ in range(n)), 1.0],
        realised_modes=list(ranks),
        parameters=_sizes(channels, n),
    )


def _modal_table(parameters: Arrays, method: Method) -> RankTable:
    scores = importances_of_modes(channel_systems(parameters), method.name)  # (N,)
    shares = np.array(discarded_shares(scores.tolist()))
    return table_of(shares, _sizes(*parameters["A_im"].shape), scores)


def _sizes(channels: int, state_dim: int) -> list[int]:
    """Return numbers in the parameters at each rank."""
    return [channels * (4 * rank + 2) for rank in range(state_dim + 1)]


def estimate(parameters: Arrays, method: Method = BALANCED) -> tuple[list[float], list[bool | None]]:
    """Return `discarded_share` and `realisable` as `propose` does, from the first ESTIMATED_CHANNELS."""
    channels, n = parameters["A_im"].shape
    some = {name: values[:ESTIMATED_CHANNELS] for name, values in parameters.items()}
    checked = ranks_to_check(n, channels)
    balances = _balances(some, method)
    return estimated_shares(balances, checked), realisable_where(checked, n)


def _balances(parameters: Arrays, method: Method) -> list[RealBalance]:
    balances = [balance_pairs(system) for system in channel_systems(parameters)]
    if method.name == "random":
        return [shuffled(balanced, method.seed + index) for index, balanced in enumerate(balances)]
    return balances


def reduce(parameters: Arrays, rank: int, method: Method = BALANCED) -> S4dReduction:
    """Return the layer with exactly `rank` stored modes in every channel. Rank N is the layer as it is.

    Raises
    ------
    ValueError
        If the rank is outside 1..N, the layer passes nothing on, is unstable or not finite.
    """
    n = parameters["A_im"].shape[1]
    check_rank(rank, n)
    kept = {name: values.copy() for name, values in parameters.items()}
    if rank == n:
        return S4dReduction(rank, [], [0.0, 0.0] if method.name == "balanced" else None, kept, method)
    if method.name in MODAL:
        stay = strongest_modes(channel_systems(parameters), method.name, rank)  # (H, r)
        return S4dReduction(rank, [], None, _taken(parameters, stay), method, stay)
    balances = _balances(parameters, method)
    if not any(balanced.hsv.any() for balanced in balances):
        raise ValueError("all Hankel singular values are 0: the layer passes nothing on")
    modes = [
        _with_unit_input(truncate_pairs(balanced, rank, system))
        for balanced, system in zip(balances, channel_systems(parameters), strict=True)
    ]
    errors = [interval(balanced, one.corner) for balanced, one in zip(balances, modes, strict=True)]
    return S4dReduction(
        rank=rank,
        channels=modes,
        error_interval=finite(np.max(errors, axis=0).tolist()) if method.name == "balanced" else None,
        parameters=kept | parameters_of(modes, np.exp(parameters["log_dt"])),
        method=method,
    )


def _taken(arrays: Arrays, kept: npt.NDArray[np.intp]) -> dict[str, FloatArray]:
    """Return what belongs to these modes, (H, r) of the parameters of modes."""
    return {
        name: np.take_along_axis(values, kept, axis=1) if name in MODE_PARAMETERS else values.copy()
        for name, values in arrays.items()
    }


def _with_unit_input(modes: Modes) -> Modes:
    """Return the same map with B = 1; a mode that nothing drives gets C = 0 instead."""
    B = modes.B[:, 0]
    driven = B != 0.0
    unit = modes.scaled((1.0 / np.where(driven, B, 1.0)).astype(np.complex128))
    return unit if driven.all() else Modes(**(vars(unit) | {"B": np.ones_like(unit.B), "C": unit.C * driven}))


def parameters_of(channels: Sequence[Modes], dt: FloatArray) -> dict[str, FloatArray]:
    """Return a_re_log, A_im, C_re and C_im (H, r) of modes with B = 1; the map is unchanged.

    Parameters
    ----------
    channels : H Modes
    dt : (H,)
    """
    hold = from_eigenvalues(np.array([modes.eigenvalues for modes in channels]), dt[:, None])  # (H, r)
    C = np.array([modes.C[0] for modes in channels]) / hold.gain  # (H, r)
    A_re_log, A_im = hold.parameters()
    return {"A_re_log": A_re_log, "A_im": A_im, "C_re": C.real.copy(), "C_im": C.imag.copy()}


def transport_moments(
    parameters: Arrays, reduction: S4dReduction, first: Arrays, second: Arrays
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Return Adam's moments in the coordinates of the reduction, by parameter name; channel by channel.

    Δ and D do not change and keep theirs. B is 1 and no parameter; what its gradient would be follows from
    the free scale of a mode: G_B,n = ρ̄_n G_ρ,n. Second moments: moments.py.

    Parameters
    ----------
    parameters : dict
        Before the cut.
    reduction : S4dReduction
    first, second : dict
        Bias-corrected averages of the gradient and of its square, by parameter name; missing ones count as 0.
    """
    if reduction.kept is not None:
        return _taken(first, reduction.kept), _taken(second, reduction.kept)
    if not reduction.channels:
        return dict(first), dict(second)
    varied = variances(first, second)
    given = [_continuous(parameters, moments, power) for moments, power in ((first, 1), (varied, 2))]
    before, after = _channels(parameters), _channels(reduction.parameters)
    systems = channel_systems(parameters)
    average, square = (
        _named(reduction.parameters, [carry(*of_channel) for of_channel in zip(
            systems, before, after, reduction.channels, _split(moments), strict=True
        )], power)
        for carry, moments, power in ((_carry_first, given[0], 1), (_carry_second, given[1], 2))
    )  # fmt: skip
    square = squares(average, square)
    return (
        {name: average.get(name, values) for name, values in first.items()},
        {name: square.get(name, values) for name, values in second.items()},
    )


Channel = tuple[Hold, ComplexArray]


def _carry_first(
    system: DiagonalSystem, before: Channel, after: Channel, modes: Modes, given: HoldGradients
) -> HoldGradients:
    """Return average gradients of A and C of one channel."""
    discrete = discrete_gradients(*before, given)
    B = system.C.conj().T * discrete.carried  # (N, 1)
    reached = transport_first(system, Gradients(discrete.eigenvalues, B, discrete.carried.T), modes)
    return continuous_gradients(*after, HoldGradients(reached.eigenvalues, reached.C.T))


def _carry_second(
    system: DiagonalSystem, before: Channel, after: Channel, modes: Modes, given: HoldGradients
) -> HoldGradients:
    """Return average squares of the gradients of A and C of one channel; B has none."""
    discrete = discrete_squares(before[0], given)
    nothing = np.zeros_like(system.B)
    reached = transport_second(Gradients(discrete.eigenvalues, nothing, discrete.carried.T), modes)
    return continuous_squares(after[0], HoldGradients(reached.eigenvalues, reached.C.T))


def _channels(parameters: Arrays) -> list[Channel]:
    """Return a with Δ, and C (N, 1), of every channel."""
    hold, C = hold_of(parameters), _complex(parameters, "C")
    return [(Hold(*of_channel), row[:, None]) for *of_channel, row in zip(hold.A, hold.dt, C, strict=True)]


def _split(moments: HoldGradients) -> list[HoldGradients]:
    rows = zip(moments.eigenvalues, moments.carried, strict=True)
    return [HoldGradients(poles, carried[:, None]) for poles, carried in rows]


def _continuous(parameters: Arrays, moments: Arrays, power: int) -> HoldGradients:
    """Return moments of A (H, N) and of C (H, N) from those by name: Re A = −exp(a)."""
    zeros = np.zeros_like(parameters["A_im"])
    a, omega, C_re, C_im = (moments.get(name, zeros) for name in MODE_PARAMETERS)
    return HoldGradients(a * (-np.exp(-parameters["A_re_log"])) ** power + 1j * omega, C_re + 1j * C_im)


def _named(parameters: Arrays, moved: Sequence[HoldGradients], power: int) -> dict[str, FloatArray]:
    A = np.array([part.eigenvalues for part in moved])  # (H, r)
    C = np.array([part.carried[:, 0] for part in moved])  # (H, r)
    scale = (-np.exp(parameters["A_re_log"])) ** power
    return {"A_re_log": A.real * scale, "A_im": A.imag.copy(), "C_re": C.real.copy(), "C_im": C.imag.copy()}


def responses(parameters: Arrays, omegas: FloatArray) -> ComplexArray:
    """Return Σ_n ρ_n / (1 − λ_n e

    {−iω}) + ρ̄_n / (1 − λ̄_n e^{−iω}) of every channel at its frequencies (H, F).
    """
    hold = hold_of(parameters)
    residues = _complex(parameters, "C") * hold.gain  # (H, N)
    total = np.zeros(omegas.shape, dtype=np.complex128)  # (H, F)
    for n in range(residues.shape[1]):
        for logarithm, residue in (
            (hold.logarithms[:, n], residues[:, n]),
            (hold.logarithms[:, n].conj(), residues[:, n].conj()),
        ):
            total -= residue[:, None] / np.expm1(logarithm[:, None] - 1j * omegas)
    return total


def frequencies(parameters: Arrays) -> FloatArray:
    """Return 64 uniform frequencies in [0, π] and angles of the 16 slowest poles of every channel, (H, F)."""
    logarithms = hold_of(parameters).logarithms  # (H, N)
    slowest = np.argsort(-logarithms.real, axis=1, kind="stable")[:, :POLES]
    angles = np.abs(np.angle(np.exp(1j * np.take_along_axis(logarithms.imag, slowest, axis=1))))
    uniform = np.broadcast_to(np.linspace(0.0, np.pi, UNIFORM), (len(logarithms), UNIFORM))
    return np.concatenate([uniform, angles], axis=1)


def verify(parameters_now: Arrays, reduction: S4dReduction) -> float:
    """Return relative error between the layer as written back and the dense reduced systems.

        max_h,ω |G_now − C_r (1 − A_r e^{−iω})⁻¹ B_r| / max_h,ω |C_r (1 − A_r e^{−iω})⁻¹ B_r|

    Returns
    -------
    error : float
        About 1e-14 for a float64 layer; 1e-7 to 1e-5 for a float32 one. inf where shapes disagree.
    """
    if parameters_now["A_im"].shape != reduction.parameters["A_im"].shape:
        return float("inf")
    omegas = frequencies(reduction.parameters)  # (H, F)
    if reduction.channels:
        intended = np.array(
            [_dense(*pair) for pair in zip(reduction.channels, omegas, strict=True)]
        )  # (H, F)
    else:
        intended = responses(reduction.parameters, omegas)
    error = np.abs(responses(parameters_now, omegas) - intended).max()
    return float(error / max(np.abs(intended).max(), np.finfo(np.float64).tiny))


def _dense(modes: Modes, omegas: FloatArray) -> ComplexArray:
    """Return response of one channel's dense system, (F,)."""
    shifted = np.eye(modes.order) - np.exp(-1j * omegas)[:, None, None] * modes.A_r  # (F, m, m)
    driven = np.broadcast_to(modes.B_r.astype(np.complex128), (len(omegas), modes.order, 1))
    response: ComplexArray = (modes.C_r @ np.linalg.solve(shifted, driven))[:, 0, 0]
    return response


def _complex(arrays: Arrays, name: str) -> ComplexArray:
    combined: ComplexArray = arrays[f"{name}_re"] + 1j * arrays[f"{name}_im"]
    return combined
