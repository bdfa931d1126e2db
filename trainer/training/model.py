"""A network from a configuration and the shapes of a task."""

from torch import nn

from hankelboard.settings.config import Config
from hankelboard.settings.families import FAMILIES
from hankelboard.settings.imports import import_object
from hankelboard.storage.errors import ConfigError
from hankelboard.trainer.data.task import Task
from hankelboard.trainer.layers.families import make_mixer
from hankelboard.trainer.layers.network import SequenceModel


def build_model(config: Config, task: Task) -> nn.Module:
    """Return the network, freshly initialised from PyTorch's generator.

    A model of the user's is called as Class(channels=…, classes=…, **model.options); its layers that
    implement `hankelboard.trainer.reduction.reducible.Reducible` can be cut.
    """
    model = config.model
    if model.family in FAMILIES:
        dims = enumerate(config.state_dims)
        return SequenceModel(
            input_dim=task.channels,
            classes=task.classes,
            width=model.width,
            layers=model.layers,
            mixer=lambda: make_mixer(config, *next(dims)),
            norm=model.norm,
            dropout=model.dropout,
            pooling="none" if task.per_step else model.pooling,
            vocabulary=task.vocabulary,
        )
    model_class = import_object(model.family, key="model.family", builtin=tuple(FAMILIES), folder=model.path)
    try:
        network: nn.Module = model_class(channels=task.channels, classes=task.classes, **model.options)
    except TypeError as error:
        raise ConfigError(f"model.family = {model.family}: {error}") from None
    return network
