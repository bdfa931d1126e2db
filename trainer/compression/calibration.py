"""Statistics of layers whose states depend on data: forward passes over training sequences.

Every other sequence is held out: choices are fitted to the first half, and what they cost is measured on the
second, as is the error of every layer's output (output_errors.py).
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from torch import nn

from hankelboard.trainer.compression.batches import parts, samples, some, steps
from hankelboard.trainer.compression.what_if import EVALUATED_STEPS, evaluating
from hankelboard.trainer.compression.workload import Forward, call
from hankelboard.trainer.reduction.reducible import ReducibleLayer
from hankelboard.trainer.reduction.surgery import reducible_layers


def calibrate(model: nn.Module, inputs: Any, forward: Forward = call) -> nn.Module:
    """Let every layer that asks for it see these sequences; return the model.

    Linear time-invariant layers ask for nothing, and a model of such layers is not run.

    Parameters
    ----------
    inputs : (samples, L, channels), or any batch
    forward : callable
        Runs the model on them.
    """
    layers = [layer for _, layer in reducible_layers(model) if layer.offers("observing")]
    judged = [layer for layer in layers if layer.offers("holding_out")]
    if not layers:
        return model
    fitted, others = inputs, some(inputs, slice(0))
    if judged and samples(inputs) > 1:
        fitted, others = some(inputs, slice(None, None, 2)), held_out(inputs)
    _show(model, fitted, forward, [layer.observing for layer in layers])
    _show(model, others, forward, [layer.holding_out for layer in judged])
    return model


def held_out(inputs: Any) -> Any:
    """Return the calibration sequences that no choice is fitted to: every other one; a single one is all."""
    return some(inputs, slice(1, None, 2)) if samples(inputs) > 1 else inputs


def _show(
    model: nn.Module,
    inputs: Any,
    forward: Forward,
    contexts: Sequence[Callable[[], AbstractContextManager[None]]],
) -> None:
    """Run the model on the sequences in parts, inside these contexts; not at all where one is missing."""
    if not contexts or not samples(inputs):
        return
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context())
        stack.enter_context(evaluating(model))
        count = math.ceil(samples(inputs) * steps(inputs) / EVALUATED_STEPS)
        for part in parts(inputs, min(count, samples(inputs))):  # of equal size: each counts alike
            forward(model, part)


def monitored(layer: ReducibleLayer) -> str:
    """Return the importance that `spectrum` shows."""
    return layer.monitored or layer.importance
