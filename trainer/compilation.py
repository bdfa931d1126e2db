"""The forward pass of training through torch.compile: what surrounds the recurrences becomes fused code."""

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from storage.errors import ConfigError

OPTIONS = {"fallback_random": True}
"""Dropout draws what it draws without compilation."""


class Compiled:
    """The forward pass of a model, compiled at its first call for the state dimensions that it has then.

    It shares parameters with the model, which stays what is evaluated, cut and saved. Make a new one after a
    cut: that forgets the code of the old one, so that no shape is compiled more than once and PyTorch's limit
    of versions of a function is not reached by many cuts.
    """

    def __init__(self, model: nn.Module) -> None:
        torch.compiler.reset()
        self._forward = torch.compile(model, dynamic=False, options=OPTIONS)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Logits of the model. Raises ConfigError where this machine cannot compile."""
        try:
            logits: Tensor = self._forward(inputs)
        except TorchDynamoException as error:
            first = str(error).strip().splitlines()[0]
            raise ConfigError(
                f"training.compile = true: PyTorch could not compile the model ({first}); install a C++ "
                "compiler (on GPUs Triton, too) or set training.compile = false"
            ) from error
        return logits
