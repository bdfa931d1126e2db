"""Linear attention with a constant decay per head (RetNet; Sun et al. 2023, arXiv 2307.08621).

q = W_q x,   k = W_k x,   v = sqrt(1 − a²) W_v x          in every head
S[t] = a S[t−1] + k[t] v[t]ᵀ,   o[t] = S[t]ᵀ q[t]
output = W_out (norm(o) ∘ scale ∘ SiLU(W_gate x))
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, rms_norm, silu

CONSTANT = ("log_decay",)
"""Ends of the names of tensors that are not trained."""


def step(layer: Any, x: Tensor, S: Any = 0.0) -> tuple[Tensor, Tensor]:
    """Return the output and the next state of an input (batch, H) and a state (batch, heads, N, P)."""
    core = layer.retention
    q, k, v = (torch.einsum("bh,gnh->bgn", x, W) for W in (core.W_q, core.W_k, core.W_v))
    v = v * torch.sqrt(-torch.expm1(2.0 * core.log_decay))[:, None]  # (batch, heads, P)
    S = core.log_decay.exp()[:, None, None] * S + k[..., None] * v[..., None, :]
    o = (q[..., None] * S).sum(-2)  # (batch, heads, P)
    return gated(layer.output, o, x), S


def gated(layer: Any, o: Tensor, x: Tensor) -> Tensor:
    """Return the output (batch, H) of o (batch, heads, P) and x (batch, H)."""
    o = rms_norm(o, layer.scale.shape, layer.scale, 1e-6)
    return linear(o.flatten(-2) * silu(linear(x, layer.gate.weight)), layer.outer.weight)
