"""Options of generated tasks: whole numbers with limits, checked with the key in the message."""

from collections.abc import Mapping

from storage.errors import ConfigError
from trainer.config import DataConfig

Known = Mapping[str, tuple[int, int, int]]
"""Name of an option: default, smallest, largest."""


def whole_options(config: DataConfig, known: Known, besides: tuple[str, ...] = ()) -> dict[str, int]:
    """`data.options` on top of the defaults, without those of another kind: `besides`.

    Raises
    ------
    ConfigError
        If an option is unknown, not a whole number or outside its limits: names key, value and limits.
    """
    if unknown := set(config.options) - {*known, *besides}:
        names = ", ".join((*known, *besides))
        raise ConfigError(f"data.options: {', '.join(sorted(unknown))} unknown; there are {names}")
    for name, (_, low, high) in known.items():
        value = config.options.get(name, low)
        if type(value) is not int or not low <= value <= high:
            raise ConfigError(f"data.options.{name} = {value!r}: must be a whole number from {low} to {high}")
    return {name: config.options.get(name, default) for name, (default, _, _) in known.items()}
