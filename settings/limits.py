"""What a configuration from a browser may name: code and folders that the owner of the server allowed."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hankelboard.access.tickets import Limits
from hankelboard.settings.config import Config, parse
from hankelboard.settings.own_code import check_allowed, check_source, own_code_named, section
from hankelboard.settings.tasks import TASKS
from hankelboard.settings.toml import folder_of_work, home_expanded, merge
from hankelboard.storage.errors import ConfigError

ALLOW_CODE = "HANKELBOARD_ALLOW_CODE"
"""Names with commas."""
ALLOW_FOLDERS = "HANKELBOARD_ALLOW_FOLDERS"
"""Paths as in PATH."""
DATA = "HANKELBOARD_DATA"


def of_browser() -> Limits:
    """Return what the owner of this server allowed; the folders of its start and of data are always."""
    code = filter(None, map(str.strip, os.environ.get(ALLOW_CODE, "").split(",")))
    given = os.environ.get(ALLOW_FOLDERS, "").split(os.pathsep)
    folders = [str(folder_of_work()), os.environ.get(DATA, ""), *given]
    absolute = (os.path.realpath(folder_of_work() / home_expanded(folder)) for folder in folders if folder)
    return Limits(code=tuple(code), folders=tuple(dict.fromkeys(absolute)))


def paths_named(config: Mapping[str, Any]) -> dict[str, Path]:
    """Return each value of a configuration that becomes a path, absolute, by its key.

    People's own code may take paths by options that only it knows: it answers for them.
    """
    named = {}
    for key in ("model.path", "data.path", "data.folder"):
        part, _, name = key.partition(".")
        if value := _text(config, part, name):
            named[key] = folder_of_work() / home_expanded(value)
    task = TASKS.get(_text(config, "data", "task"))
    options = section(config, "data").get("options")
    if task and task.file and isinstance(options, Mapping) and options.get(task.file):
        folder = named.get("data.folder") or folder_of_work() / home_expanded(os.environ.get(DATA, ""))
        named[f"data.options.{task.file}"] = folder / home_expanded(str(options[task.file]))
    return named


def _text(config: Mapping[str, Any], part: str, name: str) -> str:
    value = section(config, part).get(name)
    return value if isinstance(value, str) else ""


def within(config: Config, limits: Limits, runs: Path) -> Config:
    """Return a configuration with absolute paths, if it names nothing that is not allowed.

    Raises
    ------
    ConfigError
        Names the key whose code or path is not allowed, and what the owner of the server can do.
    """
    check_allowed_here(config, limits, runs)
    tables: dict[str, Any] = config.as_dict()
    for key, path in paths_named(tables).items():
        tables = merge(tables, _nested(key, str(path)))
    return parse(tables)


def check_allowed_here(config: Config, limits: Limits, runs: Path) -> None:
    """Raise ConfigError as `within` does. Nothing is imported: sources are read."""
    tables = config.as_dict()
    check_paths(tables, limits, runs)
    for named in own_code_named(tables):
        check_allowed(named, limits.code)
        check_source(named)


def check_paths(config: Mapping[str, Any], limits: Limits, runs: Path) -> None:
    """Raise ConfigError for a path outside of the folders, or among the runs: a run is data, and no code."""
    for key, path in paths_named(config).items():
        real = _real(key, path)
        if _is_below(real, Path(os.path.realpath(runs))):
            raise ConfigError(f"{key} = {str(path)!r}: lies among the runs, whose files are no input")
        if not any(real.is_relative_to(folder) for folder in limits.folders):
            raise ConfigError(
                f"{key} = {str(path)!r}: outside of the folders that a browser may name; the owner of this "
                "server can allow it: hankelboard up --allow-folder DIR"
            )


def _real(key: str, path: Path) -> Path:
    try:
        return Path(os.path.realpath(path))
    except ValueError as error:  # a NUL
        raise ConfigError(f"{key} = {str(path)!r}: {error}") from None


def _is_below(path: Path, folder: Path) -> bool:
    return path != folder and path.is_relative_to(folder)


def _nested(key: str, value: str) -> dict[str, Any]:
    nested: Any = value
    for part in reversed(key.split(".")):
        nested = {part: nested}
    return dict(nested)
