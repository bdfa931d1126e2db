"""What training minimises: cross-entropy, and where a run asks for it a teacher's term and a regulariser."""

from collections.abc import Mapping

from torch import Tensor

from hankelboard.trainer.data.scoring import cross_entropy
from hankelboard.trainer.layers.recurrences.precision import in_float32
from hankelboard.trainer.training.objective.distillation import Distillation
from hankelboard.trainer.training.objective.regularisation import HankelRegulariser


class Objective:
    """The loss of a run: cross-entropy, unless its configuration asks for more."""

    def __init__(
        self, distillation: Distillation | None = None, regulariser: HankelRegulariser | None = None
    ):
        self._distillation, self._regulariser = distillation, regulariser

    @in_float32
    def loss(self, logits: Tensor, labels: Tensor, chosen: Tensor, step: int) -> Tensor:
        """Return the loss of one batch, in single precision.

        Parameters
        ----------
        logits : (batch, classes) or (batch, L, classes)
        labels : (batch,) or (batch, L)
        chosen : (batch,)
            Indices of the sequences in the training data.
        step : int
            Completed updates.
        """
        if self._distillation is None:
            loss = cross_entropy(logits, labels)
        else:
            loss = self._distillation.loss(logits, labels, chosen)
        return loss if self._regulariser is None else loss + self._regulariser.loss(step)

    def state_dict(self) -> dict[str, Tensor]:
        """Return what a checkpoint keeps of it, beside the model."""
        return {} if self._regulariser is None else self._regulariser.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` returned."""
        if self._regulariser is not None:
            self._regulariser.load_state_dict(state)
