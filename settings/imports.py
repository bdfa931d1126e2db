"""People's own models and data: `package.module:Name` in a configuration."""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from typing import Any

from hankelboard.storage.errors import ConfigError

FORMER_NAMES = ("app", "comparison", "storage", "trainer")
"""Packages of ours that lie in hankelboard now."""


def import_object(name: str, *, key: str, builtin: tuple[str, ...] = (), folder: str = "") -> Any:
    """Return what `package.module:Name` names.

    Parameters
    ----------
    key, builtin : the configuration key and the names it knows, for the error message
    folder : searched first while the module is imported, and before other packages from then on, when given

    Raises
    ------
    ConfigError
        If the name has no colon, the module cannot be imported or has no such attribute.
    """
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute:
        raise ConfigError(f"{key} = {name!r}: must be {', '.join(builtin)} or package.module:Name")
    try:
        with _searched_first(folder):
            return getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise ConfigError(f"{key} = {name!r}: {error}{_advice(error, builtin)}") from None
    except AttributeError:
        raise ConfigError(f"{key} = {name!r}: module {module} has no {attribute}") from None


@contextlib.contextmanager
def _searched_first(folder: str) -> Iterator[None]:
    """Search a folder first; afterwards behind Python's own modules, so that its queue.py shadows none.

    Before other packages: what a user's module imports later is still the file beside it.
    """
    if not folder:
        yield
        return
    was_there = folder in sys.path
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # a module may do with sys.path what it likes
            sys.path.remove(folder)
        if not was_there:
            packages = (place for place, part in enumerate(sys.path) if part.endswith("-packages"))
            sys.path.insert(next(packages, len(sys.path)), folder)


def _advice(error: ImportError, builtin: tuple[str, ...]) -> str:
    package = (error.name or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and package in FORMER_NAMES:
        return f"; Hankelboard's own modules are called hankelboard.{package}… now"
    return "; is the folder in the key path right?" if builtin else ""
