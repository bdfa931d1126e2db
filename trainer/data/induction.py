"""Induction heads (Olsson et al. 2022, arXiv 2209.11895; Gu and Dao 2023): what came after the trigger?

    5 2 7 ! 3 9 1 4 !   →   3

Random tokens; a trigger stands once among them and again at the end, where the token that followed it the
first time is asked for. Only that step is scored. A guess is right in 1 of "vocabulary" cases (16: 6 %). A
layer must connect two neighbours and then keep one token for as long as it takes: a short convolution and
one selective layer do it, or two layers of attention; layers whose dynamics do not depend on data do not.
"""

from functools import partial

import torch

from hankelboard.settings.config import DataConfig
from hankelboard.settings.tasks import task_options
from hankelboard.trainer.data.generated import drawn_task
from hankelboard.trainer.data.scoring import UNSCORED
from hankelboard.trainer.data.task import Split, Task


def load_induction_task(config: DataConfig) -> Task:
    """Return the task. Inputs: 0 … V − 1 tokens, V the trigger.

    Options: steps, different tokens in addition to the trigger, sequences.
    """
    options = task_options("induction", config.options)
    vocabulary = options["vocabulary"]
    draw = partial(sequences, length=options["length"], vocabulary=vocabulary)
    return drawn_task(
        config, draw, sequences=options["sequences"], test=options["test"],
        classes=vocabulary, vocabulary=vocabulary + 1,
    )  # fmt: skip


def sequences(count: int, generator: torch.Generator, *, length: int, vocabulary: int) -> Split:
    """Return sequences of `length` steps whose last one asks."""
    inputs = torch.randint(vocabulary, (count, length), generator=generator)
    place = torch.randint(length - 2, (count, 1), generator=generator)
    answer = inputs.gather(1, place + 1)  # (count, 1)
    inputs.scatter_(1, place, vocabulary)
    inputs[:, -1] = vocabulary
    labels = torch.full((count, length), UNSCORED)
    labels[:, -1:] = answer
    return Split(inputs.to(torch.int16)[:, :, None], labels)
