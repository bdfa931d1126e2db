"""Statistics of layers whose states depend on data: one forward pass over training sequences."""

import math
from contextlib import ExitStack

from torch import Tensor, nn

from hankelboard.trainer.compression.what_if import EVALUATED_STEPS, evaluating
from hankelboard.trainer.reduction.reducible import ReducibleLayer
from hankelboard.trainer.reduction.surgery import reducible_layers


def calibrate(model: nn.Module, inputs: Tensor) -> nn.Module:
    """Let every layer that asks for it see these sequences; return the model.

    Linear time-invariant layers ask for nothing, and a model of such layers is not run.

    Parameters
    ----------
    inputs : (samples, L, channels)
    """
    layers = [layer for _, layer in reducible_layers(model) if layer.offers("observing")]
    if layers:
        with ExitStack() as stack:
            for layer in layers:
                stack.enter_context(layer.observing())
            stack.enter_context(evaluating(model))
            parts = math.ceil(inputs.shape[0] * inputs.shape[1] / EVALUATED_STEPS)
            for part in inputs.tensor_split(min(parts, len(inputs))):  # of equal size: each counts alike
                model(part)
    return model


def monitored(layer: ReducibleLayer) -> str:
    """Return the importance that `spectrum` shows."""
    return layer.monitored or layer.importance
