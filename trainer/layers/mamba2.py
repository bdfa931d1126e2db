"""Mamba-2, a selective layer with one decay per head (Dao and Gu 2024, arXiv 2405.21060).

    z, x, B, C, dt = W_in u,   (x, B, C) ← SiLU(causal depthwise convolution of x, B, C)
    B ← M_B B,   C ← M_C C          from the first cut on; shared by the heads of a group
    S[t] = exp(−Δ[t] exp(A_log)) S[t−1] + B[t] (Δ[t] x[t])ᵀ,   y[t] = S[t]ᵀ C[t]      in every head
    Δ = softplus(dt + dt_bias),   output = W_out norm((y + D_skip ∘ x) ∘ SiLU(z))

`Mamba2` is the whole layer with its gate; `SSD`, the second and third line, is what is cut. A convolution and
an activation stand between W_in and the states, so a cut inserts M_B and M_C and leaves W_in as it is.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from hankelboard.trainer.layers.causal_convolution import CausalConvolution
from hankelboard.trainer.layers.initial import time_step_bias
from hankelboard.trainer.layers.scalar_decay_core import ScalarDecayCore
from hankelboard.trainer.layers.sequence_layer import SequenceLayer
from hankelboard.trainer.layers.state_map import StateMap
from hankelboard.trainer.layers.streaming import mamba2 as streaming_form
from hankelboard.trainer.reduction.method import BALANCED, Method
from hankelboard.trainer.reduction.reducible import FloatArray

A_RANGE = (1.0, 16.0)
"""exp(A_log) at initialisation, uniform over heads."""


class Mamba2(SequenceLayer):
    """A Mamba-2 layer with H inputs and outputs, and heads of P channels with N states each.

    Parameters
    ----------
    width : int
        Channels H.
    state_dim : int
        States N of each channel at the start: dimension of B and C.
    heads : int
        P = expand · H / heads.
    groups : int
        Heads of a group share B and C.
    expand : int
        Inner channels D / H.
    conv : int
        Taps of the convolution.
    method : Method
        Which directions of B and C a cut keeps.

    Raises
    ------
    ValueError
        If a size is below 1, or one is no multiple of another where it must be.
    """

    gated = True
    streaming = streaming_form

    def __init__(
        self,
        width: int,
        state_dim: int,
        *,
        heads: int = 4,
        groups: int = 1,
        expand: int = 2,
        conv: int = 4,
        method: Method = BALANCED,
    ) -> None:
        super().__init__()
        if min(width, state_dim, heads, groups, expand, conv) < 1:
            raise ValueError("width, state_dim, heads, groups, expand and conv must be at least 1")
        channels = expand * width
        if channels % heads or heads % groups:
            raise ValueError(
                f"{channels} inner channels, {heads} heads, {groups} groups: "
                "expand · width must be a multiple of heads, and heads one of groups"
            )
        convolved = channels + 2 * groups * state_dim
        self.sizes = (channels, convolved, heads)
        """Of z, of (x, B, C) and of dt."""
        self.inner = nn.Linear(width, sum(self.sizes), bias=False)
        self.convolution = CausalConvolution(convolved, conv)
        self.ssd = SSD(channels // heads, state_dim, heads, groups, method=method)
        self.D_skip = nn.Parameter(torch.ones(heads))  # (heads,)
        self.norm = nn.RMSNorm(channels, eps=1e-5)
        self.outer = nn.Linear(channels, width, bias=False)

    def forward(self, u: Tensor) -> Tensor:
        """Map (batch, L, H) to (batch, L, H)."""
        z, convolved, dt = self.inner(u).split(self.sizes, dim=-1)
        convolved = functional.silu(self.convolution(convolved))  # (batch, L, D + 2 groups N)
        return self._gated(self.ssd(torch.cat([convolved, dt], dim=-1)), convolved, z)

    def _gated(self, y: Tensor, convolved: Tensor, z: Tensor) -> Tensor:
        x = convolved[..., : z.shape[-1]].unflatten(-1, y.shape[-2:])  # (…, heads, P)
        y = torch.addcmul(y, self.D_skip[:, None], x).flatten(-2)  # (…, D)
        gated: Tensor = self.outer(self.norm(y * functional.silu(z)))
        return gated


class SSD(ScalarDecayCore):
    """The states of a Mamba-2 layer, of x, B, C and dt side by side to y, (batch, L, heads, P); without skip.

    Parameters
    ----------
    head_dim : int
        P.
    state_dim : int
        N, size of B and C as they come in.
    heads, groups : int
    method : Method
    """

    keys, queries = "map_B.weight", "map_C.weight"
    ssm_parameters = ("A_log", "dt_bias")

    def __init__(
        self, head_dim: int, state_dim: int, heads: int, groups: int, *, method: Method = BALANCED
    ) -> None:
        super().__init__(method)
        self.head_dim, self.groups = head_dim, groups
        low, high = A_RANGE
        self.A_log = nn.Parameter(torch.log(low + torch.rand(heads) * (high - low)))  # (heads,)
        self.dt_bias = nn.Parameter(time_step_bias(heads))  # (heads,)
        self.map_B, self.map_C = StateMap(groups, state_dim), StateMap(groups, state_dim)

    @property
    def state_dim(self) -> int:
        """States of each channel now: dimension of B and C behind the maps."""
        return self.map_B.state_dim

    def forward(self, parts: Tensor) -> Tensor:
        """Return y, (batch, L, heads, P), of (batch, L, heads P + 2 groups N + heads)."""
        return self.recurrence(*self._coefficients(parts))

    def kernel_sizes(self) -> tuple[int, ...]:
        """Return groups, heads, N and P."""
        return self.groups, len(self.A_log), self.state_dim, self.head_dim

    def _coefficients(self, parts: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return C and B (…, groups, N), Δ x (…, heads, P) and log a (…, heads)."""
        shared = self.groups * self.map_B.weight.shape[-1]  # groups · N as they come in
        sizes = (len(self.A_log) * self.head_dim, shared, shared, len(self.A_log))
        x, B, C, dt = parts.split(sizes, dim=-1)
        B, C = (
            state_map(each.unflatten(-1, (self.groups, -1)))
            for state_map, each in ((self.map_B, B), (self.map_C, C))
        )
        delta = functional.softplus(dt + self.dt_bias)  # (…, heads)
        driven = delta[..., None] * x.unflatten(-1, (-1, self.head_dim))  # (…, heads, P)
        return C, B, driven, -delta * self.A_log.exp()

    def linear_maps(self) -> tuple[FloatArray, FloatArray]:
        """Return M_B and M_C, identities until the first cut."""
        return self.map_B.matrices(), self.map_C.matrices()

    def replace(self, keys: FloatArray, queries: FloatArray) -> None:
        """Replace M_B and M_C by new ones, (groups, r, N) each."""
        self.map_B.replace(keys)
        self.map_C.replace(queries)

    def extra_repr(self) -> str:
        return f"head_dim={self.head_dim}, state_dim={self.state_dim}, method={self.method.name!r}"
