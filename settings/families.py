"""What the configuration knows of the families: methods, options, keys that are theirs alone. No torch."""

from collections.abc import Mapping
from typing import Any

from hankelboard.settings.setting import suggest
from hankelboard.storage.errors import ConfigError

METHODS = {
    "lru": ("balanced", "smallest", "random", "last", "aire"),
    "s4d": ("balanced", "random", "last", "aire"),
    "s5": ("balanced", "random", "last", "aire"),
    "mamba": ("energy", "diagonal", "mean_lti", "random"),
    "attention": ("balanced", "diagonal", "random"),
    "mamba2": ("balanced", "diagonal", "random"),
    "gla": ("energy", "diagonal", "random"),
    "deltanet": ("balanced", "diagonal", "random"),
}
"""Families, and which choices of states each knows; the first one is its own."""
OPTIONS: dict[str, dict[str, type]] = {
    "lru": {},
    "s4d": {"init": str, "dt_min": float, "dt_max": float},
    "s5": {"dt_min": float, "dt_max": float, "form": str},
    "mamba": {"expand": int, "conv": int, "dt_rank": int},
    "attention": {"heads": int, "value_dim": int},
    "mamba2": {"heads": int, "groups": int, "expand": int, "conv": int},
    "gla": {"heads": int, "value_dim": int, "gate_rank": int},
    "deltanet": {"heads": int, "value_dim": int, "conv": int},
}
"""What `model.options` may hold: the arguments of each family's class, which a test compares."""
WITH_SYSTEMS = ("lru", "s5")
"""Families whose layers tell λ, B and C (`trainer/reduction/reducible.py`, Realisable), for analyses."""
TYPE_NAMES = {int: "a whole number", float: "a number", str: "a text"}
AUTO = "auto"
FAMILIES_WITH = {
    **dict.fromkeys(("model.r_min", "model.r_max", "model.max_phase", "model.form"), ("lru",)),
    "reduction.symmetry": ("lru",),
    "reduction.compensation": ("mamba", "gla"),
}
"""Keys that mean nothing to other families, and are refused there unless they have their default."""


def check_family(family: str, options: Mapping[str, Any]) -> None:
    """Raise ConfigError unless the family is one that there is and knows these options, or is one's own.

    A family of one's own checks its options itself.
    """
    if ":" not in family and family not in METHODS:
        own = "a model of your own is package.module:Class"
        raise ConfigError(f"model.family = {family!r}: unknown{suggest(family, METHODS)}; {own}")
    if family in OPTIONS:
        _check_options(family, options)


def _check_options(family: str, options: Mapping[str, Any]) -> None:
    """Raise ConfigError for the first option that the family does not have, or whose type is another."""
    known = OPTIONS[family]
    for key, value in options.items():
        where = f"model.options.{key} = {value!r}"
        if key not in known:
            told = f"has the options {', '.join(known)}" if known else "has no options"
            raise ConfigError(f"{where}: family {family} {told}")
        allowed = (int, float) if known[key] is float else known[key]
        if isinstance(value, bool) or not isinstance(value, allowed):
            raise ConfigError(f"{where}: must be {TYPE_NAMES[known[key]]}")


def refuse_ignored(family: str, key: str, value: object) -> None:
    """Raise ConfigError when a key has another value than its default and means nothing to the family."""
    families = FAMILIES_WITH[key]
    if family not in families:
        instead = "; set model.options.form" if (family, key) == ("s5", "model.form") else ""
        raise ConfigError(f"{key} = {value}: only for {' and '.join(families)}, not for {family}{instead}")


def method_of(family: str, method: str) -> str:
    """The method; for `auto` the family's own by its name. ConfigError when the family does not know it."""
    known = METHODS.get(family)
    if known is None:
        return method
    if method != AUTO and method not in known:
        raise ConfigError(f"reduction.method = {method}: family {family} has {', '.join(known)}")
    return known[0] if method == AUTO else method
