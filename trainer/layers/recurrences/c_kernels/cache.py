"""Where compiled kernels lie: a folder that nobody else can change, names with the digest of what they hold.

What is loaded from there runs as this account. So the folder and the one around it belong to this account and
are written by nobody else, no folder above them can be exchanged by another account, and no link is followed.
A library bears its digest in its name and appears by one rename: nothing torn or half written is loaded.
"""

import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hankelboard.access import private_files
from hankelboard.storage import opening
from hankelboard.trainer.layers.recurrences.c_kernels.unavailable import Unavailable

BUILDING = "building-"
"""Prefix of folders in which a library is made."""
STALE_S = 3600.0
"""Age from which such a folder is of a process that was killed."""
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def folder() -> Path:
    """Return the folder of libraries, made where it is missing. Raise Unavailable where it is not safe."""
    asked = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        place = asked if asked.is_absolute() else Path.home() / ".cache"
        private_files.make_folder(place / "hankelboard" / "kernels")
        real = place.resolve() / "hankelboard" / "kernels"
        for each in (real, real.parent):
            _check_own(each)
        for each in {*real.parent.parents, *place.absolute().parents}:
            _check_above(each)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home, or links in a circle
        raise Unavailable(f"there is no folder for them: {error}") from error
    return real


def find(folder: Path, key: str) -> Path | None:
    """Return the library of a key, whole as it was made; what is not is removed."""
    for path in sorted(folder.glob(f"{key}-*.so")):
        if _digest(path) == path.stem.removeprefix(f"{key}-"):
            return path
        path.unlink(missing_ok=True)
    return None


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """Yield a new folder inside for what a compiler writes; those that killed processes left are removed."""
    for left in folder.glob(f"{BUILDING}*"):
        with suppress(OSError):
            if time.time() - left.lstat().st_mtime > STALE_S:
                shutil.rmtree(left, ignore_errors=True)
    inside = Path(tempfile.mkdtemp(prefix=BUILDING, dir=folder))
    try:
        yield inside
    finally:
        shutil.rmtree(inside, ignore_errors=True)


def publish(folder: Path, key: str, library: Path) -> Path:
    """Put a finished library into the folder and return its path; several processes may do so at once."""
    library.chmod(0o600)
    target = folder / f"{key}-{hashlib.sha256(library.read_bytes()).hexdigest()}.so"
    library.rename(target)
    return target


def _digest(path: Path) -> str:
    """Return the digest of a file of this account that nobody else can write, "" of anything else."""
    with suppress(OSError):
        descriptor = opening.open_regular(path)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if found.st_uid == os.geteuid() and not found.st_mode & OTHERS_WRITE:
                return hashlib.sha256(file.read()).hexdigest()
    return ""


def _check_own(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise Unavailable(f"{path} is no folder")
    if found.st_uid != os.geteuid():
        raise Unavailable(f"{path} belongs to another account")
    if found.st_mode & OTHERS_WRITE:
        raise Unavailable(f"{path} may be written by others; chmod 700 {path}")


def _check_above(path: Path) -> None:
    """Raise Unavailable where another account may exchange what lies in this folder."""
    found = path.stat()
    shared = found.st_mode & OTHERS_WRITE and not found.st_mode & stat.S_ISVTX
    if shared or found.st_uid not in (os.geteuid(), 0):
        raise Unavailable(f"{path}, above the folder for them, may be written by others")
