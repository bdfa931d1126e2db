"""Layers whose states depend on data: what is measured of them, and when (`ReducibleLayer.observing`)."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from hankelboard.trainer.layers.parameters import parameters64, replace_parameters
from hankelboard.trainer.layers.recurrences.precision import in_float32
from hankelboard.trainer.reduction.measured.samples import SAMPLED_NUMBERS, SAMPLED_OUTPUTS, Samples
from hankelboard.trainer.reduction.method import Method
from hankelboard.trainer.reduction.reducible import Arrays, FloatArray, RankTable, ReducibleLayer

Statistics = TypeVar("Statistics")


class Sampler(Protocol):
    """Keeps some of the outputs that a layer computes, with what they are made of."""

    def see(self, *tensors: Tensor) -> None:
        """Add one batch of sequences."""

    def samples(self) -> list[Samples]:
        """Return what was kept, by part of the output. Raise ValueError when nothing was seen."""


class Observer(Protocol):
    """Adds up what a layer computes while it is observed."""

    def see(self, *tensors: Tensor) -> None:
        """Add one batch of sequences."""

    def statistics(self) -> Any:
        """Return what was measured. Raise ValueError when nothing was seen."""


class MeasuredStates(ReducibleLayer, nn.Module, Generic[Statistics]):
    """A layer that can be cut once forward passes over training sequences have measured its states.

    `forward` hands to `observe` what the observer of the subclass wants to see. Statistics are no parameters
    or buffers, and a subclass forgets them when it is cut.
    """

    observer: type[Any]
    sampler: type[Any] | None = None
    """A `Sampler`, of families whose statistics are `Measured`: its samples say what a rank loses."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method
        self.statistics: Statistics | None = None
        self._observer: Observer | Sampler | None = None

    def observe(self, *tensors: Tensor) -> None:
        """Show an observer what is computed, when there is one: in single precision at least."""
        if self._observer is not None:
            in_float32(self._observer.see)(*tensors)

    @contextmanager
    def observing(self) -> Iterator[None]:
        """Measure forward passes meanwhile, for `extract`."""
        self.statistics, observer = None, self.observer()
        with self._showing(observer):
            yield
            self.statistics = observer.statistics()

    @contextmanager
    def holding_out(self) -> Iterator[None]:
        """Keep samples of forward passes meanwhile, which judge what was fitted to those observed."""
        if self.sampler is None:
            yield
            return
        sampler = self.sampler()
        with self._showing(sampler):
            yield
            self.statistics = replace(self.measured(), held_out=sampler.samples())  # type: ignore[type-var]

    @contextmanager
    def _showing(self, observer: Observer | Sampler) -> Iterator[None]:
        self._observer = observer
        try:
            yield
        finally:
            self._observer = None

    def measured(self) -> Statistics:
        """Return the statistics. Raise ValueError when there are none since the last cut."""
        if self.statistics is None:
            raise ValueError("the layer was not calibrated since its last cut: its states depend on data")
        return self.statistics

    def forget(self) -> None:
        """Forget what was measured and which form computes: both are of the layer before the cut."""
        self.statistics = self.form_kept = None


class MeasuredParameters(MeasuredStates[Statistics]):
    """A layer whose system are its parameters and what was measured with them: `Reducible`.

    A subclass says which module of trainer/reduction/families/ answers, and what a cut replaces; where more
    differs, it has a method of its own.
    """

    answers: ModuleType
    """The family's module in trainer/reduction/families/, with the functions

        propose(system, method)          reduce(system, rank, method)
        transport_moments(reduction, first, second)          verify(parameters_now, reduction)

    which return what those of `Reducible` do. `system` is a `system_class`; a reduction has `parameters`,
    those after the cut, by name."""
    system_class: type[Any]
    """Made of parameters and statistics: what these functions take."""
    cut_parameters: Iterable[str]
    """Parameters that a cut replaces; the others stay."""

    def extract(self) -> Any:
        """Return parameters in double precision and what was measured with them."""
        return self.system_class(parameters64(self), self.measured())

    def spectrum(self, system: Any) -> FloatArray:
        """Return importances, descending."""
        return self.propose(system).hsv

    def propose(self, system: Any) -> RankTable:
        """Return what every rank would mean."""
        return self.answers.propose(system, self.method)

    def reduce(self, system: Any, rank: int) -> Any:
        """Return the layer at exactly this rank."""
        return self.answers.reduce(system, rank, self.method)

    def write_back(self, reduction: Any) -> None:
        """Replace what a cut changes."""
        replace_parameters(self, {name: reduction.parameters[name] for name in self.cut_parameters})
        self.forget()

    def transport_moments(self, reduction: Any, first: Arrays, second: Arrays) -> tuple[Arrays, Arrays]:
        """Return Adam's moments of the states that stay."""
        return self.answers.transport_moments(reduction, first, second)

    def verify(self, reduction: Any) -> float:
        """Return relative error between the layer now and what the reduction says of the layer before."""
        return self.answers.verify(parameters64(self), reduction)


class Sums:
    """Sums over batches of sequences, in double precision."""

    def __init__(self) -> None:
        self._totals: list[Tensor] = []

    def add(self, *parts: Tensor) -> None:
        """Add to each sum."""
        new = [part.cpu().double() for part in parts]
        self._totals = [a + b for a, b in zip(self._totals, new, strict=True)] if self._totals else new

    def totals(self) -> list[FloatArray]:
        """Return every sum. Raise ValueError when nothing was seen."""
        if not self._totals:
            raise ValueError("no calibration sequence was seen")
        return [total.numpy() for total in self._totals]


class OutputSample:
    """Outputs y = c · h of a layer, drawn at random: at most SAMPLED_OUTPUTS, however many parts were seen.

    Each part has as many of them as belong to its share of all outputs.
    """

    def __init__(self) -> None:
        self._rows: Tensor | None = None
        self._seen = 0

    @staticmethod
    def size(numbers: int) -> int:
        """Return how many to draw from a part, where c and h hold that many numbers."""
        return max(1, min(SAMPLED_OUTPUTS, SAMPLED_NUMBERS // numbers))

    @classmethod
    def draw(cls, outputs: int, numbers: int) -> Tensor:
        """Return which of a part's outputs to keep, ascending: all of them where they are few."""
        count = cls.size(numbers)
        if outputs <= count:
            return torch.arange(outputs)
        return torch.randint(outputs, (count,), generator=torch.Generator().manual_seed(0)).sort().values

    def add(self, reads: Tensor, states: Tensor, outputs: int) -> None:
        """Draw c and h (S, …, N) from a part with this number of outputs."""
        self._seen += outputs
        rows = torch.stack([reads, states]).cpu().double()  # (2, S, …, N)
        if self._rows is not None:
            limit = self.size(rows[0, 0].numel())
            if self._seen > limit:
                new = min(rows.shape[1], round(limit * outputs / self._seen))
                self._rows, rows = _some(self._rows, limit - new), _some(rows, new)
            rows = torch.cat([self._rows, rows], dim=1)
        self._rows = rows

    def samples(self) -> Samples:
        """Return c and h in double precision, (S, …, N) each. Raise ValueError when nothing was seen."""
        if self._rows is None:
            raise ValueError("no calibration sequence was seen")
        reads, states = self._rows.numpy()
        return Samples(reads, states)


class MatrixSampler:
    """Samples of the outputs o[t]_v = Σ_n q[t]_n S[t]_nv, of all heads at the same steps and channels v."""

    def __init__(self) -> None:
        self._outputs = OutputSample()

    def drawing(self, q: Tensor, values: int, blocks: Iterable[Tensor]) -> Iterator[tuple[slice, Tensor]]:
        """Yield steps and states of each block, and keep some of them.

        Parameters
        ----------
        q : (batch, L, heads, N)
        values : int
            Channels v.
        blocks : iterable of (batch, T, heads, N, values)
            S[t] of all steps, in turn.
        """
        each, first = q.shape[0] * values, 0  # outputs of a step
        chosen = OutputSample.draw(q.shape[1] * each, q[0, 0].numel()).to(q.device)
        drawn: list[tuple[Tensor, Tensor]] = []
        for S in blocks:
            steps = slice(first, first + S.shape[1])
            here = chosen[(chosen >= steps.start * each) & (chosen < steps.stop * each)] - first * each
            t, rest = here // each, here % each
            sequence, channel = rest // values, rest % values
            drawn.append((q[sequence, first + t], S[sequence, t, ..., channel]))  # (S, heads, N) each
            yield steps, S
            first = steps.stop
        reads, states = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        self._outputs.add(reads, states, q.shape[1] * each)

    def samples(self) -> list[Samples]:
        """Return q[t] and S[t]_v of each head. Raise ValueError when nothing was seen."""
        drawn = self._outputs.samples()  # (S, heads, N)
        return [Samples(drawn.reads[:, head], drawn.states[:, head]) for head in range(drawn.reads.shape[1])]


def _some(rows: Tensor, count: int) -> Tensor:
    chosen = torch.randperm(rows.shape[1], generator=torch.Generator().manual_seed(0))[:count]
    return rows[:, chosen]
