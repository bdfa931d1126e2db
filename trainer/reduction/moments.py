"""Adam's average squares across a change of coordinates, g' = Σ_i w_i g_i: what is mean and what is noise.

    v' = m'² + Σ_i w_i² (v_i − m_i²)₊,   m' = Σ_i w_i m_i

Averages add up coherently, and m' knows that; what varies about them does not, as far as it is independent.
With the larger of Σ w² v and m'² instead, what varies would be lost wherever m'² is larger: there
|m'|/√v' = 1, as at a first step, where the true ratio stays far below.
"""

import numpy as np

from hankelboard.trainer.reduction.reducible import Arrays, FloatArray


def variances(first: Arrays, second: Arrays) -> dict[str, FloatArray]:
    """Return (v − m²)₊ by the names of `second`; a missing m counts as 0.

    Parameters
    ----------
    first, second : dict
        Bias-corrected averages of the gradient and of its square, by parameter name.
    """
    return {
        name: np.maximum(square - first[name] ** 2, 0.0) if name in first else square
        for name, square in second.items()
    }


def squares(first: Arrays, variance: Arrays) -> dict[str, FloatArray]:
    """Return m² + variance by the names of `variance`; a missing m counts as 0."""
    return {name: first[name] ** 2 + spread if name in first else spread for name, spread in variance.items()}
