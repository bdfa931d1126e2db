"""Channels that are each a system of their own: one input, one output, stored modes of conjugate pairs.

    x[t] = λ ∘ x[t−1] + u[t],   x[−1] = 0,   y[t] = 2 Re Σ_n ρ_n x[t]_n        for every channel
    K[l] = 2 Re Σ_n ρ_n λ_n^l,   y[t] = Σ_{l=0}^{t} K[l] u[t−l]

`siso_sequential` is the first line as it stands, the reference of the tests; `siso_kernel` and
`siso_convolution` are the second, on any device, in single or double precision.
"""

import math

import torch
from torch import Tensor

from hankelboard.trainer.layers.recurrences.layout import ordered
from hankelboard.trainer.layers.recurrences.precision import in_float32, recurrence


def siso_sequential(u: Tensor, logarithms: Tensor, residues: Tensor) -> Tensor:
    """Return the systems, one step after the other.

    Parameters
    ----------
    u : (batch, L, H) float
        L >= 1.
    logarithms : (H, N) complex
        log λ, finite.
    residues : (H, N) complex
        ρ.

    Returns
    -------
    y : (batch, L, H) float
    """
    x = logarithms.new_zeros(len(u), *logarithms.shape)  # (batch, H, N)
    outputs = []
    for v in u.unbind(1):  # (batch, H) each
        y, x = siso_step(v, logarithms, residues, x)
        outputs.append(y)
    return torch.stack(outputs, dim=1)  # (batch, L, H)


@in_float32
def siso_step(u: Tensor, logarithms: Tensor, residues: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return y (batch, H) and the next state (batch, H, N) for inputs u (batch, H) and the state x."""
    x = logarithms.exp() * x + u[..., None]  # (batch, H, N)
    return 2.0 * (residues * x).sum(dim=-1).real, x


@recurrence
def siso_kernel(logarithms: Tensor, residues: Tensor, length: int) -> Tensor:
    """Return K[l] = 2 Re Σ_n ρ_n λ_n^l for l = 0 .. L − 1, (H, L).

    With l = q T + j, T about √L, it is a product of the matrices ρ_n λ_n^{qT} and λ_n^j: as many operations
    as a sum over all λ_n^l, and √L instead of L numbers in memory per mode.

    >>> siso_kernel(torch.tensor([[0.5 + 0j]]).log(), torch.tensor([[0.5 + 0j]]), 4)
    tensor([[1.0000, 0.5000, 0.2500, 0.1250]])
    """
    chunk = math.isqrt(length - 1) + 1  # T
    steps = torch.arange(chunk, device=logarithms.device)  # (T,)
    starts = chunk * steps[: -(-length // chunk)]  # (Q,)
    left = residues[:, None] * torch.exp(logarithms[:, None] * starts[:, None])  # (H, Q, N)
    right = torch.exp(logarithms[..., None] * steps)  # (H, N, T)
    product = left.real @ right.real - left.imag @ right.imag  # (H, Q, T)
    return 2.0 * product.flatten(1)[:, :length]  # (H, L)


@recurrence
def siso_convolution(u: Tensor, K: Tensor) -> Tensor:
    """Return y[t] = Σ_{l=0}

    {t} K[l] u[t−l] by FFTs of twice the length; (batch, L, H) for K (H, L).
    """
    length = u.shape[1]
    K_hat = torch.fft.rfft(K, n=2 * length)  # (H, L+1)
    u_hat = torch.fft.rfft(ordered(u).transpose(1, 2), n=2 * length)  # (batch, H, L+1)
    y = torch.fft.irfft(u_hat * K_hat, n=2 * length)  # (batch, H, 2L)
    return y[..., :length].transpose(1, 2).contiguous()  # (batch, L, H)
