"""Nested tables of settings, from TOML files and `--set`: read and merged. No torch here."""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hankelboard.settings.tasks import TASKS
from hankelboard.storage.errors import ConfigError
from hankelboard.storage.given_files import read_given_text

MAX_DEPTH = 16
TOO_DEEP = f"tables and lists lie inside one another more than {MAX_DEPTH} deep"
_PART = r"""(?:[\w-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_LONG_KEY = re.compile(rf"(?<![\w-])(?:{_PART}[ \t]*\.[ \t]*){{{MAX_DEPTH}}}")
"""More than MAX_DEPTH parts, joined by dots."""


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` overridden by `over`, key by key. Another family or task drops the former's options."""
    merged = dict(base)
    if any(key in over and over[key] != merged.get(key) for key in ("family", "task")):
        merged.pop("options", None)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file; ConfigError says what is wrong with it."""
    return _parsed(read_given_text(path), str(path))


def _parsed(text: str, where: str) -> dict[str, Any]:
    """Return the tables of a text in TOML; ConfigError names `where` it is from."""
    try:
        return _shallow(text)
    except RecursionError:
        raise ConfigError(f"{where}: {TOO_DEEP}") from None
    except ValueError as error:  # no TOML, or a number of thousands of digits
        raise ConfigError(f"{where}: {error}") from None


def _shallow(text: str) -> dict[str, Any]:
    """Return the tables of a text in TOML. Raise RecursionError for great depth, ValueError for no TOML."""
    if _LONG_KEY.search(text):  # the parser needs minutes and gigabytes for a key of thousands of parts
        raise RecursionError
    tables = tomllib.loads(text)
    if _is_deeper(tables, MAX_DEPTH):
        raise RecursionError
    return tables


def _is_deeper(value: Any, room: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    items = value.values() if isinstance(value, dict) else value
    return room == 0 or any(_is_deeper(item, room - 1) for item in items)


def parse_assignment(text: str) -> dict[str, Any]:
    """Return `training.steps=300` as nested tables. The value is TOML, else text."""
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set {text!r}: must look like section.key=value, for example training.steps=300")
    if len(parts) > MAX_DEPTH:
        raise ConfigError(f"--set {text[:60]!r}…: {TOO_DEEP}")
    tables = {parts[-1]: _value(value, text)}
    for part in reversed(parts[:-1]):
        tables = {part: tables}
    return tables


def _value(written: str, assignment: str) -> Any:
    try:
        return _shallow(f"value = {written}")["value"]
    except ValueError:
        return written.strip()
    except RecursionError:
        raise ConfigError(f"--set {assignment[:60]!r}…: {TOO_DEEP}") from None


SHORT = {"model": "family", "data": "task"}
"""Sections that may be a single text, and the key that is then meant."""


def spelt_out(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return tables in which model = "package.module:Class" is a table, so that it can be merged.

    >>> spelt_out({"model": "lru", "training": {"steps": 3}})
    {'model': {'family': 'lru'}, 'training': {'steps': 3}}
    """
    return {
        name: {SHORT[name]: value} if name in SHORT and isinstance(value, str) else value
        for name, value in tables.items()
    }


def folder_of_work() -> Path:
    """Return the folder that relative paths are meant from: $HANKELBOARD_FOLDER, else the current one.

    The dashboard runs in a folder of its own; there the variable holds the one in which it was started.
    """
    return Path(os.environ.get("HANKELBOARD_FOLDER", "")).absolute()


def home_expanded(path: str) -> Path:
    """Return a path with ~ and ~user in full. Raise ConfigError for a user that there is not."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{path}: {error}") from None


def with_absolute_paths(tables: dict[str, Any]) -> dict[str, Any]:
    """Return tables with absolute paths: a worker may start the run in another folder."""
    return _with_absolute_file(_with_import_folders(tables))


def _with_import_folders(tables: dict[str, Any]) -> dict[str, Any]:
    """Set `path` of a user's own model or data, by default the folder in which the run is created."""
    for section, key in SHORT.items():
        part = tables.get(section, {})
        if isinstance(part, dict) and ":" in str(part.get(key, "")) and isinstance(part.get("path", ""), str):
            path = folder_of_work() / home_expanded(part.get("path", ""))
            tables = merge(tables, {section: {"path": str(path)}})
    return tables


def _with_absolute_file(tables: dict[str, Any]) -> dict[str, Any]:
    """Read a file among `data.options` in the folder in which the run is created, if it is there."""
    data = tables.get("data")
    options = data.get("options") if isinstance(data, dict) else None
    task = TASKS.get(str(data.get("task"))) if isinstance(data, dict) else None
    file = options.get(task.file) if task and isinstance(options, dict) else None
    if isinstance(data, dict) and task and file and isinstance(file, str):
        folder = str(data.get("folder") or os.environ.get("HANKELBOARD_DATA", ""))
        path = folder_of_work() / home_expanded(folder) / home_expanded(file)
        if path.is_file():
            return merge(tables, {"data": {"options": {task.file: str(path)}}})
    return tables
