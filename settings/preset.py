"""Presets: TOML files with what a configuration starts from. No torch here."""

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Any

from hankelboard.settings.config import Config, parse
from hankelboard.settings.setting import suggest
from hankelboard.settings.toml import merge
from hankelboard.storage.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Preset:
    name: str
    family: str
    task: str
    role: str
    description: str
    config: Config
    tables: dict[str, Any]
    requires: tuple[str, ...] = ()
    """Keys that name a run and have no sensible default."""


@functools.cache  # a suite asks for one per series
def presets() -> Mapping[str, Preset]:
    """Return the presets that ship with Hankelboard, by name.

    One may extend another: its file says what differs.
    """
    folder = resources.files("hankelboard.settings") / "presets"
    files = {
        file.name.removesuffix(".toml"): tomllib.loads(file.read_text(encoding="utf-8-sig"))
        for file in folder.iterdir()
    }
    return MappingProxyType({name: _preset(name, files) for name in sorted(files)})


PRESET_KEYS = ("role", "description", "extends", "requires")


def _preset(name: str, files: dict[str, dict[str, Any]]) -> Preset:
    own = {key: value for key, value in files[name].items() if key not in PRESET_KEYS}
    base = files[name].get("extends")
    tables = merge(_preset(base, files).tables, own) if base else own
    config = parse(tables)
    return Preset(
        name=name, family=config.model.family, task=config.data.task, role=files[name]["role"],
        description=files[name]["description"], config=config, tables=tables,
        requires=tuple(files[name].get("requires", ())),
    )  # fmt: skip


def find_preset(name: str) -> Preset:
    """Return the preset of that name; ConfigError lists those that exist."""
    available = presets()
    if name not in available:
        raise ConfigError(f"unknown preset {name!r}{suggest(name, available)}")
    return available[name]
