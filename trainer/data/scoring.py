"""Loss and correctness of predictions, for labels per sequence and labels per step alike.

A label per step may be UNSCORED: that step is not asked about.
"""

import torch
from torch import Tensor
from torch.nn import functional

from hankelboard.trainer.layers.recurrences.precision import in_float32

UNSCORED = -100
"""The label of steps that do not count; PyTorch's own default."""


@in_float32
def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return mean cross-entropy in nats over what is scored; 0, without a gradient, where nothing is.

    Parameters
    ----------
    logits : (batch, classes) or (batch, L, classes)
    labels : (batch,) or (batch, L) int64
    """
    mean = functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=UNSCORED)
    return torch.where(any_scored(labels), mean, 0.0)


def any_scored(labels: Tensor) -> Tensor:
    """Return whether there is a label that counts, on the device of the labels."""
    return (labels != UNSCORED).any()


@in_float32
def judged(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return sums over what is scored in each sequence, (batch,) float64 on the CPU.

    Returns
    -------
    loss : cross-entropy, nats
    correct : right predictions
    scored : how many were asked for
    """
    flat, targets = logits.flatten(0, -2), labels.flatten()
    each = functional.cross_entropy(flat, targets, reduction="none", ignore_index=UNSCORED)
    correct = flat.argmax(1) == targets
    parts = torch.stack([each.double(), correct.double(), (targets != UNSCORED).double()])
    loss, right, scored = parts.view(3, len(labels), -1).sum(2).cpu()
    return loss, right, scored
