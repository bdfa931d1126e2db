"""The linear recurrent unit (Orvieto et al. 2023, arXiv 2303.06349).

x[t] = λ ∘ x[t−1] + B u[t],   y[t] = Re(C x[t]) + D ∘ u[t]
λ = exp(−exp(nu_log) + i exp(theta_log)),   B = exp(gamma_log) ∘ (B_re + i B_im),   C = C_re + i C_im
"""

from typing import Any

import torch
from torch import Tensor


def step(layer: Any, u: Tensor, x: Any = 0.0) -> tuple[Tensor, Tensor]:
    """Return the output and the next state of an input (batch, H) and a state (batch, N)."""
    eigenvalues = torch.exp(torch.complex(-layer.nu_log.exp(), layer.theta_log.exp()))  # (N,)
    B = layer.gamma_log.exp()[:, None] * torch.complex(layer.B_re, layer.B_im)  # (N, H)
    C = torch.complex(layer.C_re, layer.C_im)  # (H, N)
    x = eigenvalues * x + u.to(B.dtype) @ B.T  # (batch, N)
    return (x @ C.T).real + layer.D * u, x
