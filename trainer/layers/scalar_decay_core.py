"""What the cores of linear attention and Mamba-2 share: how matrix-valued states are measured and cut."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from hankelboard.trainer.layers.kernel_choice import KernelChoice
from hankelboard.trainer.layers.measured_states import MatrixSampler, MeasuredStates, Sums
from hankelboard.trainer.layers.recurrences.installed_kernels import C_SCALAR_DECAY, SCALAR_DECAY
from hankelboard.trainer.layers.recurrences.scalar_decay import scalar_decay_states
from hankelboard.trainer.reduction.measured import matrix_states
from hankelboard.trainer.reduction.measured.matrix_states import (
    MatrixReduction,
    MatrixStatistics,
    MatrixSystem,
)
from hankelboard.trainer.reduction.measured.samples import Samples
from hankelboard.trainer.reduction.method import BALANCED, Method
from hankelboard.trainer.reduction.reducible import Arrays, FloatArray, RankTable


class StateSampler(MatrixSampler):
    """Samples of the states that a `ScalarDecayCore` runs through, by group."""

    def __init__(self) -> None:
        super().__init__()
        self._groups = 1

    def see(self, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> None:
        """Add one batch of sequences. Arguments as `scalar_decay_scan`."""
        for _ in self._states(q, k, v, log_decay):
            pass

    def _states(self, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Iterator[Tensor]:
        """Yield the states of each block, (batch, T, heads, N, P), and keep some of them."""
        self._groups = q.shape[2]
        reads = q.repeat_interleave(v.shape[2] // self._groups, dim=2)  # (batch, L, heads, N)
        blocks = (states for _, states in scalar_decay_states(k, v, log_decay))
        for _, states in self.drawing(reads, v.shape[3], blocks):
            yield states

    def samples(self) -> list[Samples]:
        """Return q[t] and columns of S[t] of each group. Raise ValueError when nothing was seen."""
        heads = super().samples()
        size = len(heads) // self._groups
        return [_together(heads[first : first + size]) for first in range(0, len(heads), size)]


def _together(heads: list[Samples]) -> Samples:
    reads, states = ([getattr(head, name) for head in heads] for name in ("reads", "states"))
    return Samples(np.concatenate(reads), np.concatenate(states))


class StateMoments(StateSampler):
    """Sums of S Sᵀ and q qᵀ over steps and sequences, too, in double precision block by block."""

    def __init__(self) -> None:
        super().__init__()
        self._P, self._Q = Sums(), Sums()
        self._steps = 0

    def see(self, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> None:
        """Add one batch of sequences. Arguments as `scalar_decay_scan`."""
        groups = q.shape[2]
        for states in self._states(q, k, v, log_decay):
            by_group = states.unflatten(2, (groups, -1)).permute(2, 4, 0, 1, 3, 5)  # (G, N, batch, T, R, P)
            self._P.add(_second_moment(by_group.flatten(2)))
        self._Q.add(_second_moment(q.permute(2, 3, 0, 1).flatten(2)))
        self._steps += q.shape[0] * q.shape[1]

    def statistics(self) -> MatrixStatistics:
        """Return P and Q, (G, N, N) each, and samples. Raise ValueError when nothing was seen."""
        (P,), (Q,) = self._P.totals(), self._Q.totals()
        return MatrixStatistics(P=P / self._steps, Q=Q / self._steps, samples=self.samples())


class ScalarDecayCore(KernelChoice, MeasuredStates[MatrixStatistics]):
    """S[t] = a[t] S[t−1] + k[t] v[t]ᵀ, o[t] = S[t]ᵀ q[t]; what q, k, v and a are is the subclass's.

    Two of its parameters are linear maps right before the states, (groups, N, D) each: a cut changes only
    these (trainer/reduction/measured/matrix_states.py).
    """

    kernels = (SCALAR_DECAY, C_SCALAR_DECAY)
    importance = "output_energy"
    monitored = "hsv_squared"
    observer, sampler = StateMoments, StateSampler
    keys: str
    """Name of the parameter that makes keys."""
    queries: str
    """Name of the parameter that makes queries."""

    def __init__(self, method: Method = BALANCED) -> None:
        super().__init__(method)

    @property
    def state_dim(self) -> int:
        """Dimension of keys and queries now, N."""
        raise NotImplementedError

    def linear_maps(self) -> tuple[FloatArray, FloatArray]:
        """Return those of keys and queries in double precision, (groups, N, D) each."""
        raise NotImplementedError

    def replace(self, keys: FloatArray, queries: FloatArray) -> None:
        """Replace both maps by new parameters."""
        raise NotImplementedError

    def recurrence(self, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
        """Return o, (batch, L, heads, P). Arguments as `scalar_decay_scan`."""
        self.observe(q, k, v, log_decay)
        return self.computed(q, k, v, log_decay)

    def extract(self) -> MatrixSystem:
        """Return both maps in double precision, and what was measured with them."""
        return MatrixSystem(*self.linear_maps(), self.measured())

    def spectrum(self, system: MatrixSystem) -> FloatArray:
        """Return importances σ_i², summed over groups."""
        return matrix_states.spectrum(system)

    def propose(self, system: MatrixSystem) -> RankTable:
        """Return what every rank would mean."""
        maps = [parameter for name, parameter in self.named_parameters() if name in (self.keys, self.queries)]
        now = sum(parameter.numel() for parameter in self.parameters())
        fixed = now - sum(parameter.numel() for parameter in maps)
        per_state = 2 * system.keys.shape[0] * system.keys.shape[2]
        parameters = [fixed + rank * per_state for rank in range(self.state_dim)]
        return matrix_states.propose(system, self.method, [*parameters, now])

    def reduce(self, system: MatrixSystem, rank: int) -> MatrixReduction:
        """Return the layer at exactly this rank."""
        return matrix_states.reduce(system, rank, self.method)

    def write_back(self, reduction: MatrixReduction) -> None:
        """Replace the two maps; at rank N there is nothing to do."""
        if reduction.rank < self.state_dim:
            self.replace(reduction.keys, reduction.queries)
        self.forget()

    def transport_moments(
        self, reduction: MatrixReduction, first: Arrays, second: Arrays
    ) -> tuple[Arrays, Arrays]:
        """Return Adam's moments of the two maps in the coordinates of the reduction."""
        return matrix_states.transport_moments(reduction, first, second, keys=self.keys, queries=self.queries)

    def verify(self, reduction: MatrixReduction) -> float:
        """Return relative error between the maps now and those of the reduction."""
        return matrix_states.verify(*self.linear_maps(), reduction)


def _second_moment(samples: Tensor) -> Tensor:
    """Return Σ x xᵀ of (G, N, samples), (G, N, N)."""
    return torch.matmul(samples, samples.mT)
