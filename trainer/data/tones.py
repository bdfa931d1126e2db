"""Tones in noise: which of some frequencies is hidden in a noisy sequence. Generated; nothing to download.

    x[t] = amplitude · cos(ω_k t + φ) + ε[t],   ω_k = 0.25 + (π − 0.5)(k + ½)/K,   ε ~ N(0, 1),   φ uniform

To distinguish the tones a network needs a narrow resonance near each of them, and a resonance is a state: few
states at random frequencies miss some. So this is a task on which the state dimension matters.
"""

import math
from dataclasses import replace
from typing import Any

import torch

from hankelboard.settings.config import DataConfig
from hankelboard.settings.tasks import task_options
from hankelboard.trainer.data.generated import drawn_task
from hankelboard.trainer.data.task import Split, Task

TEST_SEQUENCES = 2000


def load_tones_task(config: DataConfig) -> Task:
    """Return the task; the seed of the split draws the sequences, too.

    Options: K, steps, sequences for training and validation, amplitude of the tone.
    """
    options = task_options("tones", config.options)

    def draw(count: int, generator: torch.Generator) -> Split:
        return _sequences(count, options, generator)

    counts = {"sequences": options["sequences"], "test": TEST_SEQUENCES}
    task = drawn_task(config, draw, **counts, classes=options["classes"])
    return replace(task, rounded=True)  # cosines and normal variates differ in the last bit


def _sequences(count: int, options: dict[str, Any], generator: torch.Generator) -> Split:
    classes, length = options["classes"], options["length"]
    labels = torch.randint(classes, (count,), generator=generator)
    omega = 0.25 + (math.pi - 0.5) * (labels + 0.5) / classes  # (count,)
    phase = 2.0 * math.pi * torch.rand(count, generator=generator)  # (count,)
    tone = torch.cos(omega[:, None] * torch.arange(length) + phase[:, None])  # (count, length)
    noise = torch.randn(count, length, generator=generator)
    return Split((options["amplitude"] * tone + noise)[:, :, None], labels)
