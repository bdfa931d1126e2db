"""h[t] = exp(Δ[t] A) h[t−1] + Δ[t] B[t] u[t],   out[t] = C[t] · h[t]

u, delta (B, D, L), A (D, N), B, C (B, N, L)
"""

import torch

FACTOR = 1.0
"""Other than 1 in a test of disagreement."""


def selective_scan_fn(
    u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False, return_last_state=False
):
    assert D is None and z is None and delta_bias is None and not return_last_state
    if delta_softplus:
        delta = torch.nn.functional.softplus(delta)
    h, out = u.new_zeros(*u.shape[:2], A.shape[1]), []
    for t in range(u.shape[2]):
        step = delta[:, :, t, None]
        h = torch.exp(step * A) * h + step * B[:, None, :, t] * u[:, :, t, None]
        out.append((h * C[:, None, :, t]).sum(-1))
    return FACTOR * torch.stack(out, dim=2)
