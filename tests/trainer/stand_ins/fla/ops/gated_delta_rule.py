"""S[t] = exp(g[t]) (I − β[t] k[t] k[t]ᵀ) S[t−1] + β[t] k[t] v[t]ᵀ,   o[t] = scale S[t]ᵀ q[t]

g, β (B, T, H)
"""

import torch


def chunk_gated_delta_rule(
    q, k, v, g, beta, scale=None, initial_state=None, output_final_state=False, use_qk_l2norm_in_kernel=False
):
    assert q.shape == k.shape and g.shape == beta.shape == v.shape[:3] and not use_qk_l2norm_in_kernel
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    eye = torch.eye(k.shape[-1], dtype=k.dtype)
    S, out = k.new_zeros(k.shape[0], *k.shape[2:], v.shape[-1]), []
    for t in range(q.shape[1]):
        b, key = beta[:, t, :, None, None], k[:, t, :, :, None]
        S = g[:, t, :, None, None].exp() * (eye - b * key * key.mT) @ S + b * key * v[:, t, :, None]
        out.append(scale * torch.einsum("bhkv,bhk->bhv", S, q[:, t]))
    return torch.stack(out, dim=1), S if output_final_state else None
