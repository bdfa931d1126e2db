"""Gated DeltaNet (Yang, Kautz and Hatamizadeh 2025, arXiv 2412.06464): erase, then write.

    S[t] = a[t] (I − β[t] k[t] k[t]ᵀ) S[t−1] + β[t] k[t] v[t]ᵀ,   o[t] = S[t]ᵀ q[t]     in every head
    q, k, v = SiLU(causal depthwise convolution of W_in x),   q and k to length 1, then through the head's map
    β = sigmoid(W_β x),   a = exp(−softplus(W_a x + dt_bias) exp(A_log))
    output = W_out (norm(o) ∘ scale ∘ SiLU(W_gate x))

`DeltaNet` is the whole layer; `GatedDeltaRule`, all but the last line, is what is cut.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from hankelboard.trainer.layers.causal_convolution import CausalConvolution
from hankelboard.trainer.layers.gated_output import GatedOutput
from hankelboard.trainer.layers.initial import time_step_bias
from hankelboard.trainer.layers.kernel_choice import KernelChoice
from hankelboard.trainer.layers.measured_states import MatrixSampler, MeasuredParameters, Sums
from hankelboard.trainer.layers.recurrences.delta_rule import delta_rule_states
from hankelboard.trainer.layers.recurrences.installed_kernels import C_DELTA_RULE, DELTA_RULE
from hankelboard.trainer.layers.sequence_layer import SequenceLayer
from hankelboard.trainer.layers.state_map import StateMap
from hankelboard.trainer.layers.streaming import deltanet as streaming_form
from hankelboard.trainer.reduction.families import deltanet_reduction
from hankelboard.trainer.reduction.families.deltanet_reduction import (
    EPSILON,
    DeltaNetReduction,
    DeltaNetSystem,
    Statistics,
)
from hankelboard.trainer.reduction.method import BALANCED, Method
from hankelboard.trainer.reduction.reducible import Arrays, FloatArray

A_RANGE = (1.0, 16.0)
"""exp(A_log) at initialisation, uniform over heads."""


class DeltaNet(SequenceLayer):
    """A gated DeltaNet layer with H inputs and outputs.

    Parameters
    ----------
    width : int
        Channels H.
    state_dim : int
        d_k, dimension of keys and queries of each head at the start.
    heads : int
    value_dim : int
        d_v, value channels of each head; 0 = H / heads, rounded up.
    conv : int
        Taps of the convolution.
    method : Method
        Which directions a cut keeps.

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
        conv: int = 4,
        method: Method = BALANCED,
    ) -> None:
        super().__init__()
        if min(width, state_dim, heads, conv) < 1 or value_dim < 0:
            raise ValueError("width, state_dim, heads and conv must be at least 1, value_dim at least 0")
        value_dim = value_dim or math.ceil(width / heads)
        self.rule = GatedDeltaRule(width, state_dim, heads, value_dim, conv, method=method)
        self.output = GatedOutput(width, heads, value_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, L, H) to (batch, L, H)."""
        y: Tensor = self.output(self.rule(x), x)
        return y


class Sampler(MatrixSampler):
    """Samples of the states that a `GatedDeltaRule` runs through."""

    def see(self, q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor) -> None:
        """Add one batch of sequences; shapes as in `delta_rule`."""
        for _ in self._states(q, k, v, beta, log_decay):
            pass

    def _states(self, q: Tensor, *parts: Tensor) -> Iterator[Tensor]:
        """Yield S[t], (batch, heads, d_k, d_v); `parts` are those of `delta_rule_states`."""
        blocks = (S[:, None] for S in delta_rule_states(*parts))
        for _, states in self.drawing(q, parts[1].shape[3], blocks):
            yield states[:, 0]


class Observer(Sampler):
    """Sums over these states and over queries, too."""

    def __init__(self) -> None:
        super().__init__()
        self._sums = Sums()

    def see(self, q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor) -> None:
        """Add one batch of sequences; shapes as in `delta_rule`."""
        P = q.new_zeros(*q.shape[2:], q.shape[3])  # (heads, d_k, d_k)
        for S in self._states(q, k, v, beta, log_decay):
            P = P + torch.einsum("bhnv,bhmv->hnm", S, S)
        self._sums.add(P, torch.einsum("blhn,blhm->hnm", q, q))

    def statistics(self) -> Statistics:
        """Return what was measured. Raise ValueError when nothing was seen."""
        P, Q = self._sums.totals()
        return Statistics(P=P, Q=Q, samples=self.samples())


class GatedDeltaRule(KernelChoice, MeasuredParameters[Statistics]):
    """The recurrence of a DeltaNet layer, (batch, L, H) to (batch, L, heads, d_v), without norm and gate.

    A cut replaces the maps of keys and queries by ones with orthonormal rows to fewer dimensions
    (trainer/reduction/families/deltanet_reduction.py). They are not trained, so keys stay at most 1 long.
    """

    kernels = (DELTA_RULE, C_DELTA_RULE)
    importance = "output_energy"
    monitored = "key_query_energy"
    observer, sampler = Observer, Sampler
    answers, system_class = deltanet_reduction, DeltaNetSystem
    ssm_parameters = ("A_log", "dt_bias")

    def __init__(
        self, width: int, state_dim: int, heads: int, value_dim: int, conv: int, *, method: Method = BALANCED
    ) -> None:
        super().__init__(method)
        channels = heads * (2 * state_dim + value_dim)
        self.inner = nn.Linear(width, channels, bias=False)
        self.convolution = CausalConvolution(channels, conv)
        self.map = StateMap(heads, state_dim)
        self.map.weight.requires_grad_(False)
        self.strength = nn.Linear(width, heads, bias=False)  # β
        self.decay = nn.Linear(width, heads, bias=False)  # a
        self.dt_bias = nn.Parameter(time_step_bias(heads))  # (heads,)
        self.A_log = nn.Parameter(torch.empty(heads).uniform_(*A_RANGE).log())  # (heads,)

    @property
    def state_dim(self) -> int:
        """Dimension of keys and queries of each head now, d_k."""
        return self.map.state_dim

    def forward(self, x: Tensor) -> Tensor:
        """Return o of x, (batch, L, H) to (batch, L, heads, d_v)."""
        q, k, v = self._keys_and_values(self.convolution(self.inner(x)))
        beta, log_decay = self._strength_and_decay(x)
        self.observe(q, k, v, beta, log_decay)
        return self.computed(q, k, v, beta, log_decay)

    def kernel_sizes(self) -> tuple[int, ...]:
        """Return heads, d_k and d_v."""
        heads, _, size = self.map.weight.shape
        return heads, self.state_dim, self.inner.out_features // heads - 2 * size

    def _keys_and_values(self, mixed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return q, k and v, (…, heads, d) each, of what the convolution gives."""
        heads, _, size = self.map.weight.shape
        mixed = functional.silu(mixed)
        sizes = (heads * size, heads * size, mixed.shape[-1] - 2 * heads * size)
        q, k, v = (part.unflatten(-1, (heads, -1)) for part in mixed.split(sizes, dim=-1))
        return self.map(_normalised(q)), self.map(_normalised(k)), v

    def _strength_and_decay(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return β and log a, (…, heads) each."""
        delta = functional.softplus(self.decay(x) + self.dt_bias)
        return self.strength(x).sigmoid(), -delta * self.A_log.exp()

    def spectrum(self, system: DeltaNetSystem) -> FloatArray:
        """Return energies of keys and queries, descending."""
        return deltanet_reduction.spectrum(system, self.method)

    def write_back(self, reduction: DeltaNetReduction) -> None:
        """Insert the maps of the reduction; at rank N nothing changes."""
        if reduction.rank < self.state_dim:
            self.map.replace(reduction.parameters["map.weight"])
        self.forget()

    def transport_moments(
        self, reduction: DeltaNetReduction, first: Arrays, second: Arrays
    ) -> tuple[Arrays, Arrays]:
        """Return Adam's moments as they are: a cut changes only maps, which are not trained."""
        return first, second

    def extra_repr(self) -> str:
        return f"method={self.method.name!r}"


def _normalised(part: Tensor) -> Tensor:
    """Normalise to a length below 1, smooth at 0."""
    return part * torch.rsqrt(part.pow(2).sum(-1, keepdim=True) + EPSILON)
