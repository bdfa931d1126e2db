"""Modules of users that register families and tasks, imported by every process that reads settings.

HANKELBOARD_PLUGINS=package.module,other.module in the environment names them, which all processes that
Hankelboard starts inherit. Such a module names its layers and loaders (`module:Class`) and imports no torch:
the dashboard and the command line import it, too.
"""

import importlib
import os

from hankelboard.storage.errors import ConfigError

VARIABLE = "HANKELBOARD_PLUGINS"


def import_plugins() -> None:
    """Import the modules that the environment names.

    Raises
    ------
    ConfigError
        If one cannot be imported, whatever it raises; names the variable and the module.
    """
    for name in filter(None, map(str.strip, os.environ.get(VARIABLE, "").split(","))):
        try:
            importlib.import_module(name)
        except Exception as error:  # of somebody else's code
            raise ConfigError(f"{VARIABLE} names {name}: {type(error).__name__}: {error}") from error
