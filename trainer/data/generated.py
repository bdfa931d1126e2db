"""Splits of tasks that are drawn by a seed: every sequence independent of all others."""

from collections.abc import Callable

import torch

from hankelboard.settings.config import DataConfig
from hankelboard.trainer.data.task import Split, Task, hold_out

Draw = Callable[[int, torch.Generator], Split]


def drawn_task(
    config: DataConfig, draw: Draw, *, sequences: int, test: int, classes: int, vocabulary: int = 0
) -> Task:
    """Return the task. The seed of the split draws the sequences, those for training and validation first.

    Parameters
    ----------
    draw : callable
        Draws a number of sequences from a generator: inputs (count, L, channels), or (count, L, 1) of
        tokens; labels (count,) or, where every step has one, (count, L).
    sequences, test : int
        How many for training and validation together, and for test.
    classes : int
        Different labels.
    vocabulary : int
        Different tokens; 0 where inputs are numbers.
    """
    generator = torch.Generator().manual_seed(config.split_seed)
    rest, last = draw(sequences, generator), draw(test, generator)
    kept, held = hold_out(sequences, config.validation, config.split_seed + 1)
    train, val = (Split(rest.inputs[part], rest.labels[part]) for part in (kept, held))
    return Task(train, val, last, classes=classes, vocabulary=vocabulary)
