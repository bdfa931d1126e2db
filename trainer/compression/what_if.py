"""Copies of a model, cut and compared with it on held-out sequences. Nothing here changes the model."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hankelboard.storage.schema import Effects, Scores
from hankelboard.trainer.compression import generators
from hankelboard.trainer.compression.workload import Answers, Forward, Workload, call
from hankelboard.trainer.reduction.surgery import apply_reduction, reducible_layers, restored_on_error

EVALUATED_STEPS = 1 << 16
"""Steps of all sequences that are evaluated at once: 512 sequences of 128."""
RESAMPLES = 1000
CONFIDENCE = 0.95


def cut(
    model: nn.Module, optimizer: torch.optim.Optimizer | None, ranks: Sequence[int], moments: str
) -> float:
    """Cut every layer to its rank; layers at their full dimension are left alone.

    Returns the largest relative write-back error. Raises ValueError when a rank cannot be realised; model and
    optimizer are then as they were, all layers of them.
    """
    layers = [layer for _, layer in reducible_layers(model)]
    planned = [
        (layer, layer.reduce(layer.extract(), rank))
        for layer, rank in zip(layers, ranks, strict=True)
        if rank < layer.state_dim
    ]
    with restored_on_error(model, optimizer):
        errors = [apply_reduction(layer, optimizer, reduction, moments) for layer, reduction in planned]
    return max(errors, default=0.0)


def cut_copy(model: nn.Module, ranks: Sequence[int]) -> nn.Module:
    """Return a copy of the model at these ranks. Raises ValueError when they cannot be realised."""
    trial = copy.deepcopy(model)
    cut(trial, None, ranks, "reset")
    return trial


class Comparison:
    """A model's answers on held-out sequences, to compare those of its cut copies with."""

    def __init__(self, model: nn.Module, workload: Workload, limit: int):
        """Compare on the first `limit` validation samples, or on all if there are fewer."""
        self._workload, self._limit = workload, limit
        self._before = workload.answer(model, limit)

    @property
    def samples(self) -> int:
        """Validation samples that are compared on."""
        return len(self._before.loss)

    @property
    def before(self) -> Scores:
        """Loss (nats) and accuracy of the model as it is."""
        return _scores(self._before)

    def with_copy(self, trial: nn.Module) -> Effects:
        """Return what a cut copy changes.

        Returns
        -------
        point : dict
            `loss`, `accuracy`; `loss_change` and `accuracy_change`: 95 % intervals of the mean difference to
            the model as it is, by a paired bootstrap over sequences; `kl`: mean Kullback-Leibler divergence
            of the predictions, nats.
        """
        before, after = self._before, self._workload.answer(trial, self._limit)
        effects: Effects = {
            **_scores(after),  # type: ignore[typeddict-item]  # all its keys are Effects', too
            "loss_change": paired_interval(after.loss - before.loss),
            "accuracy_change": paired_interval(after.accuracy - before.accuracy),
            "kl": _divergence(before.logits, after.logits),
        }
        return effects


@dataclass(frozen=True)
class LayerCall:
    """How a layer was called, and what it returned."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any

    @property
    def inputs(self) -> Any:
        """What it read: the first argument."""
        return next(iter((*self.args, *self.kwargs.values())), None)


def layer_outputs(model: nn.Module, inputs: Any, forward: Forward = call) -> list[LayerCall]:
    """Return what each reducible layer receives and returns when the model reads `inputs`."""
    seen: dict[int, LayerCall] = {}
    modules = [module for _, module in reducible_layers(model)]

    def hook_for(index: int) -> Callable[..., None]:
        return lambda module, args, kwargs, output: seen.update({index: LayerCall(args, kwargs, output)})

    hooks = [
        module.register_forward_hook(hook_for(index), with_kwargs=True)  # type: ignore[attr-defined]
        for index, module in enumerate(modules)
    ]
    try:
        with evaluating(model):
            forward(model, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return [seen[index] for index in range(len(modules))]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Leave out dropout and gradients; restore the model's mode and all generators afterwards."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), generators.kept():
            yield
    finally:
        model.train(training)


def _scores(answers: Answers) -> Scores:
    if not len(answers.loss):
        return {}
    return {"loss": float(answers.loss.mean()), "accuracy": float(answers.accuracy.mean())}


def _divergence(before: Tensor, after: Tensor) -> float:
    p, q = functional.log_softmax(before.double(), -1), functional.log_softmax(after.double(), -1)
    return float((p.exp() * (p - q)).sum(-1).mean())


def paired_interval(differences: np.ndarray, seed: int = 0) -> list[float | None]:
    """Return the percentile bootstrap interval (95 %) of the mean of paired differences; of none no numbers.

    >>> paired_interval(np.zeros(5))
    [0.0, 0.0]
    """
    if not len(differences):
        return [None, None]
    chosen = np.random.default_rng(seed).integers(0, len(differences), (RESAMPLES, len(differences)))
    means = differences[chosen].mean(axis=1)
    tail = 50.0 * (1.0 - CONFIDENCE)
    return [float(value) for value in np.percentile(means, [tail, 100.0 - tail])]
