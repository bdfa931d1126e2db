"""Selective copying (Gu and Dao 2023, arXiv 2312.00752, sec. 4.1.1): repeat the tokens, leave out the
blanks.

    . . 3 . . . 1 . 4 . ? ? ?   →   3 1 4 at the three ?

Tokens stand at random places among blanks, and are asked for, in order, at the end. Steps without a
question are not scored. A guess is right in 1 of "vocabulary" cases (16: 6 %). Layers whose dynamics do not
depend on data (LRU, S4D, S5) see the distances change from sequence to sequence and stay near the share
that counting gives; selective ones (Mamba, GLA, DeltaNet) solve it once their states hold `tokens` symbols.
"""

from functools import partial

import torch

from hankelboard.settings.config import DataConfig
from hankelboard.settings.tasks import task_options
from hankelboard.trainer.data.generated import drawn_task
from hankelboard.trainer.data.scoring import UNSCORED
from hankelboard.trainer.data.task import Split, Task

BLANK = 0


def load_copying_task(config: DataConfig) -> Task:
    """Return the task. Inputs: 0 blank, 1 … V tokens, V + 1 the question.

    Options: steps in all, tokens to copy, how many different ones, sequences.
    """
    options = task_options("copying", config.options)
    length, tokens, vocabulary = (options[name] for name in ("length", "tokens", "vocabulary"))
    draw = partial(sequences, length=length, tokens=tokens, vocabulary=vocabulary)
    return drawn_task(
        config, draw, sequences=options["sequences"], test=options["test"],
        classes=vocabulary, vocabulary=vocabulary + 2,
    )  # fmt: skip


def sequences(count: int, generator: torch.Generator, *, length: int, tokens: int, vocabulary: int) -> Split:
    """Return sequences of `length` steps: the last `tokens` of them ask for what was read, in order."""
    before = length - tokens
    places = torch.rand(count, before, generator=generator).argsort(1)[:, :tokens].sort(1).values
    content = torch.randint(1, vocabulary + 1, (count, tokens), generator=generator)  # (count, tokens)
    inputs = torch.full((count, length), BLANK, dtype=torch.int16)
    inputs.scatter_(1, places, content.to(torch.int16))
    inputs[:, before:] = vocabulary + 1
    labels = torch.full((count, length), UNSCORED)
    labels[:, before:] = content - 1
    return Split(inputs[:, :, None], labels)
