"""The short causal convolution that Mamba and its relatives put before their recurrence."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class CausalConvolution(nn.Module):
    """Depthwise: y[t] = Σ_i weight[:, i] ∘ x[t − taps + 1 + i] + bias, with x = 0 before the beginning."""

    def __init__(self, channels: int, taps: int) -> None:
        super().__init__()
        bound = taps**-0.5
        self.weight = nn.Parameter(bound * (2.0 * torch.rand(channels, taps) - 1.0))  # (D, taps)
        self.bias = nn.Parameter(bound * (2.0 * torch.rand(channels) - 1.0))  # (D,)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, L, D) to (batch, L, D), as a sum of shifted copies."""
        taps = self.weight.shape[1]
        padded = functional.pad(x, (0, 0, taps - 1, 0))  # (batch, L + taps − 1, D)
        y: Tensor = self.bias
        for tap in range(taps):
            y = torch.addcmul(y, padded[:, tap : tap + x.shape[1]], self.weight[:, tap])
        return y
