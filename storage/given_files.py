"""Files that people give: of bounded size, read without waiting, UTF-8 with or without a byte order mark."""

import os
import stat
from pathlib import Path

from hankelboard.storage.errors import ConfigError

MAX_SETTINGS_BYTES = 1 << 18
"""Of a file of settings, such as a configuration or a suite."""
MAX_TABLE_BYTES = 1 << 27
MAX_DATA_BYTES = 1 << 30


def read_given_text(path: Path, max_bytes: int = MAX_SETTINGS_BYTES) -> str:
    """Return the text of a file, its line ends as they are.

    Raises
    ------
    ConfigError
        If it is no plain file, larger than that, not UTF-8, or cannot be read; in one line.
    """
    try:
        return read_given_bytes(path, max_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def read_given_bytes(path: Path, max_bytes: int) -> bytes:
    """Return what is in a file that a person named; it may be reached by a link. ConfigError as above."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ConfigError(f"{path}: is not a plain file")
            data = file.read(max_bytes + 1)
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except ValueError as error:  # a NUL in the name, or characters that the file system cannot hold
        raise ConfigError(f"{str(path)!r}: {error}") from None
    if len(data) > max_bytes:
        raise ConfigError(f"{path}: is larger than {max_bytes:,} bytes, which is the most that is read")
    return data
