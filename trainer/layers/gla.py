"""Gated linear attention (GLA; Yang et al. 2024, arXiv 2312.06635): a decay per key channel, from the data.

    S[t] = diag(α[t]) S[t−1] + k[t] v[t]ᵀ,   o[t] = S[t]ᵀ q[t]     in every head
    q = W_q x,   k = W_k x,   v = W_v x,   α = sigmoid(W_up W_down x + gate_bias)^(1/16)
    output = W_out (norm(o) ∘ scale ∘ SiLU(W_gate x))

`GLA` is the whole layer; `ChannelDecayAttention`, the first two lines, is what is cut.
"""

import math
from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn import functional

from hankelboard.trainer.layers.gated_output import GatedOutput
from hankelboard.trainer.layers.initial import projection
from hankelboard.trainer.layers.kernel_choice import KernelChoice
from hankelboard.trainer.layers.measured_states import MatrixSampler, MeasuredParameters, Sums
from hankelboard.trainer.layers.recurrences.channel_decay import channel_decay_states
from hankelboard.trainer.layers.recurrences.installed_kernels import C_CHANNEL_DECAY, CHANNEL_DECAY
from hankelboard.trainer.layers.sequence_layer import SequenceLayer
from hankelboard.trainer.layers.streaming import gla as streaming_form
from hankelboard.trainer.reduction.families import gla_reduction
from hankelboard.trainer.reduction.families.gla_reduction import SHARPNESS, GlaSystem, Statistics
from hankelboard.trainer.reduction.method import ENERGY, Method


class GLA(SequenceLayer):
    """A layer of gated linear attention with H inputs and outputs.

    Parameters
    ----------
    width : int
        Channels H.
    state_dim : int
        d_k, key channels of each head at the start.
    heads : int
    value_dim : int
        d_v, value channels of each head; 0 = H / heads, rounded up.
    gate_rank : int
        R, rank of the map to the decays.
    method : Method
        Which key channels a cut keeps.

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
        gate_rank: int = 16,
        method: Method = ENERGY,
    ) -> None:
        super().__init__()
        if min(width, state_dim, heads, gate_rank) < 1 or value_dim < 0:
            raise ValueError("width, state_dim, heads and gate_rank must be at least 1, value_dim at least 0")
        value_dim = value_dim or math.ceil(width / heads)
        self.attention = ChannelDecayAttention(width, state_dim, heads, value_dim, gate_rank, method=method)
        self.output = GatedOutput(width, heads, value_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, L, H) to (batch, L, H)."""
        y: Tensor = self.output(self.attention(x), x)
        return y


class Sampler(MatrixSampler):
    """Samples of the states that a `ChannelDecayAttention` runs through."""

    def see(self, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> None:
        """Add one batch of sequences; shapes as in `channel_decay`."""
        for _ in self._states(q, k, v, log_decay):
            pass

    def _states(self, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield q[t] and S[t], (batch, heads, d_k) and (batch, heads, d_k, d_v)."""
        blocks = (S[:, None] for S in channel_decay_states(k, v, log_decay))
        for steps, states in self.drawing(q, v.shape[3], blocks):
            yield q[:, steps.start], states[:, 0]


class Observer(Sampler):
    """Sums over these states, too."""

    def __init__(self) -> None:
        super().__init__()
        self._sums = Sums()

    def see(self, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> None:
        """Add one batch of sequences; shapes as in `channel_decay`."""
        M = P = q.new_zeros(*q.shape[2:], q.shape[3])  # (heads, d_k, d_k)
        for read, S in self._states(q, k, v, log_decay):
            energy = S @ S.mT  # (batch, heads, d_k, d_k)
            M = M + (energy * read[..., None] * read[:, :, None]).sum(0)
            P = P + energy.sum(0)
        self._sums.add(M, P)

    def statistics(self) -> Statistics:
        """Return what was measured. Raise ValueError when nothing was seen."""
        M, P = self._sums.totals()
        return Statistics(M=M, P=P, samples=self.samples())


class ChannelDecayAttention(KernelChoice, MeasuredParameters[Statistics]):
    """The recurrence of a GLA layer, (batch, L, H) to (batch, L, heads, d_v), without norm and gate.

    No nonlinearity stands between x and q: so the regression of removed rows of S on kept ones folds into
    W_q (reduction/families/gla_reduction.py). The usual 1 / √d_k is in the initial W_q: a cut keeps it.
    """

    kernels = (CHANNEL_DECAY, C_CHANNEL_DECAY)
    importance = "output_energy"
    observer, sampler = Observer, Sampler
    answers, system_class, cut_parameters = gla_reduction, GlaSystem, gla_reduction.CUT
    ssm_parameters = ("gate_bias",)

    def __init__(
        self,
        width: int,
        state_dim: int,
        heads: int,
        value_dim: int,
        gate_rank: int,
        *,
        method: Method = ENERGY,
    ) -> None:
        super().__init__(method)
        self.W_q = nn.Parameter(state_dim**-0.5 * projection(heads, state_dim, width))  # (heads, d_k, H)
        self.W_k = nn.Parameter(projection(heads, state_dim, width))  # (heads, d_k, H)
        self.W_v = nn.Parameter(projection(heads, value_dim, width))  # (heads, d_v, H)
        self.W_down = nn.Parameter(projection(gate_rank, width))  # (R, H)
        self.W_up = nn.Parameter(projection(heads, state_dim, gate_rank))  # (heads, d_k, R)
        self.gate_bias = nn.Parameter(projection(heads, state_dim, columns=gate_rank))  # (heads, d_k)

    @property
    def state_dim(self) -> int:
        """Key channels of each head now, d_k."""
        return self.W_q.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        """Return o of x, (batch, L, H) to (batch, L, heads, d_v)."""
        q, k, v, log_decay = self._inputs(x)
        self.observe(q, k, v, log_decay)
        return self.computed(q, k, v, log_decay)

    def kernel_sizes(self) -> tuple[int, ...]:
        """Return heads, d_k and d_v."""
        return (*self.W_q.shape[:2], self.W_v.shape[1])

    def _inputs(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return q, k, v and log α for inputs x (…, H): (…, heads, d) each."""
        q, k, v = (_by_head(x, W) for W in (self.W_q, self.W_k, self.W_v))
        gate = _by_head(x @ self.W_down.T, self.W_up) + self.gate_bias  # (…, heads, d_k)
        return q, k, v, functional.logsigmoid(gate) / SHARPNESS

    def extra_repr(self) -> str:
        heads, state_dim, width = self.W_q.shape
        return f"width={width}, heads={heads}, state_dim={state_dim}, method={self.method.name!r}"


def _by_head(x: Tensor, W: Tensor) -> Tensor:
    """Return x (…, H) through W (heads, d, H): (…, heads, d)."""
    return (x @ W.flatten(0, 1).T).unflatten(-1, W.shape[:2])
