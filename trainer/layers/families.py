"""The families that can be trained: one line each. Adding one: docs/FAMILIES.md, "A family of your own"."""

import inspect
from importlib import import_module

from torch import nn

from hankelboard.settings.config import Config
from hankelboard.storage.errors import ConfigError
from hankelboard.trainer.reduction.method import Method

MIXERS = {
    "lru": "lru.LRU",
    "s4d": "s4d.S4D",
    "s5": "s5.S5",
    "mamba": "mamba.Mamba",
    "attention": "linear_attention.LinearAttention",
    "mamba2": "mamba2.Mamba2",
    "gla": "gla.GLA",
    "deltanet": "deltanet.DeltaNet",
}
"""Class of each family's sequence layer, called as Class(width, state_dim, method=…, **model.options)."""
RING = ("r_min", "r_max", "max_phase", "form")
"""Keys of [model] that the LRU takes besides."""


def make_mixer(config: Config, layer: int, state_dim: int) -> nn.Module:
    """The sequence layer of one block, freshly initialised.

    Raises
    ------
    ConfigError
        If the family does not take these sizes and options (family_settings.py has their names).
    """
    model, reduction = config.model, config.reduction
    method = Method(
        name=reduction.method,
        seed=config.training.seed + 1000 * layer,
        symmetry=reduction.symmetry,
        compensation=reduction.compensation,
    )
    kind = _layer_class(model.family)
    ring = {key: getattr(model, key) for key in RING} if model.family == "lru" else {}
    try:
        mixer: nn.Module = kind(model.width, state_dim, method=method, **ring, **model.options)
    except ValueError as error:
        raise ConfigError(f"model.family = {model.family}: {error}") from None
    return mixer


def options_of(family: str) -> dict[str, type]:
    """What `model.options` may hold for a family, with types: what its class has defaults for.

    >>> options_of("mamba")
    {'expand': <class 'int'>, 'conv': <class 'int'>, 'dt_rank': <class 'int'>}
    """
    elsewhere = {"method", *(RING if family == "lru" else ())}
    parameters = inspect.signature(_layer_class(family)).parameters.values()
    return {
        each.name: type(each.default)
        for each in parameters
        if each.kind is each.KEYWORD_ONLY and each.name not in elsewhere
    }


def _layer_class(family: str) -> type[nn.Module]:
    module, _, name = MIXERS[family].partition(".")
    kind: type[nn.Module] = getattr(import_module(f"hankelboard.trainer.layers.{module}"), name)
    return kind
