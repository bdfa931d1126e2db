"""What a person sees of one LRU layer before a cut: responses, bounds against the gain, stability."""

from typing import Any

import numpy as np

from hankelboard.trainer.reduction.families.lru_parameters import system_from_parameters
from hankelboard.trainer.reduction.families.lru_reduction import LruReduction, halves
from hankelboard.trainer.reduction.linear.conjugate_pairs import doubled
from hankelboard.trainer.reduction.linear.hankel import (
    ComplexArray,
    DiagonalSystem,
    difference,
    frequency_grid,
    frequency_response,
    monitoring_spectrum,
    peak_gain,
)
from hankelboard.trainer.reduction.linear.subspaces import (
    balanced_in_canonical_scale,
    overlap,
    random_overlap,
)
from hankelboard.trainer.reduction.reducible import Arrays, FloatArray

UNIFORM_FREQUENCIES = 64
SHOWN_FREQUENCIES = 192


def inspect(parameters: Arrays, reduction: LruReduction, earlier: Arrays | None) -> dict[str, Any]:
    """Return responses of a layer and of its reduction, and how its spectrum moved since a snapshot.

    Parameters
    ----------
    parameters : dict
        Before the cut.
    reduction : LruReduction
    earlier : dict, optional
        Parameters at the last snapshot, of the same shapes; None when there is none since the last cut.

    Returns
    -------
    evidence : dict
        `gain`: ‖G‖_H∞; `error_interval`: [σ_{r+1}, 2 Σ_{i>r} σ_i] with what rounding adds, between which
        ‖G − G_r‖_H∞ lies;
        `response`: `omega` in [0, π] (radians per step) and the largest singular values there of G (`full`),
        of G_r (`reduced`) and of their difference (`error`); `stability`: `overlap` of the kept subspaces
        in [0, 1] and `weyl`, the largest Hankel singular value of G' − G, or None. G is the map that the
        symmetry names. The interval is that of balanced truncation, stability of the complex map's.
    """
    systems = [system_from_parameters(each) for each in (parameters, reduction.parameters)]
    real = reduction.method.symmetry == "real"
    full, reduced = (doubled(halves(each)) if real else each for each in systems)
    seen = {"gain": peak_gain(full), "response": responses(full, reduced)}
    if reduction.error_interval is not None:
        seen["error_interval"] = reduction.error_interval
    if real or reduction.method.name != "balanced":
        return seen
    moved = None if earlier is None else stability(earlier, parameters, reduction.rank)
    return seen | {"stability": moved}


def responses(system: DiagonalSystem, reduced: DiagonalSystem) -> dict[str, list[float]]:
    """Return largest singular value over frequency of a system, of its reduction, and of their difference.

    The map that a network uses is real, y = Re(G u): what counts at ω counts at −ω, so both are looked at
    and the larger one is shown. The grid holds the pole angles; the strongest of them when there are many.
    """
    omegas = _shown(system)  # (F,) in [0, π]
    both = np.concatenate([omegas, -omegas])  # (2F,)
    full, less = frequency_response(system, both), frequency_response(reduced, both)  # (2F, M, H)
    curves = {"full": full, "reduced": less, "error": full - less}
    return {"omega": omegas.tolist(), **{name: _folded(G).tolist() for name, G in curves.items()}}


def _shown(system: DiagonalSystem) -> FloatArray:
    grid = frequency_grid(system, UNIFORM_FREQUENCIES)
    grid = np.unique(np.minimum(grid, 2.0 * np.pi - grid))
    if len(grid) <= SHOWN_FREQUENCIES:
        return grid
    slowest = np.argsort(system.logarithms.real)[::-1][: SHOWN_FREQUENCIES - UNIFORM_FREQUENCIES]
    angles = np.mod(system.logarithms.imag[slowest], 2.0 * np.pi)
    uniform = np.pi * np.arange(UNIFORM_FREQUENCIES) / (UNIFORM_FREQUENCIES - 1)
    return np.unique(np.concatenate([uniform, np.minimum(angles, 2.0 * np.pi - angles)]))


def _folded(G: ComplexArray) -> FloatArray:
    gains: FloatArray = np.linalg.norm(G, ord=2, axis=(1, 2))  # (2F,)
    return np.maximum(*np.split(gains, 2))


def stability(before: Arrays, now: Arrays, rank: int) -> dict[str, float] | None:
    """Return how far the spectrum of a layer moved: subspace overlap at a rank, and Weyl's bound.

    `overlap` is ‖orth(V)ᴴ orth(V')‖²_F / r of the dominant controllable-and-observable subspaces, in the
    coordinates of the layer's modes in canonical scale; `overlap_random` what two drawn by lot would have.
    `weyl` bounds every |σ_i' − σ_i|. None when the shapes differ: a cut lies between the two.
    """
    if before["nu_log"].shape != now["nu_log"].shape:
        return None
    systems = [system_from_parameters(parameters) for parameters in (before, now)]
    then, later = (balanced_in_canonical_scale(system) for system in systems)
    weyl = float(monitoring_spectrum(difference(*systems))[0])
    return {
        "overlap": overlap(then, later, rank),
        "overlap_random": random_overlap(rank, later.system.state_dim),
        "weyl": weyl,
    }
