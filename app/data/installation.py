"""This installation: folder of runs, disk, versions, memory."""

import os
import platform
import resource
import shutil
import socket
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hankelboard.storage.layout import runs_directory


def is_writable() -> bool:
    """Return whether runs can be started and decided on from here."""
    folder = runs_directory().resolve()
    return os.access(next(path for path in (folder, *folder.parents) if path.exists()), os.W_OK)


def facts() -> dict[str, Any]:
    """Return what this installation is: folder of runs, room on the disk, versions, memory."""
    folder = runs_directory().resolve()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    usage = shutil.disk_usage(there)
    packages = ("hankelboard", "streamlit", "altair", "pandas", "pyarrow", "watchdog")
    return {
        "folder": str(folder),
        "writable": is_writable(),
        "free": usage.free,
        "total": usage.total,
        "memory": _memory_bytes(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }


def _memory_bytes() -> int:
    """Return the memory of this process now; its peak where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
