"""What a model answers on a split of a task, and how good that is."""

import math

import torch
from torch import Tensor, nn

from hankelboard.storage.schema import Scores
from hankelboard.trainer.compression.what_if import EVALUATED_STEPS, evaluating
from hankelboard.trainer.data.scoring import judged
from hankelboard.trainer.data.task import Split


def evaluate(model: nn.Module, split: Split, *, text: bool = False) -> Scores:
    """Return mean cross-entropy (nats) and accuracy; of a text also the loss as bits per character.

    Of a split in which nothing is scored there is nothing to say: no scores then.
    """
    totals = torch.zeros(3, dtype=torch.float64)
    with evaluating(model):
        for part in torch.split(torch.arange(len(split)), evaluation_batch(split)):
            logits = model(split.inputs[part])  # (batch, classes) or (batch, L, classes)
            totals += torch.stack(judged(logits, split.labels[part])).sum(1)
    loss, correct, scored = totals.tolist()
    if scored == 0:
        return {}
    scores: Scores = {"loss": loss / scored, "accuracy": correct / scored}
    if text:
        scores["bits_per_character"] = loss / scored / math.log(2.0)
    return scores


def answers(model: nn.Module, inputs: Tensor, batch: int) -> Tensor:
    """Return the logits of all sequences, on the CPU."""
    with evaluating(model):
        return torch.cat([model(part).cpu() for part in torch.split(inputs, batch)])


def evaluation_batch(split: Split) -> int:
    """Return the sequences of a split to evaluate at once, at least one."""
    return max(1, EVALUATED_STEPS // split.inputs.shape[1])
