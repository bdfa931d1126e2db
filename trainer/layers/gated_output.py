"""What follows the heads of linear attention, GLA and gated DeltaNet: normalisation, gate, projection."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class GatedOutput(nn.Module):
    """W_out (norm(o) ∘ scale ∘ SiLU(W_gate x)), with norm(o) = o / sqrt(mean of o² + ε) in every head.

    Parameters
    ----------
    width : int
        Channels H of x and of the output.
    heads, value_dim : int
        Shape of o at a step.
    """

    EPSILON = 1e-6

    def __init__(self, width: int, heads: int, value_dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(value_dim))  # (d_v,)
        self.gate = nn.Linear(width, heads * value_dim, bias=False)
        self.outer = nn.Linear(heads * value_dim, width, bias=False)

    def forward(self, o: Tensor, x: Tensor) -> Tensor:
        """Map o (…, heads, d_v) and x (…, H) to (…, H)."""
        o = functional.rms_norm(o, self.scale.shape, self.scale, self.EPSILON)
        gated: Tensor = self.outer(o.flatten(-2) * functional.silu(self.gate(x)))
        return gated
