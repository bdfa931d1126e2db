"""Gated linear attention (GLA; Yang et al. 2024, arXiv 2312.06635): a decay per key channel, from the data.

S[t] = diag(α[t]) S[t−1] + k[t] v[t]ᵀ,   o[t] = S[t]ᵀ q[t]     in every head
q = W_q x,   k = W_k x,   v = W_v x,   α = sigmoid(W_up W_down x + gate_bias)^(1/16)
output = W_out (norm(o) ∘ scale ∘ SiLU(W_gate x))
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, logsigmoid, rms_norm, silu


def step(layer: Any, x: Tensor, S: Any = 0.0) -> tuple[Tensor, Tensor]:
    """Return the output and the next state of an input (batch, H) and a state (batch, heads, d_k, d_v)."""
    core = layer.attention
    q, k, v = (torch.einsum("bh,gnh->bgn", x, W) for W in (core.W_q, core.W_k, core.W_v))
    gate = torch.einsum("br,gnr->bgn", x @ core.W_down.T, core.W_up) + core.gate_bias
    decay = torch.exp(logsigmoid(gate) / 16.0)  # (batch, heads, d_k)
    S = decay[..., None] * S + k[..., None] * v[..., None, :]
    o = (q[..., None] * S).sum(-2)  # (batch, heads, d_v)
    return gated(layer.output, o, x), S


def gated(layer: Any, o: Tensor, x: Tensor) -> Tensor:
    """Return the output (batch, H) of o (batch, heads, d_v) and x (batch, H)."""
    o = rms_norm(o, layer.scale.shape, layer.scale, 1e-6)
    return linear(o.flatten(-2) * silu(linear(x, layer.gate.weight)), layer.outer.weight)
