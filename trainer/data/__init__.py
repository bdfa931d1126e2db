"""Tasks: one file each, and a row in `hankelboard.settings.tasks`. `load_task` loads one."""

from collections.abc import Callable

from hankelboard.settings.config import DataConfig
from hankelboard.settings.imports import import_object
from hankelboard.settings.tasks import TASKS, check_task
from hankelboard.trainer.data.task import Task


def load_task(config: DataConfig) -> Task:
    """Return the task of a configuration, split into training, validation and test.

    Raises
    ------
    ConfigError
        If there is no such task, or it does not take these options.
    TypeError
        If a function of the user's returns something else.
    """
    check_task(config.task, config.options)
    if config.task in TASKS:
        loader = TASKS[config.task].loader
        load: Callable[[DataConfig], Task] = import_object(loader, key=f"loader of task {config.task}")
        return load(config)
    function = import_object(config.task, key="data.task", builtin=tuple(TASKS), folder=config.path)
    task = function(**config.options)
    if not isinstance(task, Task):
        raise TypeError(
            f"data.task = {config.task}: must return hankelboard.trainer.data.task.Task, "
            f"not {type(task).__name__}"
        )
    return task


def answers_every_step(config: DataConfig) -> bool:
    """Return whether a model of this task answers at every step; loads data of the user's only."""
    return TASKS[config.task].per_step if config.task in TASKS else load_task(config).per_step
