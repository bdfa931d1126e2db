"""What lies in a run is opened here: plain files in real folders, without waiting, and nothing beyond them.

In the place of a file or a folder there may be a link, a pipe or a device: others may write there, too.
No link inside a run is followed: each folder on the way is opened by itself, below the one before. The run
directory itself may be reached by a link. Where a path lies in a run is known to storage/layout.py.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from hankelboard.storage.layout import ATTEMPT_FOLDER, ATTEMPT_JSON, RunPaths, depth_of_folder

_NEVER_WAIT = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_FILE = (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EOPNOTSUPP, errno.EISDIR, errno.ENODEV)
_NO_FOLDER = (errno.ELOOP, errno.EMLINK, errno.ENOTDIR)


class NotAFile(OSError):
    """Something else lies where a plain file, or a folder, belongs."""


def open_regular(path: Path, flags: int = os.O_RDONLY, mode: int = 0o644) -> int:
    """Open a plain file, without ever waiting, and return its descriptor; with O_CREAT an absent one is made.

    Raises OSError: FileNotFoundError when nothing is there, NotAFile when it is a link, a folder, a pipe or a
    device, or when a folder of the run on the way to it is none.
    """
    with _place_of(path) as (name, folder):
        try:
            descriptor = os.open(name, flags | _NEVER_WAIT, mode, dir_fd=folder)
        except OSError as error:
            if error.errno in _NO_FILE:
                raise NotAFile(error.errno, "is not a plain file", str(path)) from None
            raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotAFile(errno.EINVAL, "is not a plain file", str(path))
    return descriptor


@contextlib.contextmanager
def _place_of(path: Path) -> Iterator[tuple[str, int | None]]:
    """Yield what to name and where: a file that lies in no folder of a run goes by its path."""
    if depth_of_folder(path.parent) == 0:
        yield str(path), None
    else:
        with folder(path.parent) as descriptor:
            yield path.name, descriptor


@contextlib.contextmanager
def folder(path: Path) -> Iterator[int]:
    """Yield the descriptor of a folder: of a run, then without links from the run on, or any other.

    Raises OSError: FileNotFoundError when it is absent, NotAFile when something else is in its place.
    """
    descriptor = _open_folder(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_folder(path: Path) -> int:
    depth = depth_of_folder(path)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    if depth == 0:
        return os.open(path, flags)
    first = Path(*path.parts[: len(path.parts) - depth + 1])
    try:
        descriptor = os.open(first, flags | _NEVER_WAIT)
        for name in path.parts[len(first.parts) :]:
            above = descriptor
            try:
                descriptor = os.open(name, flags | _NEVER_WAIT, dir_fd=above)
            finally:
                os.close(above)
    except OSError as error:
        if error.errno in _NO_FOLDER:
            raise NotAFile(error.errno, "is not a folder of the run", str(path)) from None
        raise
    return descriptor


def read_bytes(path: Path, max_bytes: int) -> bytes | None:
    """Return the content of a plain file, or None when it is larger. Raises OSError as `open_regular`."""
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(size + 1) if size <= max_bytes else None
    return data if data is not None and len(data) <= max_bytes else None


def checked(path: Path) -> Path:
    """Return the path of a plain file, for a library that opens by path. Raises OSError where it is none."""
    os.close(open_regular(path))
    return path


def checked_folder(path: Path) -> Path:
    """Return the path of a real folder, for a library that writes there. Raises OSError where it is none."""
    with folder(path):
        return path


def is_real_folder(path: Path) -> bool:
    """Return whether a folder is there that is no link."""
    try:
        checked_folder(path)
    except OSError:
        return False
    return True


def size_of(path: Path) -> int:
    """Return the bytes of a plain file; 0 where there is none."""
    try:
        descriptor = open_regular(path)
    except OSError:
        return 0
    try:
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def is_plain_file(path: Path) -> bool:
    """Return whether a plain file is there, in real folders."""
    try:
        return stat.S_ISREG(_look(path).st_mode)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return False


def is_there(path: Path) -> bool:
    """Return whether anything is there, a link that leads nowhere too, in real folders."""
    try:
        _look(path)
    except OSError:
        return False
    return True


def _look(path: Path) -> os.stat_result:
    with _place_of(path) as (name, folder):
        return os.stat(name, dir_fd=folder, follow_symlinks=False)


def names_in(path: Path) -> list[str]:
    """Return the names in a folder. Raises OSError as `folder`."""
    with folder(path) as descriptor:
        return os.listdir(descriptor)


def names_if_any(path: Path) -> list[str]:
    """Return the names in a folder; none where there is no such folder or it cannot be read."""
    try:
        return names_in(path)
    except OSError:
        return []


def make_folder(path: Path, *, new: bool = False) -> None:
    """Make a folder of a run where it is absent. Raises OSError: NotAFile where something else is there.

    With `new` FileExistsError where one is there already.
    """
    try:
        with _place_of(path) as (name, folder):
            os.mkdir(name, dir_fd=folder)
    except FileExistsError:
        if new:
            raise
        checked_folder(path)


def rename(path: Path, new: Path) -> None:
    """Put what is there under another name in the same folder, as os.rename does."""
    with folder(path.parent) as place:
        os.rename(path.name, new.name, src_dir_fd=place, dst_dir_fd=place)


def remove(path: Path) -> None:
    """Remove a file, a link itself, or a folder with what is in it; what cannot be removed stays."""
    with contextlib.suppress(OSError), folder(path.parent) as place:
        if stat.S_ISDIR(os.stat(path.name, dir_fd=place, follow_symlinks=False).st_mode):
            import shutil  # only where a folder is removed

            shutil.rmtree(path.name, ignore_errors=True, dir_fd=place)
        else:
            os.unlink(path.name, dir_fd=place)


def irregularities(paths: RunPaths) -> list[str]:
    """Return what lies in the run directory in the place of a file or folder of the format, in words.

    Such a run is shown, and nobody trains it until that is put right. Raises OSError when the directory
    cannot be listed.
    """
    files = {path.name for path in paths.files}
    folders = {path.name for path in paths.all_folders}
    found = _odd_in(paths.root, "", files.__contains__, folders.__contains__)
    attempts = paths.attempts.name
    try:
        if is_real_folder(paths.attempts):
            found += _odd_in(paths.attempts, f"{attempts}/", ATTEMPT_JSON.fullmatch, ATTEMPT_FOLDER.fullmatch)
        if (journals := paths.journals) != paths.root:
            found += _odd_in(journals, f"{attempts}/{journals.name}/", files.__contains__, lambda name: False)
    except OSError as error:
        found.append(f"{attempts} cannot be listed: {error.strerror or error}")
    return sorted(found)


def _odd_in(
    folder: Path, prefix: str, is_file: Callable[[str], object], is_folder: Callable[[str], object]
) -> list[str]:
    """Return what in a folder has the name of a file or folder of the format, and is none."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_file(entry.name) and not entry.is_file(follow_symlinks=False):
                found.append(f"{prefix}{entry.name} is {_kind(entry)}, not a plain file")
            elif is_folder(entry.name) and not entry.is_dir(follow_symlinks=False):
                found.append(f"{prefix}{entry.name} is {_kind(entry)}, not a folder")
    return found


def _kind(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        return "a link"
    if entry.is_dir(follow_symlinks=False):
        return "a folder"
    if entry.is_file(follow_symlinks=False):
        return "a file"
    return "a pipe" if stat.S_ISFIFO(entry.stat(follow_symlinks=False).st_mode) else "a device or socket"
