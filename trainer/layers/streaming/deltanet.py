"""Gated DeltaNet (Yang, Kautz and Hatamizadeh 2025, arXiv 2412.06464): erase, then write.

S[t] = a[t] (I − β[t] k[t] k[t]ᵀ) S[t−1] + β[t] k[t] v[t]ᵀ,   o[t] = S[t]ᵀ q[t]     in every head
q, k, v = SiLU(causal depthwise convolution of W_in x),   q and k to length 1, then M q and M k of its head
β = sigmoid(W_β x),   a = exp(−softplus(W_a x + dt_bias) exp(A_log))
output = W_out (norm(o) ∘ scale ∘ SiLU(W_gate x))
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, rms_norm, silu, softplus

CONSTANT = ("map.weight",)
"""Ends of the names of tensors that are not trained."""


def step(layer: Any, x: Tensor, window: Tensor | None = None, S: Any = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output (batch, H) and the next states.

    Of the input (batch, H) and the states: last inputs of the convolution,
    (batch, taps − 1, ·) and (batch, heads, d_k, d_v).
    """
    rule = layer.rule
    mixed, window = convolved(rule.convolution, linear(x, rule.inner.weight), window)
    heads, _, N = rule.map.weight.shape
    values = mixed.shape[-1] - 2 * heads * N
    q, k, v = (
        part.unflatten(-1, (heads, -1)) for part in silu(mixed).split((heads * N, heads * N, values), dim=-1)
    )
    q, k = mapped(rule.map.weight, q), mapped(rule.map.weight, k)  # (batch, heads, d_k)
    delta = softplus(linear(x, rule.decay.weight) + rule.dt_bias)  # (batch, heads)
    beta = linear(x, rule.strength.weight).sigmoid()[..., None]  # (batch, heads, 1)
    S = torch.exp(-delta * rule.A_log.exp())[..., None, None] * S
    written = beta * (v - (k[..., None] * S).sum(-2))  # (batch, heads, d_v)
    S = S + k[..., None] * written[..., None, :]
    o = (q[..., None] * S).sum(-2)  # (batch, heads, d_v)
    return gated(layer.output, o, x), window, S


def mapped(M: Tensor, each: Tensor) -> Tensor:
    """Return q or k at length 1, then through its head's map (heads, r, N), none where r is 0."""
    each = each * torch.rsqrt(each.pow(2).sum(-1, keepdim=True) + 1e-6)
    return torch.einsum("bgn,grn->bgr", each, M) if M.shape[1] else each


def convolved(layer: Any, x: Tensor, window: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the convolution at this step, (batch, ·), and its inputs for the next, (batch, taps − 1, ·)."""
    if window is None:
        channels, taps = layer.weight.shape
        window = x.new_zeros(len(x), taps - 1, channels)  # before the beginning there is 0
    window = torch.cat([window, x[:, None]], dim=1)  # (batch, taps, ·)
    return (window * layer.weight.T).sum(1) + layer.bias, window[:, 1:]


def gated(layer: Any, o: Tensor, x: Tensor) -> Tensor:
    """Return the output (batch, H) of o (batch, heads, d_v) and x (batch, H)."""
    o = rms_norm(o, layer.scale.shape, layer.scale, 1e-6)
    return linear(o.flatten(-2) * silu(linear(x, layer.gate.weight)), layer.outer.weight)
