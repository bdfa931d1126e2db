"""S[t] = diag(exp(g[t])) S[t−1] + k[t] v[t]ᵀ,   o[t] = scale S[t]ᵀ q[t]   with q, k, g (B, T, H, K)"""

import torch


def chunk_gla(q, k, v, g, scale=None, initial_state=None, output_final_state=False):
    assert q.shape == k.shape == g.shape and v.shape[:3] == q.shape[:3]
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    S, out = 0.0, []
    for t in range(q.shape[1]):
        S = g[:, t, ..., None].exp() * S + k[:, t, :, :, None] * v[:, t, :, None]
        out.append(scale * torch.einsum("bhkv,bhk->bhv", S, q[:, t]))
    return torch.stack(out, dim=1), S if output_final_state else None
