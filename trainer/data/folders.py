"""Where downloaded data lie: data.folder, else $HANKELBOARD_DATA."""

import os
from collections.abc import Sequence
from pathlib import Path

from hankelboard.storage.errors import ConfigError


def find_folder(configured: str, file: str, subfolders: Sequence[str], name: str) -> Path:
    """Return the folder that holds `file` (or it with .gz): the configured one, or a subfolder of it.

    Raises
    ------
    ConfigError
        With the command that gets the data.
    """
    given = configured or os.environ.get("HANKELBOARD_DATA", "")
    for folder in (Path(given), *(Path(given) / each for each in subfolders)):
        if given and any((folder / f"{file}{ending}").exists() for ending in ("", ".gz")):
            return folder
    raise ConfigError(
        f"data.folder = {given!r}: no {file} there; get the data with `hankelboard data {name} DIR` and set "
        "data.folder or the environment variable HANKELBOARD_DATA to DIR"
    )
