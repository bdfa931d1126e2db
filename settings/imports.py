"""People's own models and data: `package.module:Name` in a configuration."""

import importlib
import sys
from typing import Any

from hankelboard.storage.errors import ConfigError


def import_object(name: str, *, key: str, builtin: tuple[str, ...], folder: str = "") -> Any:
    """What `package.module:Name` names.

    Parameters
    ----------
    key, builtin : the configuration key and the names it knows, for the error message
    folder : put on sys.path first, when given

    Raises
    ------
    ConfigError
        If the name has no colon, the module cannot be imported or has no such attribute.
    """
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute:
        raise ConfigError(f"{key} = {name!r}: must be {', '.join(builtin)} or package.module:Name")
    if folder and folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise ConfigError(f"{key} = {name!r}: {error}; is the folder in the key path right?") from None
    except AttributeError:
        raise ConfigError(f"{key} = {name!r}: module {module} has no {attribute}") from None
