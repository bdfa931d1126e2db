"""What the configuration knows of the families: methods, and keys that are theirs alone. No torch here."""

from storage.errors import ConfigError
from trainer.setting import suggest

METHODS = {
    "lru": ("balanced", "smallest", "random", "last", "aire"),
    "s4d": ("balanced", "random"),
    "s5": ("balanced", "random"),
    "mamba": ("energy", "diagonal", "mean_lti", "random"),
    "attention": ("balanced", "diagonal", "random"),
    "mamba2": ("balanced", "diagonal", "random"),
    "gla": ("energy", "diagonal", "random"),
    "deltanet": ("balanced", "diagonal", "random"),
}
"""Families, and which choices of states each knows; the first one is its own."""
AUTO = "auto"
FAMILIES_WITH = {
    **dict.fromkeys(("model.r_min", "model.r_max", "model.max_phase", "model.form"), ("lru",)),
    "reduction.symmetry": ("lru",),
    "reduction.compensation": ("mamba", "gla"),
}
"""Keys that mean nothing to other families, and are refused there unless they have their default."""


def check_family(family: str) -> None:
    """Raise ConfigError unless the family is one that there is, or the name of one's own."""
    if ":" not in family and family not in METHODS:
        own = "a model of your own is package.module:Class"
        raise ConfigError(f"model.family = {family!r}: unknown{suggest(family, METHODS)}; {own}")


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
