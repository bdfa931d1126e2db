"""Copies of a model, cut and compared with it on held-out sequences. Nothing here changes the model."""

import copy
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hankelboard.trainer.data.scoring import judged
from hankelboard.trainer.data.task import Split
from hankelboard.trainer.reduction.surgery import apply_reduction, reducible_layers, restored_on_error

EVALUATED_STEPS = 1 << 16
"""Steps of all sequences that are evaluated at once: 512 sequences of 128."""
OUTPUT_SEQUENCES = 64
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
    """A copy of the model at these ranks. Raises ValueError when they cannot be realised."""
    trial = copy.deepcopy(model)
    cut(trial, None, ranks, "reset")
    return trial


class Comparison:
    """A model's answers on held-out sequences, to compare those of its cut copies with."""

    def __init__(self, model: nn.Module, split: Split, limit: int):
        self._split = split
        self._count = min(len(split), limit)
        self._logits = self._answers(model)
        self._layers = layer_outputs(model, split.inputs[:OUTPUT_SEQUENCES])

    @property
    def before(self) -> dict[str, float]:
        """Loss (nats) and accuracy of the model as it is."""
        return _scores(*self._judged(self._logits))

    def with_copy(self, trial: nn.Module) -> dict[str, Any]:
        """What a cut copy changes.

        Returns
        -------
        point : dict
            `loss`, `accuracy`; `loss_change` and `accuracy_change`: 95 % intervals of the mean difference to
            the model as it is, by a paired bootstrap over sequences; `kl`: mean Kullback-Leibler divergence
            of the predictions, nats; `output_error`: ‖y − y_r‖ / ‖y‖ of each layer for the same inputs.
        """
        logits = self._answers(trial)
        (loss, correct), (loss_before, correct_before) = self._judged(logits), self._judged(self._logits)
        return {
            **_scores(loss, correct),
            "loss_change": paired_interval(loss - loss_before),
            "accuracy_change": paired_interval(correct - correct_before),
            "kl": _divergence(self._logits, logits),
            "output_error": self._output_errors(trial),
        }

    def _answers(self, model: nn.Module) -> Tensor:
        """Logits, (count, classes) or (count, L, classes), on the CPU."""
        inputs = self._split.inputs[: self._count]
        return answers(model, inputs, evaluation_batch(self._split)).float()

    def _judged(self, logits: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Mean loss and share of right answers of each sequence, (count,) float64."""
        loss, correct, scored = judged(logits, self._split.labels[: self._count].cpu())
        return (loss / scored).numpy(), (correct / scored).numpy()

    def _output_errors(self, trial: nn.Module) -> list[float]:
        errors = []
        with evaluating(trial):
            for (_, layer), (inputs, outputs) in zip(reducible_layers(trial), self._layers, strict=True):
                difference = layer(inputs) - outputs  # type: ignore[operator]
                errors.append((difference.norm() / outputs.norm().clamp_min(1e-30)).item())
        return errors


def layer_outputs(model: nn.Module, inputs: Tensor) -> list[tuple[Tensor, Tensor]]:
    """What each reducible layer receives and returns when the model reads `inputs`."""
    seen: dict[int, tuple[Tensor, Tensor]] = {}
    modules = [module for _, module in reducible_layers(model)]

    def hook_for(index: int) -> Callable[..., None]:
        return lambda module, given, result: seen.update({index: (given[0], result)})

    hooks = [
        module.register_forward_hook(hook_for(index))  # type: ignore[attr-defined]
        for index, module in enumerate(modules)
    ]
    try:
        with evaluating(model):
            model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return [seen[index] for index in range(len(modules))]


def evaluation_batch(split: Split) -> int:
    """Sequences of a split to evaluate at once, at least one."""
    return max(1, EVALUATED_STEPS // split.inputs.shape[1])


def answers(model: nn.Module, inputs: Tensor, batch: int) -> Tensor:
    """Logits of all sequences, on the CPU."""
    with evaluating(model):
        return torch.cat([model(part).cpu() for part in inputs.split(batch)])


@contextmanager
def evaluating(model: nn.Module) -> Any:
    """Without dropout and gradients; the model's mode is restored afterwards."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def _scores(loss: np.ndarray, correct: np.ndarray) -> dict[str, float]:
    return {"loss": float(loss.mean()), "accuracy": float(correct.mean())}


def _divergence(before: Tensor, after: Tensor) -> float:
    p, q = functional.log_softmax(before.double(), -1), functional.log_softmax(after.double(), -1)
    return float((p.exp() * (p - q)).sum(-1).mean())


def paired_interval(differences: np.ndarray, seed: int = 0) -> list[float]:
    """Percentile bootstrap interval (95 %) of the mean of paired differences.

    >>> paired_interval(np.zeros(5))
    [0.0, 0.0]
    """
    chosen = np.random.default_rng(seed).integers(0, len(differences), (RESAMPLES, len(differences)))
    means = differences[chosen].mean(axis=1)
    tail = 50.0 * (1.0 - CONFIDENCE)
    return [float(value) for value in np.percentile(means, [tail, 100.0 - tail])]
