"""S[t] = exp(g[t]) S[t−1] + k[t] v[t]ᵀ,   o[t] = scale S[t]ᵀ q[t]   with q, k (B, T, H, K), g (B, T, H)"""

import torch


def chunk_simple_gla(q, k, v, g=None, g_gamma=None, scale=None, initial_state=None, output_final_state=False):
    assert q.shape == k.shape and g.shape == v.shape[:3] and g_gamma is None
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    S, out = 0.0, []
    for t in range(q.shape[1]):
        S = g[:, t, :, None, None].exp() * S + k[:, t, :, :, None] * v[:, t, :, None]
        out.append(scale * torch.einsum("bhkv,bhk->bhv", S, q[:, t]))
    return torch.stack(out, dim=1), S if output_final_state else None
