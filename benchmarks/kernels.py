"""Claim: with a C compiler, a whole training step takes less processor time than without, at least 2.2 times
with Mamba, 2.6 with GLA, 1.6 with Mamba-2 and linear attention, 1.8 with gated DeltaNet.

Whole steps of the presets of digits, as training does them: batch, forward, loss, backward, AdamW; one
thread, both variants in one process, taking turns. One preset only: python -m benchmarks.kernels digits-gla
"""

import os
import sys
from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional

from benchmarks.repetitions import Missing, Spent, alternating, ratio, spent, spread
from hankelboard.settings.config import Config
from hankelboard.settings.preset import presets
from hankelboard.trainer.data import load_task
from hankelboard.trainer.layers.recurrences import installed_kernels, scan_choice
from hankelboard.trainer.layers.recurrences.c_kernels.library import library
from hankelboard.trainer.layers.recurrences.installed_kernels import OWN, C
from hankelboard.trainer.reduction.surgery import reducible_layers
from hankelboard.trainer.training.build import make_optimizer
from hankelboard.trainer.training.model import build_model

AT_LEAST = {
    "digits-mamba": 2.2, "digits-gla": 2.6, "digits-mamba2": 1.6, "digits-attention": 1.6,
    "digits-deltanet": 1.8, "digits-lru": 1.0,
}  # fmt: skip
STEPS, ROUNDS = 4, 15


def rows(names: list[str] | None = None) -> list[tuple[str, ...]]:
    os.environ.pop(installed_kernels.VARIABLE, None)
    if reason := library().reason:
        raise Missing(f"no kernels in C: {reason}")
    torch.set_num_threads(1)
    head = ("whole step of", "own, ms", "c, ms", "own / c", "of processor time", "quartiles", "at least")
    return [head, *(row(name) for name in names or AT_LEAST)]


def row(name: str) -> tuple[str, ...]:
    steps = {form: training_steps(presets()[name].config, form) for form in (OWN, C)}
    found = alternating({form: partial(spent, step) for form, step in steps.items()}, ROUNDS + 1)
    own, c = (found[form][1:] for form in (OWN, C))
    ratios = sorted(one.cpu / other.cpu for one, other in zip(own, c, strict=True))
    return (
        name, shown(own), shown(c), ratio([each.wall for each in own], [each.wall for each in c]),
        ratio([each.cpu for each in own], [each.cpu for each in c]),
        f"{ratios[len(ratios) // 4]:.2f}-{ratios[-1 - len(ratios) // 4]:.2f}", f"{AT_LEAST[name]} x",
    )  # fmt: skip


def shown(times: list[Spent]) -> str:
    return spread([each.cpu for each in times], 1e3 / STEPS)


def training_steps(config: Config, form: str) -> Callable[[], None]:
    """Return some updates of the preset's network, computed in this form."""
    torch.manual_seed(0)
    task = load_task(config.data)
    model = build_model(config, task).train()
    optimizer = make_optimizer(model, config)
    for _, layer in reducible_layers(model):
        if hasattr(layer, "kernels"):
            layer.form_kept = form
    draw = torch.Generator().manual_seed(0)

    def steps() -> None:
        with scan_choice.bound(form == C):
            for _ in range(STEPS):
                chosen = torch.randint(len(task.train.inputs), (config.training.batch,), generator=draw)
                loss = functional.cross_entropy(model(task.train.inputs[chosen]), task.train.labels[chosen])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()

    return steps


if __name__ == "__main__":
    for line in rows(sys.argv[1:]):
        print(" | ".join(line))
