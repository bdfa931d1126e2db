"""The account that runs this process, by the name that decisions of its owner bear."""

import getpass
import os


def account_name() -> str:
    """Return $HANKELBOARD_USER, else the login name."""
    try:
        return os.environ.get("HANKELBOARD_USER") or getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
