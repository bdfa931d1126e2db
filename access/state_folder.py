"""The folder of tokens, sessions and tickets, which are of an account and never of a run."""

import os
from pathlib import Path


def state_folder() -> Path:
    """Return the folder of tokens, sessions and tickets; it need not be there yet.

    `$HANKELBOARD_STATE` (one for all nodes of a cluster), else `$XDG_STATE_HOME/hankelboard`, else
    `~/.local/state/hankelboard`.
    """
    if given := os.environ.get("HANKELBOARD_STATE"):
        return Path(given)
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "hankelboard"
