"""The families that can be trained: one line each. Adding one: docs/FAMILIES.md, "A family of your own"."""

from importlib import import_module
from typing import Any

from torch import nn

from storage.errors import ConfigError
from trainer.config import Config
from trainer.reduction.method import Method

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
        If `model.options` holds what the family does not know.
    """
    model, reduction = config.model, config.reduction
    method = Method(
        name=reduction.method,
        seed=config.training.seed + 1000 * layer,
        symmetry=reduction.symmetry,
        compensation=reduction.compensation,
    )
    options: dict[str, Any] = dict(model.options)
    if model.family == "lru":
        options |= {key: getattr(model, key) for key in RING}
    module, _, name = MIXERS[model.family].partition(".")
    kind = getattr(import_module(f"trainer.models.{module}"), name)
    try:
        mixer: nn.Module = kind(model.width, state_dim, method=method, **options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model.family = {model.family}: {error}") from None
    return mixer
