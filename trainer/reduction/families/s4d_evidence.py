"""What a person sees of one S4D layer before a cut: responses, and a bound against the gain."""

from typing import Any

import numpy as np

from hankelboard.trainer.reduction.families.s4d_reduction import (
    UNIFORM,
    S4dReduction,
    channel_systems,
    frequencies,
    responses,
)
from hankelboard.trainer.reduction.linear.conjugate_pairs import doubled
from hankelboard.trainer.reduction.linear.hankel import peak_gain
from hankelboard.trainer.reduction.reducible import Arrays, FloatArray

SHOWN_ANGLES = 128
LOUDEST = 3
"""Channels among which the largest gain is looked for."""


def inspect(parameters: Arrays, reduction: S4dReduction) -> dict[str, Any]:
    """Return what a person sees before a cut, of the real map u -> y: the largest channel decides everywhere.

    Returns
    -------
    evidence : dict
        `gain`: ‖G‖_H∞; `response`: over `omega` in [0, π] the largest modulus of a channel of the
        layer (`full`), of the reduced layer (`reduced`) and of their difference (`error`); and for balanced
        truncation `error_interval`: [max_h σ_{m+1}, 2 max_h Σ_{i>m} σ_i], between which ‖G − G_r‖_H∞ lies,
        with what rounding adds.
    """
    own = frequencies(parameters)  # (H, F)
    grid = _shown(own)  # (F',)
    omegas = np.broadcast_to(grid, (len(own), len(grid)))
    full, reduced = responses(parameters, omegas), responses(reduction.parameters, omegas)  # (H, F')
    curves = {"full": full, "reduced": reduced, "error": full - reduced}
    response = {name: np.abs(G).max(axis=0).tolist() for name, G in curves.items()}
    gain = _gain(parameters, own)
    seen = {"gain": gain, "response": {"omega": grid.tolist(), **response}}
    within = reduction.error_interval
    return seen if within is None else seen | {"error_interval": within}


def _gain(parameters: Arrays, own: FloatArray) -> float:
    """Return the largest gain of a channel: of the strongest on the grid, as `peak_gain` finds it."""
    strongest = np.argsort(np.abs(responses(parameters, own)).max(axis=1))[-LOUDEST:]
    systems = channel_systems({name: values[strongest] for name, values in parameters.items()})
    return max(peak_gain(doubled(system)) for system in systems)


def _shown(own: FloatArray) -> FloatArray:
    """Return uniform frequencies and pole angles of all channels, or some of many; ascending."""
    angles = np.unique(own[:, UNIFORM:])
    return np.unique(np.concatenate([own[0, :UNIFORM], angles[:: 1 + len(angles) // SHOWN_ANGLES]]))
