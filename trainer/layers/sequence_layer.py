"""What a network needs of any sequence layer: training form, streaming form, and whether it has a gate."""

from collections.abc import Sequence
from types import ModuleType

from torch import Tensor, nn

from hankelboard.trainer.layers.recurrences.precision import in_float32

State = tuple[Tensor, ...]


class SequenceLayer(nn.Module):
    """A map of sequences, (batch, L, H) to (batch, L, H), that does not look ahead.

    Its streaming form is a module with `step(layer, input, *states)` that imports torch only: the very file
    that goes along with exported models.
    """

    gated = False
    """Whether the layer has its own gate and output projection; else the block around it has them."""
    streaming: ModuleType

    def step(self, u: Tensor, state: Sequence[Tensor] | None = None) -> tuple[Tensor, State]:
        """Return the output of one step, (batch, H) to (batch, H), and the next state.

        Parameters
        ----------
        u : (batch, H)
        state : tuple of Tensor, optional
            Result of the last call; None at the beginning.
        """
        output, *after = in_float32(self.streaming.step)(self, u, *(state or ()))
        return output, tuple(after)
