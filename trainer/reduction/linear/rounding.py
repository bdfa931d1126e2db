"""What rounding adds to the error bound of a balanced truncation, to first order in ε = (2 N + 8) · 2⁻⁵².

Gramians and their factors are known entry by entry, |ΔP_ij| <= ε √(P_ii P_jj). With σ = uᴴ L_oᴴ L_c z,

    |Δσ_i²| <= ε (Σ_n |L_o u_i|_n √P_nn)² + ε (Σ_n |L_c z_i|_n √Q_nn)²

which is much only where a Gramian is nearly singular: poles that nearly meet, seen by one input or output.
Balancing, the way to diagonal form and the last digits of parameters change A_r by Σ^{-½} F Σ^{-½} with
‖F‖ <= ε Π, Π = Σ_n √(P_nn Q_nn). As A_r Σ A_rᴴ + B_r B_rᴴ = Σ, at every z on the circle

    ‖Σ^{-½} (z − A_r)⁻¹ B_r‖² <= 2 κ / δ + 1,   κ = cond(E),   δ = 1 − max |λ|

and so for ‖C_r (z − A_r)⁻¹ Σ^{-½}‖²: the response moves by at most ε Π κ (2 / δ + 1), where that is small. A
pole 1e-9 from the circle costs 7 digits of the gain, however little is discarded. σ_{r+1} and 2 Σ_{i>r} σ_i,
between which the H∞ error of exact arithmetic lies, are given with these allowances. Attacks with poles up to
1e-13 from the circle and clusters down to 1e-12 needed a third of ε. What a layer of single precision rounds
is not in them: see its `verify`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hankelboard.trainer.reduction.linear.hankel import ComplexArray
from hankelboard.trainer.reduction.reducible import FloatArray


def epsilon(state_dim: int) -> float:
    """Return ε."""
    return (2 * state_dim + 8) * float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class ErrorBounds:
    """Hankel singular values of a system and how far rounding may have moved them."""

    hsv: FloatArray
    """(N,) descending."""
    doubt: FloatArray
    """(N,) the most by which each may be larger or smaller."""
    mass: float
    """Π, Hankel singular values of the modes one by one, added up."""
    gap: float
    """δ of the system."""

    def interval(self, order: int, condition: float, gap: float) -> tuple[float, float]:
        """Return least and largest ‖G − G_r‖_H∞ at this order; inf where rounding may have moved anything.

        Parameters
        ----------
        order : int
            Kept states; with all of them the system is left as it is.
        condition, gap : float
            κ and δ of the reduced system.
        """
        if order == len(self.hsv):
            return 0.0, 0.0
        lost, doubt = self.hsv[order:], self.doubt[order:]
        rounding = self.rounding(condition, gap) if order else 0.0
        least = float(lost[0] - doubt[0]) - rounding
        return max(0.0, least), 2.0 * float(lost.sum() + doubt.sum()) + rounding

    def rounding(self, condition: float, gap: float) -> float:
        """Return by how much the response of a reduced system may differ from the exact one's."""
        distance = min(gap, self.gap)
        if not distance > 0.0:
            return float("inf")
        return epsilon(len(self.hsv)) * condition * self.mass * (2.0 / distance + 1.0)


def error_bounds(
    L_c: ComplexArray | FloatArray, L_o: ComplexArray | FloatArray, U: ComplexArray | FloatArray,
    Z: ComplexArray | FloatArray, hsv: FloatArray, scales: tuple[FloatArray, FloatArray], gap: float,
) -> ErrorBounds:  # fmt: skip
    """Return the bounds of a system whose Gramians are L_c L_cᴴ and L_o L_oᴴ, with L_oᴴ L_c = U Σ Zᴴ.

    Parameters
    ----------
    L_c, L_o, U, Z : (N, N)
    hsv : (N,)
    scales : (N,) each
        √P_nn and √Q_nn, to which the entries of the Gramians are rounded.
    gap : float
        1 − max |λ|.
    """
    p, q = scales
    relative = epsilon(len(hsv))
    moved = (p @ np.abs(L_o @ U)) ** 2 + (q @ np.abs(L_c @ Z)) ** 2  # (N,) of σ², over ε
    doubt = np.sqrt(hsv**2 + relative * moved) - hsv + relative * hsv[0]  # (N,)
    return ErrorBounds(hsv, doubt, float(p @ q), gap)


def finite(bounds: Sequence[float]) -> list[float] | None:
    """Return bounds of all ranks, or of one cut, or None where rounding leaves nothing to be said."""
    return list(bounds) if np.isfinite(bounds).all() else None
