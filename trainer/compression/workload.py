"""What compression asks of a loop: to run a model on the loop's data, which only the loop understands."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from hankelboard.storage.schema import Scores
from hankelboard.trainer.reduction.reducible import FloatArray


@dataclass(frozen=True)
class Answers:
    """A model's predictions for validation samples, and how good each of them is."""

    logits: Tensor
    """(count, classes) or (count, L, classes), float32, on the CPU."""
    loss: FloatArray
    """(scored,) mean loss of each sample in which something is scored, nats."""
    accuracy: FloatArray
    """(scored,) share of right predictions in each of them."""


Forward = Callable[[nn.Module, Any], Any]
"""Runs a model on a batch: (model, batch) -> its output."""


def call(model: nn.Module, batch: Any) -> Any:
    """Run a model that takes the batch as it is."""
    return model(batch)


class Workload(Protocol):
    """Data and loss of a training. The training loop implements it; compression never sees a data set.

    Each method takes the model, because copies of it are measured, too. None changes it, and none draws
    random numbers that training would draw.
    """

    @property
    def batch_shape(self) -> tuple[int, int]:
        """Samples and steps of a training batch: recurrences choose their form by them."""

    def evaluate(self, model: nn.Module) -> Scores:
        """Return loss, accuracy and what else the task shows, over all validation data.

        In the precision of training.
        """

    def answer(self, model: nn.Module, limit: int) -> Answers:
        """Return the predictions for the first `limit` validation samples, in single precision."""

    def calibration_inputs(self, position: int) -> Any:
        """Return training inputs to measure states on that depend on data, and how far a cut changes outputs.

        A tensor, or a tuple, list or dict of them whose tensors share the first axis, samples: `forward`
        understands it. The last ones before `position`, counted in samples since the start: a replay measures
        the same. Every other one is held out: no choice of states is fitted to it.
        """

    def forward(self, model: nn.Module, inputs: Any) -> Any:
        """Run a model on calibration inputs, or on some of their samples; return its output."""

    def forward_backward(self, model: nn.Module) -> None:
        """Compute loss and gradients of one training batch in the precision of training, to be timed."""

    def untrained(self) -> nn.Module:
        """Return a freshly initialised model of the original dimensions, on the device of training."""


class Followed(Protocol):
    """A run whose cuts are repeated: `reduction.ranks_as`."""

    def ranks_at(self, opportunity: int, last: bool) -> list[int] | None:
        """Return its ranks after this opportunity, at the last one its final ones; None if it was not cut."""
