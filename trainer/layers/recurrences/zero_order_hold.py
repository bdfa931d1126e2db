"""Zero-order hold: a continuous diagonal system seen at steps of Δ, differentiable.

x' = A x + B u,   u constant within a step
x[t] = λ ∘ x[t−1] + φ ∘ B u[t],   λ = exp(Δ A),   φ = (λ − 1) / A
"""

import torch
from torch import Tensor


def poles(A_re_log: Tensor, A_im: Tensor) -> Tensor:
    """Return A = −exp(A_re_log) + i A_im, complex: Re A < 0 for every value of the parameters."""
    return torch.complex(-A_re_log.exp(), A_im)


def hold(A: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
    """Return log λ = Δ A and φ = (exp(Δ A) − 1) / A, of the shape of A.

    The numerator is (e^a − 1) cos b − 2 sin²(b/2) + i e^a sin b for Δ A = a + ib: a difference of numbers
    near 1 would lose 4 of the 7 digits of single precision at Δ = 1e-3.

    >>> hold(torch.tensor([-1.0 + 0j]), torch.tensor([1e-3]))[1].real * 1e3
    tensor([0.9995])
    """
    logarithms = dt * A
    a, b = logarithms.real, logarithms.imag
    real = torch.expm1(a) * torch.cos(b) - 2.0 * torch.sin(0.5 * b).square()
    return logarithms, torch.complex(real, a.exp() * torch.sin(b)) / A
