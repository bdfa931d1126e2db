"""A pipe whose other end the process that started this one holds: when that is gone, this one ends, too.

So nothing is left behind when `hankelboard up` is killed by a signal that it cannot see.
"""

import os
import signal
import stat
import threading
import time

VARIABLE = "HANKELBOARD_LIFELINE"
"""Environment variable with the number of the descriptor. It is not handed on to further processes."""
CHILD_MARK = "HANKELBOARD_CHILD"
"""Environment variable of a process that a worker started for a run."""


def is_held() -> bool:
    """Return whether another process keeps this one, and says what people are to read."""
    return VARIABLE in os.environ


def follow(patience_s: float) -> None:
    """Have this process end when the one that started it is gone: as at SIGTERM, after `patience_s` at once.

    Do nothing in a process that was started otherwise.
    """
    number = os.environ.pop(VARIABLE, "")
    try:
        descriptor = int(number)
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return
        os.set_inheritable(descriptor, False)
    except (ValueError, OSError):
        return
    threading.Thread(target=_end_with, args=(descriptor, patience_s), name="lifeline", daemon=True).start()


def _end_with(descriptor: int, patience_s: float) -> None:
    while os.read(descriptor, 1):  # nothing is ever written; it ends with the last holder of the other end
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(patience_s)
    os._exit(1)
