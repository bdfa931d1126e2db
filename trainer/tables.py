"""Nested tables of settings, from TOML files and `--set`: read and merged. No torch here."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from storage.errors import ConfigError


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` on top of `base`, key by key. Another family or task drops the options of the one before."""
    merged = dict(base)
    if any(key in over and over[key] != merged.get(key) for key in ("family", "task")):
        merged.pop("options", None)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; ConfigError says what is wrong with it."""
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None


def parse_assignment(text: str) -> dict[str, Any]:
    """`training.steps=300` as nested tables. The value is read as TOML, else taken as text."""
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set {text!r}: must look like section.key=value, for example training.steps=300")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    tables = {parts[-1]: parsed}
    for part in reversed(parts[:-1]):
        tables = {part: tables}
    return tables
