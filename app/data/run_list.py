"""Which runs there are: the folder is listed again only when the names in it may have changed."""

import os
import threading
import time
from pathlib import Path

from hankelboard.storage.layout import RunPaths
from hankelboard.storage.runs import list_runs

SETTLED_S = 2.0
"""A folder that changed so shortly before it was listed may have changed again within the same tick of its
file system's clock: its time is no proof until then."""


class RunList:
    """The runs of a folder, newest first. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: tuple[Path, int, int] | None = None
        self._runs: dict[str, RunPaths] = {}

    def of(self, folder: Path) -> dict[str, RunPaths]:
        """Return paths by id. The same object as long as nothing changed: do not change it."""
        with self._lock:
            seen = _names_mark(folder)
            if seen is None or seen != self._seen:
                listed_at = time.time()
                self._runs = {paths.run_id: paths for paths in list_runs(folder)}
                settled = seen is not None and listed_at - seen[2] / 1e9 > SETTLED_S
                self._seen = seen if settled else None
            return self._runs


def _names_mark(folder: Path) -> tuple[Path, int, int] | None:
    """Return what changes with the names in the folder; None when there is no folder."""
    try:
        stat_now = os.stat(folder)  # noqa: PTH116 - asked by every tick of every page
    except OSError:
        return None
    return folder, stat_now.st_ino, stat_now.st_mtime_ns
