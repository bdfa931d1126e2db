"""ListOps: nested lists of digits under MIN, MAX, MED and SM (sum modulo 10), to be evaluated. Generated.

    [MAX 2 9 [MIN 4 7 ] 0 ]   →   9

Nangia and Bowman 2018 (arXiv 1804.06028); sizes of the Long Range Arena (Tay et al. 2021, arXiv 2011.04006):
depth and arguments at most 10, a digit with probability 0.25, 500 to 2000 symbols. Every symbol is a step,
one-hot in 15 channels; steps after the end are all 0: use model.pooling = "masked".
"""

import random
import statistics
from collections.abc import Callable, Iterator

import torch

from hankelboard.settings.config import DataConfig
from hankelboard.settings.tasks import task_options
from hankelboard.storage.errors import ConfigError
from hankelboard.trainer.data.task import Split, Task, hold_out

OPERATORS: dict[str, Callable[[list[int]], int]] = {
    "MIN": min,
    "MAX": max,
    "MED": lambda values: int(statistics.median(values)),
    "SM": lambda values: sum(values) % 10,
}
SYMBOLS = (*(f"[{name}" for name in OPERATORS), "]", *map(str, range(10)))
DIGIT_PROBABILITY = 0.25

Tree = int | tuple[str, list["Tree"]]


def load_listops_task(config: DataConfig) -> Task:
    """Return the task; the seed of the split draws the lists, too.

    Options: sequences for training and validation, and for test; limits of the lists.
    """
    options = task_options("listops", config.options)
    draw = random.Random(config.split_seed)
    rest, test = (_split(draw, options[part], options) for part in ("sequences", "test"))
    kept, held = hold_out(len(rest), config.validation, config.split_seed + 1)
    train, val = (Split(rest.inputs[part], rest.labels[part]) for part in (kept, held))
    return Task(train, val, test, classes=10)


def _split(draw: random.Random, count: int, options: dict[str, int]) -> Split:
    trees = [_fitting(draw, options) for _ in range(count)]
    inputs = torch.zeros(count, options["max_length"], len(SYMBOLS), dtype=torch.uint8)
    for row, tree in enumerate(trees):
        places = torch.tensor([SYMBOLS.index(symbol) for symbol in symbols(tree)])
        inputs[row, torch.arange(len(places)), places] = 1
    return Split(inputs, torch.tensor([value(tree) for tree in trees]))


def _fitting(draw: random.Random, options: dict[str, int]) -> Tree:
    """Return the next list whose length lies within the limits."""
    for _ in range(100_000):
        drawn = tree(draw, 1, options["max_depth"], options["max_args"])
        if options["min_length"] <= sum(1 for _ in symbols(drawn)) <= options["max_length"]:
            return drawn
    raise ConfigError(
        f"data.options: no list of {options['min_length']} to {options['max_length']} symbols came up; "
        "allow more depth, arguments or another length"
    )


def tree(draw: random.Random, depth: int, max_depth: int, max_args: int) -> Tree:
    """Return a digit at the largest depth, and elsewhere with the probability of one; else an operator."""
    if depth >= max_depth or (depth > 1 and draw.random() < DIGIT_PROBABILITY):
        return draw.randrange(10)
    name = draw.choice(list(OPERATORS))
    arguments = draw.randint(2, max_args)
    return name, [tree(draw, depth + 1, max_depth, max_args) for _ in range(arguments)]


def symbols(node: Tree) -> Iterator[str]:
    """Return the list as a sequence of SYMBOLS.

    >>> " ".join(symbols(("MAX", [2, ("MIN", [4, 7])])))
    '[MAX 2 [MIN 4 7 ] ]'
    """
    if isinstance(node, int):
        yield str(node)
        return
    name, arguments = node
    yield f"[{name}"
    for argument in arguments:
        yield from symbols(argument)
    yield "]"


def value(node: Tree) -> int:
    """Return what a list evaluates to, 0 to 9; MED takes the whole part.

    >>> value(("SM", [9, ("MED", [1, 4]), 8]))
    9
    """
    if isinstance(node, int):
        return node
    name, arguments = node
    return OPERATORS[name]([value(argument) for argument in arguments])
