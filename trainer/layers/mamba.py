"""Mamba-1, a selective state-space layer (Gu and Dao 2023, arXiv 2312.00752).

    x, z = W_in u,   x ← SiLU(causal depthwise convolution of x)
    h[t] = exp(Δ[t] A) ∘ h[t−1] + (Δ[t] ∘ x[t]) B[t]ᵀ,   y[t] = h[t] C[t]
    Δ = softplus(W_up W_down x + dt_bias),   B = W_B x,   C = W_C x
    output = W_out ((y + D_skip ∘ x) ∘ SiLU(z))

`Mamba` is the whole layer with its gate; `SelectiveSSM`, the second and third line, is what is cut.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hankelboard.trainer.layers.causal_convolution import CausalConvolution
from hankelboard.trainer.layers.initial import projection, time_step_bias
from hankelboard.trainer.layers.kernel_choice import KernelChoice
from hankelboard.trainer.layers.measured_states import MeasuredParameters, OutputSample, Sums
from hankelboard.trainer.layers.recurrences.installed_kernels import C_SELECTIVE, SELECTIVE
from hankelboard.trainer.layers.recurrences.selective import selective_states
from hankelboard.trainer.layers.sequence_layer import SequenceLayer
from hankelboard.trainer.layers.streaming import mamba as streaming_form
from hankelboard.trainer.reduction.families import mamba_reduction
from hankelboard.trainer.reduction.families.mamba_reduction import SelectiveSystem, Statistics
from hankelboard.trainer.reduction.measured.samples import Samples
from hankelboard.trainer.reduction.method import ENERGY, Method
from hankelboard.trainer.reduction.reducible import FloatArray

SAMPLED_STEPS = 512
"""Steps of a batch of calibration sequences, evenly spaced, of which averages of a, b and C are taken."""


class Mamba(SequenceLayer):
    """A Mamba-1 layer with H inputs and outputs and N states in each of D = expand · H channels.

    Parameters
    ----------
    width : int
        Channels H.
    state_dim : int
        States N of each channel at the start.
    expand : int
        D / H.
    conv : int
        Taps of the convolution.
    dt_rank : int
        R, rank of the map to Δ; 0 = H / 16, rounded up.
    method : Method
        Which states a cut keeps.

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
        expand: int = 2,
        conv: int = 4,
        dt_rank: int = 0,
        method: Method = ENERGY,
    ) -> None:
        super().__init__()
        if min(width, state_dim, expand, conv) < 1 or dt_rank < 0:
            raise ValueError("width, state_dim, expand and conv must be at least 1, dt_rank at least 0")
        channels = expand * width
        self.inner = nn.Linear(width, 2 * channels, bias=False)
        self.convolution = CausalConvolution(channels, conv)
        self.ssm = SelectiveSSM(channels, state_dim, dt_rank or math.ceil(width / 16), method=method)
        self.D_skip = nn.Parameter(torch.ones(channels))  # (D,)
        self.outer = nn.Linear(channels, width, bias=False)

    def forward(self, u: Tensor) -> Tensor:
        """Map (batch, L, H) to (batch, L, H)."""
        x, z = self.inner(u).chunk(2, dim=-1)  # (batch, L, D) each
        x = functional.silu(self.convolution(x))  # (batch, L, D)
        return self._gated(self.ssm(x), x, z)

    def _gated(self, y: Tensor, x: Tensor, z: Tensor) -> Tensor:
        gated: Tensor = self.outer(torch.addcmul(y, self.D_skip, x) * functional.silu(z))
        return gated


class Sampler:
    """Samples of the states that a `SelectiveSSM` runs through."""

    def __init__(self) -> None:
        self._outputs = OutputSample()

    def see(self, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> None:
        """Add one batch of sequences; shapes as in `selective_scan`."""
        for _ in self._states(x, delta, A, B, C):
            pass

    def _states(
        self, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield C, (T, batch, 1, N), and states (T, batch, D, N) of each block, and keep some of them."""
        n, first = A.shape[1], 0
        # outputs are counted (t · batch + sequence) · D + channel
        chosen = OutputSample.draw(x.numel(), n).to(x.device)
        drawn: list[tuple[Tensor, Tensor]] = []
        for steps, states, _, _ in selective_states(x, delta, A, B):
            read = C[:, steps].transpose(0, 1)[:, :, None]  # (T, batch, 1, N)
            rows = states.reshape(-1, n)  # (T · batch · D, N)
            here = chosen[(chosen >= first) & (chosen < first + len(rows))] - first
            drawn.append((read.reshape(-1, n)[here // x.shape[2]], rows[here]))  # (S, N) each
            yield read, states
            first += len(rows)
        reads, states = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        self._outputs.add(reads, states, x.numel())

    def samples(self) -> list[Samples]:
        """Return C and h of what was kept, one part. Raise ValueError when nothing was seen."""
        return [self._outputs.samples()]


class Observer(Sampler):
    """Sums over these states, too, and samples of coefficients, in double precision, block by block."""

    def __init__(self) -> None:
        super().__init__()
        self._sums = Sums()
        self._sampled: list[list[FloatArray]] = []

    def see(self, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> None:
        """Add one batch of sequences; shapes as in `selective_scan`."""
        for read, states in self._states(x, delta, A, B, C):
            contributed = (states * read).reshape(-1, A.shape[1])  # (T · batch · D, N)
            rows = states.reshape(-1, A.shape[1])
            self._sums.add(contributed.T @ contributed, rows.T @ rows)
        self._sample_steps(x, delta, A, B, C)

    def _sample_steps(self, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> None:
        total = x.shape[0] * x.shape[1]
        some = torch.linspace(0, total - 1, min(total, SAMPLED_STEPS), device=x.device).long()
        x, delta, B, C = (part.flatten(0, 1)[some] for part in (x, delta, B, C))
        driven = delta[..., None] * B[:, None]  # (S, D, N)
        sampled = (torch.exp(delta[..., None] * A), driven, driven * x[..., None], C)
        self._sampled.append([part.cpu().double().numpy() for part in sampled])

    def statistics(self) -> Statistics:
        """Return what was measured. Raise ValueError when nothing was seen."""
        M, P = self._sums.totals()
        a, driven, b, C = (np.concatenate(parts) for parts in zip(*self._sampled, strict=True))
        return Statistics(
            samples=self.samples(),
            M=M,
            P=P,
            decay=a.mean(axis=0),
            drive=driven.mean(axis=0),
            read=C.mean(axis=0),
            hsv=mamba_reduction.second_moment_hsv(a, b, C),
        )


class SelectiveSSM(KernelChoice, MeasuredParameters[Statistics]):
    """The selective recurrence of a Mamba layer, (batch, L, D) to (batch, L, D), without skip and gate.

    B and C are shared by all channels, so a cut keeps the same states in all of them: those that the output
    on calibration sequences needs most (mamba_reduction.py). A = −exp(A_log) < 0 at all times.
    """

    kernels = (SELECTIVE, C_SELECTIVE)
    importance = "output_energy"
    observer, sampler = Observer, Sampler
    answers, system_class = mamba_reduction, SelectiveSystem
    cut_parameters = tuple(mamba_reduction.STATE_AXIS)
    monitored = "hsv"
    ssm_parameters = ("A_log", "dt_bias")

    def __init__(self, channels: int, state_dim: int, dt_rank: int, *, method: Method = ENERGY) -> None:
        super().__init__(method)
        ladder = torch.arange(1, state_dim + 1, dtype=torch.float32).log()  # (N,) S4D-Real
        self.A_log = nn.Parameter(ladder.expand(channels, -1).clone())  # (D, N)
        self.W_B, self.W_C = (nn.Parameter(projection(state_dim, channels)) for _ in range(2))  # (N, D) each
        self.W_down = nn.Parameter(projection(dt_rank, channels))  # (R, D)
        self.W_up = nn.Parameter(projection(channels, dt_rank))  # (D, R)
        self.dt_bias = nn.Parameter(time_step_bias(channels))  # (D,)

    @property
    def state_dim(self) -> int:
        """States of each channel now, N."""
        return self.W_B.shape[0]

    def forward(self, x: Tensor) -> Tensor:
        """Return y of x, (batch, L, D) to (batch, L, D)."""
        delta, A, B, C = self._coefficients(x)
        self.observe(x, delta, A, B, C)
        return self.computed(x, delta, A, B, C)

    def kernel_sizes(self) -> tuple[int, ...]:
        """Return channels and states."""
        return tuple(self.A_log.shape)

    def _coefficients(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return Δ (…, D), A (D, N), B and C (…, N) for inputs x (…, D)."""
        delta = functional.softplus(x @ self.W_down.T @ self.W_up.T + self.dt_bias)
        return delta, -self.A_log.exp(), x @ self.W_B.T, x @ self.W_C.T

    def spectrum(self, system: SelectiveSystem) -> FloatArray:
        """Return Hankel singular values from second-moment Gramians, summed over channels."""
        return mamba_reduction.spectrum(system)

    def extra_repr(self) -> str:
        return f"channels={self.A_log.shape[0]}, state_dim={self.state_dim}, method={self.method.name!r}"
