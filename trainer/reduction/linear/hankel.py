"""Gramians, Hankel singular values and frequency response of a stable diagonal system.

    x[k+1] = diag(λ) x[k] + B u[k],   y[k] = C x[k]

Everything here is the complex map u -> C x. A layer that outputs Re(C x) has at most its gain.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy.linalg import blas, lapack

from hankelboard.trainer.reduction.linear.blas_threads import one_blas_thread
from hankelboard.trainer.reduction.reducible import FloatArray

ComplexArray = npt.NDArray[np.complex128]
Gramian = TypeVar("Gramian", FloatArray, ComplexArray)

PEAK_GRID = 256
"""Uniform frequencies of `peak_gain`, in addition to the pole angles."""
POWER_ITERATIONS = 6
EXACT_PEAKS = 8
CLIMBED = 3
"""Of the exact peaks, those that are climbed."""
CLIMBS = 2
"""Rounds of a climb: singular vectors are taken anew at the summit that they led to."""
DIRECTIONS = 4
"""Singular vectors that are followed."""
HALVINGS, NARROWINGS = 40, 4
"""Offsets of a climb, down to 2⁻⁴⁰ of the way to the next frequency of the grid; rounds of its search."""


@dataclass(frozen=True, eq=False)
class DiagonalSystem:
    """A stable diagonal system, checked when it is made.

    Raises
    ------
    ValueError
        If there is no state, input or output, shapes disagree, a value is not finite, or a modulus is >= 1.
    """

    eigenvalues: ComplexArray
    """(N,) λ, the diagonal of A. Every modulus must be < 1."""
    B: ComplexArray
    """(N, H) input matrix with its normalisation folded in."""
    C: ComplexArray
    """(M, N) output matrix."""
    log_eigenvalues: ComplexArray | None = None
    """(N,) log λ where it is known: 1 − |λ| then keeps its digits below the 1e-16 that λ itself resolves."""

    def __post_init__(self) -> None:
        if self.log_eigenvalues is None:
            with np.errstate(divide="ignore"):  # λ = 0 has the logarithm −inf, which expm1 takes
                logarithms = np.log(np.asarray(self.eigenvalues, dtype=np.complex128))
        else:
            logarithms = np.asarray(self.log_eigenvalues, dtype=np.complex128)
        object.__setattr__(self, "log_eigenvalues", logarithms)
        for name in ("eigenvalues", "B", "C"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.complex128))
        self._check()

    def _check(self) -> None:
        if self.eigenvalues.ndim != 1 or self.eigenvalues.size == 0:
            raise ValueError(f"eigenvalues have shape {self.eigenvalues.shape}: need (N,) with N >= 1")
        n = self.state_dim
        if self.B.ndim != 2 or self.B.shape[0] != n or self.B.shape[1] == 0:
            raise ValueError(f"B has shape {self.B.shape}: need ({n}, H) for {n} eigenvalues")
        if self.C.ndim != 2 or self.C.shape[1] != n or self.C.shape[0] == 0:
            raise ValueError(f"C has shape {self.C.shape}: need (M, {n}) for {n} eigenvalues")
        if self.logarithms.shape != (n,):
            raise ValueError(f"log_eigenvalues have shape {self.logarithms.shape}: need ({n},)")
        for name in ("eigenvalues", "B", "C"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} holds a value that is not finite")
        stable = self.logarithms.real < 0.0  # False for NaN
        if not stable.all():
            worst = int(np.argmin(stable))
            raise ValueError(
                f"{int(np.count_nonzero(~stable))} of {n} eigenvalues have modulus >= 1: "
                f"the system is not stable (eigenvalue {worst} is {self.eigenvalues[worst]})"
            )

    @property
    def state_dim(self) -> int:
        """States, N."""
        return len(self.eigenvalues)

    @property
    def logarithms(self) -> ComplexArray:
        """(N,) log λ, given or computed; −inf for λ = 0."""
        assert self.log_eigenvalues is not None
        return self.log_eigenvalues

    @property
    def gap(self) -> float:
        """1 − max |λ|, the distance to the circle, to all its digits."""
        return float(-np.expm1(self.logarithms.real.max()))


def gramians(system: DiagonalSystem, *, horizon: int | None = None) -> tuple[ComplexArray, ComplexArray]:
    """Return controllability and observability Gramian in closed form.

        P_ij = (B Bᴴ)_ij / (1 − λ_i λ̄_j)        Q_ij = (Cᴴ C)_ij / (1 − λ̄_i λ_j)

    solve A P Aᴴ − P + B Bᴴ = 0 and Aᴴ Q A − Q + Cᴴ C = 0 for A = diag(λ). The denominators are made of log λ,
    so nothing cancels as |λ| -> 1.

    Parameters
    ----------
    system : DiagonalSystem
    horizon : int, optional
        Sums the first `horizon` steps only: entry ij is multiplied by 1 − (λ_i λ̄_j)^horizon. The error
        bound and the stability of a truncation are then no longer guaranteed.

    Returns
    -------
    P, Q : (N, N) complex128, exactly Hermitian, positive semidefinite up to rounding

    Raises
    ------
    ValueError
        If the horizon is below 1, or a Gramian overflows.
    """
    if horizon is not None and horizon < 1:
        raise ValueError(f"horizon = {horizon}: must be at least 1 step")
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # reported below
        weight = _sums_of_powers(system.logarithms)  # (N, N)
        if horizon is not None:
            powers = _times(system.logarithms, horizon)  # (N,) log λ^horizon
            weight *= -np.expm1(powers[:, None] + powers.conj())
        P = _weighted(blas.zherk(1.0, system.B.T, trans=2, lower=1).T, weight)  # (N, N), Bᵀᴴ Bᵀ transposed
        np.conj(weight, out=weight)
        Q = _weighted(blas.zherk(1.0, system.C.T, lower=1).T, weight)  # (N, N), Cᵀ Cᵀᴴ transposed
    if not (np.isfinite(P).all() and np.isfinite(Q).all()):
        raise ValueError("a Gramian overflows: B or C is too large, or a modulus too close to 1")
    return P, Q


def _sums_of_powers(logarithms: ComplexArray) -> ComplexArray:
    """Return Σ_k (λ_i λ̄_j)^k = 1 / (1 − λ_i λ̄_j) as (N, N), exactly Hermitian, from log λ.

        1 − λ_i λ̄_j = p + 2 (1 − p) (T² − iT) / (1 + T²),   p = 1 − |λ_i λ_j|,   T = tan((θ_i − θ_j) / 2)

    with p by expm1. Real functions take a third of the time of a complex expm1, and are as accurate.
    """
    nu, half_theta = logarithms.real, 0.5 * logarithms.imag  # (N,) log |λ|, θ / 2
    p = -np.expm1(nu[:, None] + nu)  # (N, N)
    T = np.tan(half_theta[:, None] - half_theta)  # (N, N)
    minus_imag = 2.0 * (1.0 - p) * T / (1.0 + T * T)  # (N, N)
    real = p + minus_imag * T  # (N, N)
    squared = real * real + minus_imag * minus_imag  # (N, N)
    sums = np.empty(p.shape, dtype=np.complex128)
    np.divide(real, squared, out=sums.real)
    np.divide(minus_imag, squared, out=sums.imag)
    return sums


def _times(logarithms: ComplexArray, factor: int) -> ComplexArray:
    """Return part by part: as a complex product −inf, of λ = 0, would become NaN."""
    product: ComplexArray = np.empty_like(logarithms)
    product.real, product.imag = factor * logarithms.real, factor * logarithms.imag
    return product


def _weighted(upper: ComplexArray, weight: ComplexArray) -> ComplexArray:
    """Return the Hermitian matrix of this upper triangle, entry by entry times a Hermitian weight."""
    upper *= weight
    whole: ComplexArray = np.conj(upper.T)  # (N, N)
    whole += upper
    np.fill_diagonal(whole, upper.diagonal().real)
    return whole


def factor(G: Gramian) -> Gramian:
    """Return L with G = L Lᴴ for a positive semidefinite G that may be exactly singular.

    Rows without a diagonal entry are left zero, the others equilibrated to a unit diagonal, which keeps the
    digits of weak states. Cholesky first; where a pivot is not positive, eigh with clipping at 0.

    Parameters
    ----------
    G : (N, N) complex128 or float64

    Returns
    -------
    L : (N, N) of the same kind
    """
    scale = np.sqrt(np.clip(G.diagonal().real, 0.0, None))  # (N,)
    kept = np.flatnonzero(scale)
    root = _factor_of_correlations(G[np.ix_(kept, kept)], scale[kept])  # (K, K)
    root *= scale[kept, None]
    if kept.size == scale.size:
        return root
    L = np.zeros_like(G)
    L[np.ix_(kept, np.arange(kept.size))] = root
    return L


def _factor_of_correlations(G: Gramian, scale: FloatArray) -> Gramian:
    potrf = lapack.zpotrf if np.iscomplexobj(G) else lapack.dpotrf
    # LAPACK reads the transpose: its upper factor, transposed back, is L, in the memory of the correlations
    upper, failed = potrf(_correlations(G, scale).T, lower=0, clean=1, overwrite_a=1)  # (K, K)
    root: Gramian = upper.T
    if failed:
        values, vectors = np.linalg.eigh(_correlations(G, scale))
        root = vectors * np.sqrt(np.clip(values, 0.0, None))  # (K, K)
    return root


def _correlations(G: Gramian, scale: FloatArray) -> Gramian:
    """Return G_ij / (scale_i scale_j), by products: numpy divides complex by real as complex by complex."""
    correlations = G * (1.0 / scale[:, None])  # (K, K)
    correlations *= 1.0 / scale
    return correlations


def hankel_singular_values(eigenvalues: npt.ArrayLike, B: npt.ArrayLike, C: npt.ArrayLike) -> FloatArray:
    """Return Hankel singular values of a stable diagonal discrete-time system.

        A P A^H - P + B B^H = 0      controllability
        A^H Q A - Q + C^H C = 0      observability

    They are the singular values of L_o^H L_c with P = L_c L_c^H, Q = L_o L_o^H
    (Antoulas 2005, sec. 7.3). Resolved to about 1e-16 of the largest.

    Parameters
    ----------
    eigenvalues : (N,) complex128
        Diagonal of A. Every modulus must be < 1.
    B : (N, H) complex128
        Input matrix with its normalisation folded in.
    C : (M, N) complex128

    Returns
    -------
    hsv : (N,) float64
        Descending, all >= 0.

    Raises
    ------
    ValueError
        If shapes disagree, a value is not finite, or a modulus is >= 1.

    >>> hankel_singular_values(np.array([0.5]), np.array([[1.0]]), np.array([[3.0]]))
    array([4.])
    """
    P, Q = gramians(DiagonalSystem(*(np.asarray(x, dtype=np.complex128) for x in (eigenvalues, B, C))))
    product: ComplexArray = factor(Q).conj().T @ factor(P)  # (N, N)
    return np.asarray(np.linalg.svd(product, compute_uv=False), dtype=np.float64)


@one_blas_thread
def monitoring_spectrum(system: DiagonalSystem) -> FloatArray:
    """Return Hankel singular values by the cheaper path, for a picture and not for a proposal.

        σ_i² = eigenvalues of L_cᴴ Q L_c,   P = L_c L_cᴴ

    Squares σ: resolved to about 1e-8 of the largest instead of 1e-16. Relative errors up to 2e-5 were seen
    at 1e-7 σ_1, and below 1e-10 above 1e-5 σ_1.

    Returns
    -------
    hsv : (N,) float64, descending, all >= 0
    """
    P, Q = gramians(system)
    L_c = factor(P)  # (N, N)
    squares = np.linalg.eigvalsh(L_c.conj().T @ Q @ L_c)  # (N,) ascending
    hsv: FloatArray = np.sqrt(np.clip(squares[::-1], 0.0, None), dtype=np.float64)
    return hsv


def resolvent(system: DiagonalSystem, omegas: npt.ArrayLike) -> ComplexArray:
    """Return 1 / (e^{iω} − λ_n) as (F, N), without cancellation where a pole touches the unit circle."""
    angles = np.atleast_1d(np.asarray(omegas, dtype=np.float64))[:, None]  # (F, 1)
    weights: ComplexArray = -np.exp(-1j * angles) / np.expm1(system.logarithms - 1j * angles)  # (F, N)
    return weights


def frequency_response(system: DiagonalSystem, omegas: npt.ArrayLike) -> ComplexArray:
    """Return G(e^{iω}) = C (e^{iω} − diag(λ))⁻¹ B of the complex map.

    Parameters
    ----------
    system : DiagonalSystem
    omegas : (F,) float64
        Radians per step.

    Returns
    -------
    response : (F, M, H) complex128
    """
    response: ComplexArray = (system.C * resolvent(system, omegas)[:, None, :]) @ system.B  # (F, M, H)
    return response


def frequency_grid(system: DiagonalSystem, points: int = PEAK_GRID) -> FloatArray:
    """Return uniform frequencies and the pole angles ±θ, in [0, 2π), ascending.

    A uniform grid alone passes between the peaks of slow modes: half the gain was missed with 256 points.
    """
    angles = system.logarithms.imag  # (N,)
    uniform = 2.0 * np.pi * np.arange(points) / points  # (points,)
    return np.unique(np.mod(np.concatenate([uniform, angles, -angles]), 2.0 * np.pi))


def peak_gain(system: DiagonalSystem, *, points: int = PEAK_GRID) -> float:
    """Return largest gain ‖G‖_H∞ = max_ω σ_max(G(e^{iω})) of the complex map: an estimate from below.

    A few power iterations rank the frequencies of `frequency_grid`. From the highest of its peaks the gain is
    followed uphill: where U and V are the 4 leading singular vectors at ω, Uᴴ G V is small, cheap at many
    frequencies, and σ_max is not below its. Seen within 1e-5 of the gain, also of difference systems.

    Parameters
    ----------
    system : DiagonalSystem
    points : int
        Uniform frequencies, in addition to the pole angles.

    Returns
    -------
    gain : float, >= 0
    """
    omegas = frequency_grid(system, points)  # (F,)
    gains = _approximate_gains(system, omegas)  # (F,)
    peaks = np.flatnonzero((gains >= np.roll(gains, 1)) & (gains >= np.roll(gains, -1)))
    best = peaks[np.argsort(gains[peaks])[-EXACT_PEAKS:]]  # (K,)
    turn = 2.0 * np.pi
    reach = (
        np.mod(omegas[[best - 1, (best + 1) % len(omegas)]] - omegas[best] + np.pi, turn) - np.pi
    )  # (2, K)
    exact = np.linalg.norm(frequency_response(system, omegas[best]), ord=2, axis=(1, 2))  # (K,)
    highest = np.argsort(exact)[-CLIMBED:]
    climbed = [_climb(system, omegas[best[peak]], reach[:, peak]) for peak in highest]
    return float(max(exact.max(), *climbed))


def _climb(system: DiagonalSystem, omega: float, reach: FloatArray) -> float:
    """Return the gain at the summit that is near to a frequency, within reach to both sides, (2,)."""
    for _ in range(CLIMBS):
        U, _, Vh = np.linalg.svd(frequency_response(system, omega)[0], full_matrices=False)
        B, C = system.B @ Vh[:DIRECTIONS].conj().T, U[:, :DIRECTIONS].conj().T @ system.C
        omega, gain = _summit(DiagonalSystem(system.eigenvalues, B, C, system.logarithms), omega, reach)
    return gain


def _approximate_gains(system: DiagonalSystem, omegas: FloatArray) -> FloatArray:
    """Return σ_max at each frequency by a few power iterations from one random input, (F,)."""
    weights = resolvent(system, omegas)  # (F, N)
    B, C = system.B, system.C
    x = np.random.default_rng(0).standard_normal((B.shape[1], 2)) @ [1.0, 1.0j]  # (H,)
    state = weights * (B @ x)  # (F, N)
    for _ in range(POWER_ITERATIONS):
        back = weights.conj() * ((state @ C.T) @ C.conj())  # (F, N) = Wᴴ Cᴴ C W B x
        u = back @ B.conj()  # (F, H)
        u /= np.maximum(np.linalg.norm(u, axis=1, keepdims=True), np.finfo(np.float64).tiny)
        state = weights * (u @ B.T)  # (F, N)
    gains: FloatArray = np.linalg.norm(state @ C.T, axis=1)
    return gains


def _summit(system: DiagonalSystem, omega: float, reach: FloatArray) -> tuple[float, float]:
    """Return where the gain of a small system is largest within reach of a frequency, and that gain.

    Offsets fall by a half from step to step, so that a peak as narrow as its pole is near to the circle is
    seen; then the best one's surroundings are searched evenly, again and again.
    """
    offsets = np.sort(np.append(np.outer(reach, 0.5 ** np.arange(1, HALVINGS)), 0.0))
    for _ in range(NARROWINGS):
        gains = np.linalg.norm(frequency_response(system, omega + offsets), ord=2, axis=(1, 2))
        best = int(np.argmax(gains))
        found, gain = float(omega + offsets[best]), float(gains[best])
        low, high = offsets[max(best - 1, 0)], offsets[min(best + 1, len(offsets) - 1)]
        offsets = np.linspace(low, high, 17)
    return found, gain


def difference(system: DiagonalSystem, other: DiagonalSystem) -> DiagonalSystem:
    """Return the system whose response is G_system − G_other, of order N + N'."""
    return DiagonalSystem(
        np.concatenate([system.eigenvalues, other.eigenvalues]),
        np.concatenate([system.B, other.B]),
        np.concatenate([system.C, -other.C], axis=1),
        np.concatenate([system.logarithms, other.logarithms]),
    )
