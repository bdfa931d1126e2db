"""The parameters of a linear recurrent unit (LRU): to a system, back, and Adam's moments across a cut.

    λ = exp(−exp(nu_log) + i exp(theta_log)),   B = exp(gamma_log) ∘ (B_re + i B_im),   C = C_re + i C_im
    y = Re(C x) + D ∘ u

Orvieto et al. 2023 (arXiv 2303.06349). All arrays float64: nu_log, theta_log, gamma_log (N,), B_re and
B_im (N, H), C_re and C_im (M, N), D (M,).

Gradients with respect to a complex quantity z are g = dL/dRe z + i dL/dIm z, so dL = Re(ḡ dz).
"""

import numpy as np

from hankelboard.trainer.reduction.linear.hankel import ComplexArray, DiagonalSystem
from hankelboard.trainer.reduction.linear.truncation import Truncation, median_row_norm, scale_modes
from hankelboard.trainer.reduction.reducible import Arrays, FloatArray

Parameters = dict[str, FloatArray]

SYSTEM_NAMES = ("nu_log", "theta_log", "gamma_log", "B_re", "B_im", "C_re", "C_im")
"""Parameters that change with the state dimension; every other one (D) is left alone."""
SMALLEST_MODULUS = 1e-300
"""λ = 0 has ν = ∞; moduli below this are written as this, which changes the map by as little."""
EIGENVALUE_GAP = 1e-4
"""|λ_j − λ_i| below which off-diagonal gradients are damped; 1e-3 cost exact gradients 0.001 in cosine."""
NEGLIGIBLE = 1e-100
"""ν, θ, γ and |λ| below this are not divided by when moments are transported."""
ANGLE_RESOLUTION = 1e-15
"""Angles below this are rounding of a real positive λ: θ = 2π instead of a logarithm near −35."""


def system_from_parameters(parameters: Arrays) -> DiagonalSystem:
    """Return the layer's linear map u -> C x, with γ folded into B and log λ kept to all its digits.

    Raises
    ------
    ValueError
        If a value is not finite, a shape is wrong, or a modulus is >= 1.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # ν = inf is λ = 0; what is not finite is refused
        logarithms = _logarithms(parameters)  # (N,)
        eigenvalues = np.exp(logarithms)  # (N,)
        B = np.exp(parameters["gamma_log"])[:, None] * _complex(parameters, "B")  # (N, H)
    return DiagonalSystem(eigenvalues, B, _complex(parameters, "C"), logarithms)


def parameters_from_system(eigenvalues: ComplexArray, B: ComplexArray, C: ComplexArray) -> Parameters:
    """Return LRU parameters of a diagonal system; the map is unchanged.

        ν = −log|λ|,   θ = arg λ mod 2π,   γ = sqrt(1 − |λ|²),   B̃ = B / γ

    For real positive λ, θ = 2π: log 0 is −inf and turns into NaN in AdamW. A modulus below 1e-300 is written
    as 1e-300.

    Parameters
    ----------
    eigenvalues : (N,) complex128
        Every modulus < 1.
    B : (N, H) complex128
        With the input normalisation folded in.
    C : (M, N) complex128

    Returns
    -------
    parameters : dict
        nu_log, theta_log, gamma_log (N,), B_re, B_im (N, H), C_re, C_im (M, N); float64, finite.

    Raises
    ------
    ValueError
        If the system is invalid.

    >>> parameters = parameters_from_system(np.array([0.5]), np.array([[1.0]]), np.array([[3.0]]))
    >>> round(float(np.exp(parameters["theta_log"][0]) / np.pi), 12)
    2.0
    """
    system = DiagonalSystem(eigenvalues, B, C)
    nu = np.minimum(-system.logarithms.real, -np.log(SMALLEST_MODULUS))  # (N,)
    angle = np.mod(np.angle(system.eigenvalues), 2.0 * np.pi)  # (N,)
    theta = np.where(angle < ANGLE_RESOLUTION, 2.0 * np.pi, angle)
    gamma = _gamma(nu)
    normalised = system.B / gamma[:, None]  # (N, H)
    return {
        "nu_log": np.log(nu),
        "theta_log": np.log(theta),
        "gamma_log": np.log(gamma),
        "B_re": normalised.real.copy(),
        "B_im": normalised.imag.copy(),
        "C_re": system.C.real.copy(),
        "C_im": system.C.imag.copy(),
    }


def with_lru_scale(parameters: Arrays, truncation: Truncation) -> Truncation:
    """Scale rows of B̃' = B'/γ' to the median row norm of B̃, which is what the optimizer sees.

    Rank N is left as it is.
    """
    if truncation.rank == parameters["nu_log"].size:
        return truncation
    gamma = _gamma(-np.log(np.maximum(np.abs(truncation.eigenvalues), SMALLEST_MODULUS)))  # (r,)
    return scale_modes(truncation, gamma * median_row_norm(_complex(parameters, "B")))


def reduced_parameters(parameters: Arrays, truncation: Truncation) -> Parameters:
    """Return all parameters after the cut, D included; unchanged copies at rank N, digits of ν included."""
    kept = {name: values.copy() for name, values in parameters.items()}
    if truncation.rank == parameters["nu_log"].size:
        return kept
    return kept | parameters_from_system(truncation.eigenvalues, truncation.B, truncation.C)


def transport_first_moments(parameters: Arrays, truncation: Truncation, moments: Arrays) -> Parameters:
    """Return Adam's average gradient, carried into the coordinates of the reduced layer.

        g_B' = V_nᴴ g_B,   g_C' = g_C W_n,   g_λ' = diag(V_nᴴ G_A W_n)

    with the chain rule on both sides: g_B = g_B̃/γ, g_γ_log = Re Σ_h B̄_h g_B,h, and for log λ = −ν + iθ,
    g_ν_log = −ν Re g_logλ and g_θ_log = θ Im g_logλ. Exact for average gradients up to the discarded
    states. G_A is the gradient of the dense A, see `_state_matrix_gradient`.

    Parameters
    ----------
    parameters : dict
        The layer's parameters before the cut.
    truncation : Truncation
        From `with_lru_scale`, as it is written back.
    moments : dict
        First moments by parameter name, shapes as the parameters; names may be missing and then count as 0.

    Returns
    -------
    moments : dict
        By the same names, shapes of the reduced layer. D is unchanged.
    """
    after = reduced_parameters(parameters, truncation)
    given = _complete(parameters, moments)
    if truncation.rank == parameters["nu_log"].size:
        return _restricted(given, moments)
    per_gamma = _factors(parameters)[2]  # (N,)
    G_A = _state_matrix_gradient(parameters, given)  # (N, N)
    g_log = (truncation.V_n.conj() * (G_A @ truncation.W_n)).sum(axis=0)  # (r,) of λ'
    g_log = truncation.eigenvalues.conj() * g_log  # (r,) of log λ'
    g_B = _input_weights(truncation, per_gamma, after) @ _complex(given, "B")  # (r, H)
    g_C = _complex(given, "C") @ truncation.W_n  # (M, r)
    return _restricted(
        given
        | {
            "nu_log": -np.exp(after["nu_log"]) * g_log.real,
            "theta_log": np.exp(after["theta_log"]) * g_log.imag,
            "gamma_log": (after["B_re"] * g_B.real + after["B_im"] * g_B.imag).sum(axis=1),
            "B_re": g_B.real,
            "B_im": g_B.imag,
            "C_re": g_C.real,
            "C_im": g_C.imag,
        },
        moments,
    )


def transport_second_moments(parameters: Arrays, truncation: Truncation, moments: Arrays) -> Parameters:
    """Return Adam's average squared gradient, carried over by the squared weights of the first moments' rule.

    For g' = Σ_i w_i g_i with w = a + ib and independent real and imaginary parts, for λ' over g_λ,i alone
    (weights V̄_ik W_ik),

        v'_re = Σ_i a_i² v_re,i + b_i² v_im,i        v'_im = Σ_i b_i² v_re,i + a_i² v_im,i

    Parameters and returns as in `transport_first_moments`; everything returned is finite and >= 0.
    """
    after = reduced_parameters(parameters, truncation)
    given = _complete(parameters, moments)
    if truncation.rank == parameters["nu_log"].size:
        return _restricted(given, moments)
    per_nu, per_theta, per_gamma = _factors(parameters)  # (N,)
    v_decay, v_angle = _squared(
        _eigenvalue_weights(parameters, truncation),
        given["nu_log"] * per_nu**2,
        given["theta_log"] * per_theta**2,
    )  # (r,)
    input_weights = _input_weights(truncation, per_gamma, after)  # (r, N)
    v_B_re, v_B_im = _squared(input_weights, given["B_re"], given["B_im"])  # (r, H)
    v_C_re, v_C_im = _squared(truncation.W_n.T, given["C_re"].T, given["C_im"].T)  # (r, M)
    return _restricted(
        given
        | {
            "nu_log": np.exp(2.0 * after["nu_log"]) * v_decay,
            "theta_log": np.exp(2.0 * after["theta_log"]) * v_angle,
            "gamma_log": (after["B_re"] ** 2 * v_B_re + after["B_im"] ** 2 * v_B_im).sum(axis=1),
            "B_re": v_B_re,
            "B_im": v_B_im,
            "C_re": v_C_re.T.copy(),
            "C_im": v_C_im.T.copy(),
        },
        moments,
    )


def _state_matrix_gradient(parameters: Arrays, gradient: Arrays) -> ComplexArray:
    """Return gradient G_A of the dense state matrix at A = diag(λ), from the gradients of the parameters.

        (G_A)_ii = g_λ,i        (G_A)_ij (λ̄_j − λ̄_i) = (Cᴴ G_C − G_B Bᴴ)_ij

    No loss changes when the state is expressed in another basis, A -> T A T⁻¹, B -> T B, C -> C T⁻¹; at T = I
    this reads G_A Aᴴ − Aᴴ G_A + G_B Bᴴ − Cᴴ G_C = 0, hence the second equation. Averages over steps obey it
    only nearly, because the parameters moved meanwhile: the division is damped below |λ_j − λ_i| = 1e-4.
    Without the off-diagonal part the transported g_λ' had a cosine of 0.2 to 0.9 with the true one.
    """
    per_nu, per_theta, per_gamma = _factors(parameters)  # (N,)
    eigenvalues, per_eigenvalue = _eigenvalues(parameters)  # (N,)
    B = _complex(parameters, "B") / np.where(per_gamma > 0.0, per_gamma, 1.0)[:, None]  # (N, H)
    G_B = _complex(gradient, "B") * per_gamma[:, None]  # (N, H)
    residual = _complex(parameters, "C").conj().T @ _complex(gradient, "C") - G_B @ B.conj().T  # (N, N)
    gap = eigenvalues[None, :] - eigenvalues[:, None]  # (N, N) λ_j − λ_i
    G_A = residual * gap / (np.abs(gap) ** 2 + EIGENVALUE_GAP**2)  # (N, N), zero diagonal
    g_log = -gradient["nu_log"] * per_nu + 1j * gradient["theta_log"] * per_theta  # (N,)
    np.fill_diagonal(G_A, g_log * per_eigenvalue.conj())
    return G_A


def _eigenvalue_weights(parameters: Arrays, truncation: Truncation) -> ComplexArray:
    """Return (r, N) weights: g_logλ' = weights @ g_logλ for the diagonal of G_A: λ̄'_k V̄_ik W_ik / λ̄_i."""
    weights = truncation.eigenvalues.conj()[:, None] * (truncation.V_n.conj() * truncation.W_n).T  # (r, N)
    return weights * _eigenvalues(parameters)[1].conj()


def _eigenvalues(parameters: Arrays) -> tuple[ComplexArray, ComplexArray]:
    """Return λ and 1/λ, the latter 0 where |λ| is negligible, (N,) each."""
    eigenvalues = np.exp(_logarithms(parameters))  # (N,)
    vanished = np.abs(eigenvalues) < NEGLIGIBLE
    return eigenvalues, np.where(vanished, 0.0, 1.0 / np.where(vanished, 1.0, eigenvalues))


def _input_weights(truncation: Truncation, per_gamma: FloatArray, after: Arrays) -> ComplexArray:
    """Return (r, N) weights of g_B̃' = weights @ g_B̃: γ'_k V̄_ik / γ_i."""
    weights: ComplexArray = np.exp(after["gamma_log"])[:, None] * truncation.V_n.conj().T * per_gamma
    return weights


def _squared(weights: ComplexArray, real: FloatArray, imaginary: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return variances of Re and Im of weights @ (x + iy) from the variances of x and y."""
    a, b = weights.real**2, weights.imag**2
    return a @ real + b @ imaginary, b @ real + a @ imaginary


def _gamma(nu: FloatArray) -> FloatArray:
    """Return sqrt(1 − e^{−2ν}), without cancellation for small ν."""
    return np.sqrt(-np.expm1(-2.0 * nu))


def _logarithms(parameters: Arrays) -> ComplexArray:
    logarithms: ComplexArray = -np.exp(parameters["nu_log"]) + 1j * np.exp(parameters["theta_log"])
    return logarithms


def _complex(arrays: Arrays, name: str) -> ComplexArray:
    combined: ComplexArray = arrays[f"{name}_re"] + 1j * arrays[f"{name}_im"]
    return combined


def _inverse(values: FloatArray) -> FloatArray:
    """Return 1 / values, and 0 where the value is negligible: no gradient came through it."""
    negligible = values < NEGLIGIBLE
    return np.where(negligible, 0.0, 1.0 / np.where(negligible, 1.0, values))


def _factors(parameters: Arrays) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return 1/ν, 1/θ, 1/γ of every state, (N,) each."""
    nu, theta, gamma = (_inverse(np.exp(parameters[name])) for name in ("nu_log", "theta_log", "gamma_log"))
    return nu, theta, gamma


def _complete(parameters: Arrays, moments: Arrays) -> Parameters:
    """Return moments of all parameters as float64, zeros where none is given."""
    return {
        name: np.asarray(moments.get(name, np.zeros_like(values)), dtype=np.float64)
        for name, values in parameters.items()
    }


def _restricted(arrays: Arrays, moments: Arrays) -> Parameters:
    return {name: arrays[name].copy() for name in moments}
