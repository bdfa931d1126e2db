"""The data of the toy task."""

import torch

from hankelboard.settings.tasks import task_options
from hankelboard.trainer.data.task import Split, Task


def load_steps_task(config):
    options = task_options(config.task, config.options)
    generator = torch.Generator().manual_seed(config.split_seed)
    return Task(*(draw(options, count, generator) for count in (96, 48, 48)), classes=2)


def draw(options, count, generator):
    labels = torch.randint(2, (count,), generator=generator)
    late = torch.arange(options["length"]) >= options["rise"]
    level = (2.0 * labels - 1.0)[:, None] * late
    noise = torch.randn(count, options["length"], generator=generator)
    return Split((level + 0.3 * noise)[:, :, None], labels)
