"""Mamba-1, a selective state-space layer (Gu and Dao 2023, arXiv 2312.00752).

x, z = W_in u,   x ← SiLU(causal depthwise convolution of x)
h[t] = exp(Δ[t] A) ∘ h[t−1] + (Δ[t] ∘ x[t]) B[t]ᵀ,   y[t] = h[t] C[t]
Δ = softplus(W_up W_down x + dt_bias),   A = −exp(A_log),   B = W_B x,   C = W_C x
output = W_out ((y + D_skip ∘ x) ∘ SiLU(z))
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, silu, softplus


def step(layer: Any, u: Tensor, window: Tensor | None = None, h: Any = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output (batch, H) and the next states.

    Of the input (batch, H) and the states: last inputs of the convolution,
    (batch, taps − 1, D) and (batch, D, N).
    """
    x, z = linear(u, layer.inner.weight).chunk(2, dim=-1)  # (batch, D) each
    x, window = convolved(layer.convolution, x, window)
    x = silu(x)
    ssm = layer.ssm
    delta = softplus(x @ ssm.W_down.T @ ssm.W_up.T + ssm.dt_bias)  # (batch, D)
    decay = torch.exp(-delta[..., None] * ssm.A_log.exp())  # (batch, D, N)
    h = decay * h + (delta * x)[..., None] * (x @ ssm.W_B.T)[:, None]  # (batch, D, N)
    y = (h @ (x @ ssm.W_C.T)[..., None])[..., 0]  # (batch, D)
    return linear((y + layer.D_skip * x) * silu(z), layer.outer.weight), window, h


def convolved(layer: Any, x: Tensor, window: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the convolution at this step, (batch, D), and its inputs for the next, (batch, taps − 1, D)."""
    if window is None:
        channels, taps = layer.weight.shape
        window = x.new_zeros(len(x), taps - 1, channels)  # before the beginning there is 0
    window = torch.cat([window, x[:, None]], dim=1)  # (batch, taps, ·)
    return (window * layer.weight.T).sum(1) + layer.bias, window[:, 1:]
