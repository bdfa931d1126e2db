"""Linear attention with a constant decay per head (RetNet; Sun et al. 2023, arXiv 2307.08621).

    q = W_q x,   k = W_k x,   v = sqrt(1 − a²) W_v x          in every head
    S[t] = a S[t−1] + k[t] v[t]ᵀ,   o[t] = S[t]ᵀ q[t]
    output = W_out (norm(o) ∘ scale ∘ SiLU(W_gate x))

`LinearAttention` is the whole layer; `Retention`, the first two lines, is what is cut. Nothing non-linear
stands between x and the states, so a cut is folded into W_q and W_k. Left out of RetNet: the rotation of q
and k by their position, under which no change of basis of the keys would be free.
"""

import math

import torch
from torch import Tensor, nn

from hankelboard.trainer.layers.gated_output import GatedOutput
from hankelboard.trainer.layers.initial import projection
from hankelboard.trainer.layers.parameters import replace_parameters
from hankelboard.trainer.layers.scalar_decay_core import ScalarDecayCore
from hankelboard.trainer.layers.sequence_layer import SequenceLayer
from hankelboard.trainer.layers.streaming import attention as streaming_form
from hankelboard.trainer.reduction.method import BALANCED, Method
from hankelboard.trainer.reduction.reducible import FloatArray

FORGOTTEN = (1 / 32, 1 / 512)
"""1 − a of the first and of the last head, log-uniform in between: RetNet's range for 5 heads."""


class LinearAttention(SequenceLayer):
    """A layer of linear attention with H inputs and outputs.

    Parameters
    ----------
    width : int
        Channels H.
    state_dim : int
        N, dimension of the keys of each head at the start.
    heads : int
    value_dim : int
        P, dimension of the values of each head; 0 = H / heads, rounded up.
    method : Method
        Which key directions a cut keeps.

    Raises
    ------
    ValueError
        If a size is below 1.
    """

    gated = True
    streaming = streaming_form

    def __init__(
        self,
        width: int,
        state_dim: int,
        *,
        heads: int = 4,
        value_dim: int = 0,
        method: Method = BALANCED,
    ) -> None:
        super().__init__()
        if min(width, state_dim, heads) < 1 or value_dim < 0:
            raise ValueError("width, state_dim and heads must be at least 1, value_dim at least 0")
        value_dim = value_dim or math.ceil(width / heads)
        self.retention = Retention(width, state_dim, heads, value_dim, method=method)
        self.output = GatedOutput(width, heads, value_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, L, H) to (batch, L, H)."""
        y: Tensor = self.output(self.retention(x), x)
        return y


class Retention(ScalarDecayCore):
    """The states of linear attention, (batch, L, H) to (batch, L, heads, P).

    Values are scaled as by the γ of an LRU, so that heads put out about as much whatever they remember: the
    errors of a cut, which are summed over heads, then concern all of them.
    """

    keys, queries = "W_k", "W_q"

    def __init__(
        self, width: int, state_dim: int, heads: int, value_dim: int, *, method: Method = BALANCED
    ) -> None:
        super().__init__(method)
        self.W_q = nn.Parameter(projection(heads, state_dim, width))  # (heads, N, H)
        self.W_k = nn.Parameter(projection(heads, state_dim, width))  # (heads, N, H)
        self.W_v = nn.Parameter(projection(heads, value_dim, width))  # (heads, P, H)
        first, last = (math.log(share) for share in FORGOTTEN)
        forgotten = torch.linspace(first, last, heads, dtype=torch.float64).exp()  # (heads,)
        self.log_decay: Tensor
        self.register_buffer("log_decay", torch.log1p(-forgotten).float())  # (heads,)

    @property
    def state_dim(self) -> int:
        """Dimension of the keys of each head now, N."""
        return self.W_k.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        """Return o of x, (batch, L, H) to (batch, L, heads, P)."""
        return self.recurrence(*self._projected(x), self.log_decay)

    def kernel_sizes(self) -> tuple[int, ...]:
        """Return groups, heads, N and P; every head is a group."""
        heads, values, _ = self.W_v.shape
        return heads, heads, self.state_dim, values

    def _projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return q, k (…, heads, N) and v (…, heads, P) of x (…, H)."""
        q, k, v = ((x @ W.flatten(0, 1).T).unflatten(-1, W.shape[:2]) for W in (self.W_q, self.W_k, self.W_v))
        drive = torch.sqrt(-torch.expm1(2.0 * self.log_decay))  # (heads,)
        return q, k, v * drive[:, None]

    def linear_maps(self) -> tuple[FloatArray, FloatArray]:
        """Return W_k and W_q."""
        k, q = (W.detach().cpu().double().numpy().copy() for W in (self.W_k, self.W_q))
        return k, q

    def replace(self, keys: FloatArray, queries: FloatArray) -> None:
        """Replace W_k and W_q by new ones, (heads, r, H) each."""
        replace_parameters(self, {self.keys: keys, self.queries: queries})

    def extra_repr(self) -> str:
        heads, values, _ = self.W_v.shape
        return f"heads={heads}, state_dim={self.state_dim}, value_dim={values}, method={self.method.name!r}"
