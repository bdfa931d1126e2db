"""Mamba-2, a selective layer with one decay per head (Dao and Gu 2024, arXiv 2405.21060).

z, x, B, C, dt = W_in u,   (x, B, C) ← SiLU(causal depthwise convolution of x, B, C)
B ← M_B B,   C ← M_C C          where the model was cut; shared by the heads of a group
S[t] = exp(−Δ[t] exp(A_log)) S[t−1] + B[t] (Δ[t] x[t])ᵀ,   y[t] = S[t]ᵀ C[t]      in every head
Δ = softplus(dt + dt_bias),   output = W_out norm((y + D_skip ∘ x) ∘ SiLU(z))
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, rms_norm, silu, softplus


def step(layer: Any, u: Tensor, window: Tensor | None = None, S: Any = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output (batch, H) and the next states.

    Of the input (batch, H) and the states: last inputs of the convolution,
    (batch, taps − 1, ·) and (batch, heads, N, P).
    """
    core, heads, channels = layer.ssd, len(layer.D_skip), layer.outer.weight.shape[1]
    z, x, dt = linear(u, layer.inner.weight).split((channels, len(layer.convolution.bias), heads), dim=-1)
    x, window = convolved(layer.convolution, x, window)
    groups, _, N = core.map_B.weight.shape
    x, B, C = silu(x).split((channels, groups * N, groups * N), dim=-1)
    x = x.unflatten(-1, (heads, -1))  # (batch, heads, P)
    B, C = mapped(core.map_B.weight, B, heads), mapped(core.map_C.weight, C, heads)
    delta = softplus(dt + core.dt_bias)[..., None]  # (batch, heads, 1)
    decay = torch.exp(-delta * core.A_log.exp()[:, None])[..., None]  # (batch, heads, 1, 1)
    S = decay * S + B[..., None] * (delta * x)[..., None, :]
    y = (C[..., None] * S).sum(-2) + layer.D_skip[:, None] * x  # (batch, heads, P)
    y = rms_norm(y.flatten(-2) * silu(z), (channels,), layer.norm.weight, 1e-5)
    return linear(y, layer.outer.weight), window, S


def mapped(M: Tensor, each: Tensor, heads: int) -> Tensor:
    """Return B or C through its map (groups, r, N), none where r is 0, for each head of its group."""
    each = each.unflatten(-1, (len(M), -1))  # (batch, groups, N)
    if M.shape[1]:
        each = torch.einsum("bgn,grn->bgr", each, M)
    return each.repeat_interleave(heads // len(M), dim=1)


def convolved(layer: Any, x: Tensor, window: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the convolution at this step, (batch, ·), and its inputs for the next, (batch, taps − 1, ·)."""
    if window is None:
        channels, taps = layer.weight.shape
        window = x.new_zeros(len(x), taps - 1, channels)  # before the beginning there is 0
    window = torch.cat([window, x[:, None]], dim=1)  # (batch, taps, ·)
    return (window * layer.weight.T).sum(1) + layer.bias, window[:, 1:]
