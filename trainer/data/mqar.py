"""Multi-query associative recall (Arora et al. 2023, arXiv 2312.04927): keys with values, then keys alone.

    a 4 b 7 c 1 . . b . a . . . c   →   7 at b, 4 at a, 1 at c

First all pairs of key and value, then every key once more, among blanks, early ones more often than late
ones (a power law, as in that paper). Only those steps are scored. A guess is right in 2 of "vocabulary"
cases (64: 3 %), a value that was read, whichever, in about 1 of `pairs`. The state must hold every pair:
attention solves it, matrix-valued states do where the key dimension is about that of the pairs, a state of
fixed dynamics does not. Every direction of the state is then in use: the spectrum is flat, and this is the
task on which not to cut.
"""

from functools import partial

import torch

from hankelboard.settings.config import DataConfig
from hankelboard.settings.tasks import task_options
from hankelboard.trainer.data.generated import drawn_task
from hankelboard.trainer.data.scoring import UNSCORED
from hankelboard.trainer.data.task import Split, Task

BLANK, POWER = 0, 0.01
"""The token of steps without meaning; exponent a of the law p(gap) ∝ gap^(a − 1)."""


def load_mqar_task(config: DataConfig) -> Task:
    """Return the task. Inputs: 0 blank, 1 … V/2 − 1 keys, V/2 … V − 1 values.

    Options: steps, pairs of key and value, tokens (half are values), sequences.
    """
    options = task_options("mqar", config.options)
    length, pairs, vocabulary = (options[name] for name in ("length", "pairs", "vocabulary"))
    draw = partial(sequences, length=length, pairs=pairs, vocabulary=vocabulary)
    return drawn_task(
        config, draw, sequences=options["sequences"], test=options["test"],
        classes=vocabulary // 2, vocabulary=vocabulary,
    )  # fmt: skip


def sequences(count: int, generator: torch.Generator, *, length: int, pairs: int, vocabulary: int) -> Split:
    """Return sequences of `length` steps: 2 · pairs steps of keys and values, then questions among blanks."""
    half, context = vocabulary // 2, 2 * pairs
    keys = 1 + torch.rand(count, half - 1, generator=generator).argsort(1)[:, :pairs]  # (count, pairs)
    values = torch.randint(half, vocabulary, (count, pairs), generator=generator)  # (count, pairs)
    places = context + _gaps(count, length - context, pairs, generator)  # (count, pairs)
    inputs = torch.full((count, length), BLANK)
    inputs[:, 0:context:2], inputs[:, 1:context:2] = keys, values
    inputs.scatter_(1, places, keys)
    labels = torch.full((count, length), UNSCORED)
    labels.scatter_(1, places, values - half)
    return Split(inputs.to(torch.int16)[:, :, None], labels)


def _gaps(count: int, space: int, pairs: int, generator: torch.Generator) -> torch.Tensor:
    """Return different places in 0 .. space − 1, drawn by the power law, no place twice: (count, pairs)."""
    weight = (POWER - 1.0) * torch.arange(1, space + 1).log()  # (space,) log p
    noise = -torch.log(-torch.log(torch.rand(count, space, generator=generator).clamp(1e-9, 1 - 1e-7)))
    return (weight + noise).topk(pairs, dim=1).indices  # Gumbel: the largest are such a draw
