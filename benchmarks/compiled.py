"""What `training.compile` gains: one training step, compiled against plain, in turns in one process.

Forward and backward pass of the digits presets, on random sequences of their shape. Recurrences are not
compiled, so what can be gained is in what surrounds them: norms, GELU, GLU, convolutions, gates. Compiling
takes place once, and again after every cut.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.repetitions import Spent, alternating, ratio, spent, spread
from hankelboard.settings.preset import find_preset
from hankelboard.trainer.data.task import Split, Task
from hankelboard.trainer.layers.compilation import Compiled
from hankelboard.trainer.training.model import build_model

PRESETS = ("digits-lru", "digits-mamba")
LENGTH = 64
STEPS = 5
"""Of one repetition."""
REPETITIONS = 7


def rows() -> list[tuple[str, ...]]:
    head = (
        "model",
        "plain, ms of processor",
        "compiled, ms",
        "plain / compiled",
        "by the clock",
        "compiling, s",
    )
    return [head, *(row(preset) for preset in PRESETS)]


def row(preset: str) -> tuple[str, ...]:
    config = find_preset(preset).config
    inputs = torch.randn(config.training.batch, LENGTH, 1)
    labels = torch.arange(len(inputs)) % 10
    split = Split(inputs, labels)
    torch.manual_seed(0)
    model = build_model(config, Task(split, split, split, classes=10)).train()
    compiled = Compiled(model)
    making = spent(lambda: step(compiled, model, split))
    works = {
        name: lambda forward=forward: spent(lambda: steps(forward, model, split))
        for name, forward in (("plain", model), ("compiled", compiled))
    }
    alternating(works, 1)
    found: dict[str, list[Spent]] = alternating(works, REPETITIONS)
    cpu = {name: [one.cpu for one in each] for name, each in found.items()}
    wall = {name: [one.wall for one in each] for name, each in found.items()}
    told_ms = [spread(cpu[name], 1e3 / STEPS) for name in works]
    return (preset, *told_ms, ratio(*cpu.values()), ratio(*wall.values()), f"{making.wall:.0f}")


def steps(forward: Callable[[Tensor], Tensor], model: nn.Module, split: Split) -> None:
    for _ in range(STEPS):
        step(forward, model, split)


def step(forward: Callable[[Tensor], Tensor], model: nn.Module, split: Split) -> None:
    model.zero_grad(set_to_none=True)
    cross_entropy(forward(split.inputs), split.labels).backward()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in rows():
        print(" | ".join(each))
