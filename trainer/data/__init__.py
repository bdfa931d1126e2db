"""Tasks: one file per family of data. `load_task` finds the one a configuration names."""

from collections.abc import Callable
from importlib import import_module

from hankelboard.settings.config import DataConfig
from hankelboard.settings.imports import import_object
from hankelboard.settings.tasks import check_task
from hankelboard.trainer.data.task import Task

BUILT_IN = {
    "digits": "digits.load_digits_task",
    "tones": "tones.load_tones_task",
    "smnist": "smnist.load_smnist_task",
    "cifar": "cifar.load_cifar_task",
    "listops": "listops.load_listops_task",
    "copying": "copying.load_copying_task",
    "induction": "induction.load_induction_task",
    "mqar": "mqar.load_mqar_task",
    "text": "text.load_text_task",
}
PER_STEP = ("copying", "induction", "mqar", "text")
"""Those with a label at every step."""


def load_task(config: DataConfig) -> Task:
    """The task of a configuration, split into training, validation and test.

    Raises
    ------
    ConfigError
        If there is no such task, or it does not take these options.
    TypeError
        If a function of one's own returns something else.
    """
    check_task(config.task, config.options)
    if config.task in BUILT_IN:
        module, _, name = BUILT_IN[config.task].partition(".")
        load: Callable[[DataConfig], Task] = getattr(
            import_module(f"hankelboard.trainer.data.{module}"), name
        )
        return load(config)
    function = import_object(config.task, key="data.task", builtin=tuple(BUILT_IN), folder=config.path)
    task = function(**config.options)
    if not isinstance(task, Task):
        raise TypeError(
            f"data.task = {config.task}: must return hankelboard.trainer.data.task.Task, "
            f"not {type(task).__name__}"
        )
    return task


def answers_every_step(config: DataConfig) -> bool:
    """Whether a model of this task answers at every step; data are loaded only where they are one's own."""
    return config.task in PER_STEP if config.task in BUILT_IN else load_task(config).per_step
