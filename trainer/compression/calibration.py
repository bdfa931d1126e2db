"""Statistics of layers whose states depend on data: forward passes over training sequences.

Every other sequence is held out: choices are fitted to the first half, and what they cost is measured on the
second, as is the error of every layer's output (output_errors.py).
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack

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
    judged = [layer for layer in layers if layer.offers("holding_out")]
    fitted, others = (inputs[::2], held_out(inputs)) if judged and len(inputs) > 1 else (inputs, inputs[:0])
    _show(model, fitted, [layer.observing for layer in layers])
    _show(model, others, [layer.holding_out for layer in judged])
    return model


def held_out(inputs: Tensor) -> Tensor:
    """Return the calibration sequences that no choice is fitted to: every other one; a single one is all."""
    return inputs[1::2] if len(inputs) > 1 else inputs


def _show(
    model: nn.Module, inputs: Tensor, contexts: Sequence[Callable[[], AbstractContextManager[None]]]
) -> None:
    """Run the model on the sequences in parts, inside these contexts; not at all where one is missing."""
    if not contexts or not len(inputs):
        return
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context())
        stack.enter_context(evaluating(model))
        parts = math.ceil(inputs.shape[0] * inputs.shape[1] / EVALUATED_STEPS)
        for part in inputs.tensor_split(min(parts, len(inputs))):  # of equal size: each counts alike
            model(part)


def monitored(layer: ReducibleLayer) -> str:
    """Return the importance that `spectrum` shows."""
    return layer.monitored or layer.importance
