"""From a row of `hankelboard.settings.families` to a sequence layer."""

from hankelboard.settings.config import Config
from hankelboard.settings.families import FAMILIES
from hankelboard.settings.imports import import_object
from hankelboard.storage.errors import ConfigError
from hankelboard.trainer.layers.sequence_layer import SequenceLayer
from hankelboard.trainer.reduction.method import Method


def make_mixer(config: Config, layer: int, state_dim: int) -> SequenceLayer:
    """Return the sequence layer of one block, freshly initialised.

    Raises
    ------
    ConfigError
        If the family does not take these sizes and options.
    """
    model, reduction = config.model, config.reduction
    method = Method(
        name=reduction.method,
        seed=config.training.seed + 1000 * layer,
        symmetry=reduction.symmetry,
        compensation=reduction.compensation,
    )
    family = FAMILIES[model.family]
    arguments = {name: getattr(model, name) for name in model_keys(model.family)}
    layer_class: type[SequenceLayer] = import_object(family.layer, key=f"layer of family {family.name}")
    try:
        return layer_class(model.width, state_dim, method=method, **arguments, **model.options)
    except ValueError as error:
        raise ConfigError(f"model.family = {model.family}: {error}") from None


def model_keys(family: str) -> list[str]:
    """Return the keys of [model] that are arguments of the family's class.

    >>> model_keys("lru")
    ['r_min', 'r_max', 'max_phase', 'form']
    """
    keys = (key.partition(".") for key in FAMILIES[family].keys)
    return [name for section, _, name in keys if section == "model"]
