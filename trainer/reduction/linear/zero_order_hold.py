"""Zero-order hold in double precision: discrete modes to continuous parameters and back, and gradients.

    λ = exp(Δ A),   φ = (λ − 1) / A,   A = −exp(a) + i ω,   A = log λ / Δ

One of the matrices of a layer carries φ: ρ = C φ in S4D, B̄ = φ B in S5.

Gradients with respect to a complex quantity z are g = dL/dRe z + i dL/dIm z. Average squares of gradients
are complex numbers here: those of real parts as the real part, those of imaginary ones as the imaginary part.
"""

from dataclasses import dataclass

import numpy as np

from hankelboard.trainer.reduction.linear.hankel import ComplexArray
from hankelboard.trainer.reduction.reducible import FloatArray

SMALLEST_MODULUS = 1e-17
"""Moduli of λ below this are written as this: log 0 is no number to train, and 1e-17 changes no digit of an
impulse response."""
NEGLIGIBLE = 1e-100
"""What is smaller is not divided by: no gradient came through it."""


@dataclass(frozen=True, eq=False)
class Hold:
    """Continuous modes and their steps; all arrays of one shape, Δ broadcast to it."""

    A: ComplexArray
    """Re A < 0."""
    dt: FloatArray
    """Δ > 0."""

    @property
    def logarithms(self) -> ComplexArray:
        """log λ = Δ A."""
        product: ComplexArray = self.dt * self.A
        return product

    @property
    def eigenvalues(self) -> ComplexArray:
        """λ."""
        return np.exp(self.logarithms)

    @property
    def gain(self) -> ComplexArray:
        """φ = (λ − 1) / A."""
        gain: ComplexArray = np.expm1(self.logarithms) / self.A
        return gain

    @property
    def gain_slope(self) -> ComplexArray:
        """dφ/dA = (Δ λ − φ) / A."""
        slope: ComplexArray = (self.dt * self.eigenvalues - self.gain) / self.A
        return slope

    def parameters(self) -> tuple[FloatArray, FloatArray]:
        """Return a = log(−Re A) and ω = Im A."""
        return np.log(-self.A.real), self.A.imag.copy()


def from_parameters(A_re_log: FloatArray, A_im: FloatArray, dt: FloatArray) -> Hold:
    """Return the modes of a layer's parameters. Raise ValueError where one is not finite."""
    for name, values in {"A_re_log": A_re_log, "A_im": A_im, "log_dt": dt}.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{name} holds a value that is not finite")
    return Hold(-np.exp(A_re_log) + 1j * A_im, np.broadcast_to(dt, A_im.shape))


def from_eigenvalues(eigenvalues: ComplexArray, dt: FloatArray) -> Hold:
    """Return the modes with λ = exp(Δ A), Im A in (−π/Δ, π/Δ]: a real pole below 0 has Im A = π/Δ.

    Raises
    ------
    ValueError
        If a modulus is not below 1.

    >>> hold = from_eigenvalues(np.array([0.5, -0.5, 0.0], complex), np.ones(3))
    >>> np.allclose(hold.eigenvalues, [0.5, -0.5, 0.0], atol=1e-15, rtol=0.0)
    True
    """
    modulus = np.maximum(np.abs(eigenvalues), SMALLEST_MODULUS)
    if not (modulus < 1.0).all():
        raise ValueError(f"an eigenvalue has modulus {modulus.max():.16g}: it must be below 1")
    A = (np.log(modulus) + 1j * np.angle(eigenvalues)) / dt
    return Hold(A, np.broadcast_to(dt, A.shape))


@dataclass(frozen=True, eq=False)
class HoldGradients:
    """Gradients, or average squares of them, of λ and of a matrix that carries φ, one row for each mode."""

    eigenvalues: ComplexArray
    """(N,)."""
    carried: ComplexArray
    """(N, K)."""


def discrete_gradients(hold: Hold, matrix: ComplexArray, given: HoldGradients) -> HoldGradients:
    """Return gradients of λ and φ X from those of A and X, with Δ fixed; X = `matrix`, (N, K)."""
    carried = _over(given.carried, hold.gain.conj()[:, None])  # (N, K)
    through_gain = (matrix.conj() * carried).sum(axis=1) * hold.gain_slope.conj()  # (N,)
    eigenvalues = _over(given.eigenvalues - through_gain, (hold.dt * hold.eigenvalues).conj())  # (N,)
    return HoldGradients(eigenvalues, carried)


def continuous_gradients(hold: Hold, matrix: ComplexArray, given: HoldGradients) -> HoldGradients:
    """Return gradients of A and X from those of λ and φ X: the inverse of `discrete_gradients`."""
    through_gain = (matrix.conj() * given.carried).sum(axis=1) * hold.gain_slope.conj()  # (N,)
    eigenvalues = (hold.dt * hold.eigenvalues).conj() * given.eigenvalues + through_gain  # (N,)
    return HoldGradients(eigenvalues, given.carried * hold.gain.conj()[:, None])


def step_gradients(hold: Hold, matrix: ComplexArray, given: HoldGradients) -> FloatArray:
    """Return gradients of log Δ from those of λ and φ X, (N,): dλ = λ Δ A d log Δ, d(φ X) = λ Δ X d log Δ."""
    slope = hold.eigenvalues * hold.dt  # (N,)
    through_matrix = ((slope[:, None] * matrix).conj() * given.carried).sum(axis=1)  # (N,)
    total: FloatArray = ((slope * hold.A).conj() * given.eigenvalues + through_matrix).real
    return total


def step_squares(hold: Hold, matrix: ComplexArray, given: HoldGradients) -> FloatArray:
    """Return average squares for log Δ from those for λ and φ X, (N,)."""
    slope = hold.eigenvalues * hold.dt  # (N,)
    through_matrix = turned_squares((slope[:, None] * matrix).conj(), given.carried).real.sum(axis=1)
    total: FloatArray = turned_squares((slope * hold.A).conj(), given.eigenvalues).real + through_matrix
    return total


def discrete_squares(hold: Hold, given: HoldGradients) -> HoldGradients:
    """Average squares for λ and φ X from those for A and X; what A does through φ is left out (1/2l of the
    rest at step l)."""
    per_pole, per_row = hold.dt * hold.eigenvalues, hold.gain[:, None]
    one = np.ones((), dtype=np.complex128)
    return HoldGradients(
        turned_squares(_over(one, per_pole.conj()), given.eigenvalues),
        turned_squares(_over(one, per_row.conj()), given.carried),
    )


def continuous_squares(hold: Hold, given: HoldGradients) -> HoldGradients:
    """Return average squares for A and X from those for λ and φ X."""
    return HoldGradients(
        turned_squares((hold.dt * hold.eigenvalues).conj(), given.eigenvalues),
        turned_squares(hold.gain.conj()[:, None], given.carried),
    )


def turned_squares(factors: ComplexArray, squares: ComplexArray) -> ComplexArray:
    """Return average squares of both parts of factor · g, for independent parts of g."""
    a, b = factors.real**2, factors.imag**2
    turned: ComplexArray = a * squares.real + b * squares.imag + 1j * (b * squares.real + a * squares.imag)
    return turned


def _over(values: ComplexArray, by: ComplexArray) -> ComplexArray:
    negligible = np.abs(by) < NEGLIGIBLE
    quotient: ComplexArray = np.where(negligible, 0.0, values / np.where(negligible, 1.0, by))
    return quotient
