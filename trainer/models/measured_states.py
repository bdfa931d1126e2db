"""Layers whose states depend on data: what is measured of them, and when (`Calibrated` of the seam)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor, nn

from trainer.precision import in_float32
from trainer.reduction.method import Method
from trainer.reduction.reducible import FloatArray

Statistics = TypeVar("Statistics")


class Observer(Protocol):
    """Adds up what a layer computes while it is observed."""

    def see(self, *tensors: Tensor) -> None:
        """Add one batch of sequences."""

    def statistics(self) -> Any:
        """What was measured. Raises ValueError when nothing was seen."""


class MeasuredStates(nn.Module, Generic[Statistics]):
    """A layer that can be cut once forward passes over training sequences have measured its states.

    `forward` hands to `observe` what the observer of the subclass wants to see. Statistics are no parameters
    or buffers, and a subclass forgets them when it is cut.
    """

    observer: type[Any]

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method
        self.statistics: Statistics | None = None
        self._observer: Observer | None = None

    def observe(self, *tensors: Tensor) -> None:
        """Show an observer what is computed, when there is one: in single precision at least."""
        if self._observer is not None:
            in_float32(self._observer.see)(*tensors)

    @contextmanager
    def observing(self) -> Iterator[None]:
        """Forward passes meanwhile are measured, for `extract`."""
        self.statistics, self._observer = None, self.observer()
        try:
            yield
            self.statistics = self._observer.statistics()
        finally:
            self._observer = None

    def measured(self) -> Statistics:
        """The statistics. Raises ValueError when there are none since the last cut."""
        if self.statistics is None:
            raise ValueError("the layer was not calibrated since its last cut: its states depend on data")
        return self.statistics

    def parameters64(self) -> dict[str, FloatArray]:
        """Parameters by name, in double precision."""
        return {name: p.detach().double().cpu().numpy().copy() for name, p in self.named_parameters()}
