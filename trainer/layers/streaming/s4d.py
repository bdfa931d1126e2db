"""S4D, a diagonal system for every channel (Gu, Goel, Gupta and Ré 2022, arXiv 2206.11893).

x[t] = λ ∘ x[t−1] + u[t],   y[t] = 2 Re Σ_n ρ_n x[t]_n + D u[t]        for every channel
A = −exp(A_re_log) + i A_im,   λ = exp(Δ A),   ρ = C ∘ (λ − 1) / A,   Δ = exp(log_dt)
"""

from typing import Any

import torch
from torch import Tensor


def step(layer: Any, u: Tensor, x: Any = 0.0) -> tuple[Tensor, Tensor]:
    """Return the output and the next state of an input (batch, H) and a state (batch, H, N)."""
    A = torch.complex(-layer.A_re_log.exp(), layer.A_im)  # (H, N)
    held = layer.log_dt.exp()[:, None] * A  # (H, N) Δ A
    residues = torch.complex(layer.C_re, layer.C_im) * torch.expm1(held) / A  # (H, N)
    x = torch.exp(held) * x + u[..., None]  # (batch, H, N)
    return 2.0 * (residues * x).sum(-1).real + layer.D * u, x
