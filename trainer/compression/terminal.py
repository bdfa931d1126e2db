"""What is printed for people: it ends nothing, whatever the terminal can show and whether it is there."""

import contextlib
import io
import os
import sys

TYPE_CHECKING = False  # that of typing, whose import is a tenth of what `hankelboard --help` takes
if TYPE_CHECKING:
    from typing import TextIO

UTF8 = {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8:backslashreplace"}
"""The environment of every process that is started here: its files and output are UTF-8 in any locale."""


def say(text: str, stream: "TextIO | None" = None) -> None:
    """Write a line for people, by default to stdout.

    What the terminal cannot show is printed as an escape, \\u6797. A full disk, a closed terminal and nobody
    at the other end of a pipe are passed over.
    """
    stream = stream or sys.stdout
    with contextlib.suppress(OSError, ValueError):  # ValueError: a stream that was closed
        print(_showable(text, stream), file=stream, flush=True)


def _showable(text: str, stream: "TextIO | None") -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def settle_text() -> None:
    """Let this process print any text, and the processes that it starts speak UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    os.environ.update(UTF8)
