"""S5, a diagonal layer whose channels share states (Smith, Warrington, Linderman 2023, arXiv 2208.04933).

x[t] = λ ∘ x[t−1] + B̄ u[t],   y[t] = 2 Re(C x[t]) + D ∘ u[t]
A = −exp(A_re_log) + i A_im,   λ = exp(Δ A),   B̄ = (λ − 1) / A ∘ B,   Δ = exp(log_dt)        for every state
"""

from typing import Any

import torch
from torch import Tensor


def step(layer: Any, u: Tensor, x: Any = 0.0) -> tuple[Tensor, Tensor]:
    """Return the output and the next state of an input (batch, H) and a state (batch, N)."""
    A = torch.complex(-layer.A_re_log.exp(), layer.A_im)  # (N,)
    held = layer.log_dt.exp() * A  # (N,) Δ A
    B = (torch.expm1(held) / A)[:, None] * torch.complex(layer.B_re, layer.B_im)  # (N, H)
    C = torch.complex(layer.C_re, layer.C_im)  # (H, N)
    x = torch.exp(held) * x + u.to(B.dtype) @ B.T  # (batch, N)
    return 2.0 * (x @ C.T).real + layer.D * u, x
