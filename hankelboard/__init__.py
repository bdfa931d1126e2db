"""Hankelboard: state-space models that get smaller while they train.

Importing this package imports nothing else, so that reading a run stays free of torch; public names are
loaded when they are first used.
"""

TYPE_CHECKING = False  # that of typing, which is not worth its import here
if TYPE_CHECKING:  # for type checkers and editors
    from hankelboard.comparison.frames import metrics as metrics
    from hankelboard.settings.own_code import data as data

_HOMES = {"data": "hankelboard.settings.own_code", "metrics": "hankelboard.comparison.frames"}
"""Public names, and the modules that define them."""
__all__ = ["data", "metrics"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'hankelboard' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
