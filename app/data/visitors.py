"""Who looks at a page now, and in which role."""

import os

from hankelboard.access.roles import Role, Visitor
from hankelboard.app.data import installation


def visitor() -> Visitor | None:
    """Return who asks, looked up anew at each call; None when nobody is signed in any more."""
    role = Role.VIEWER if is_read_only() else Role.OWNER
    return Visitor(installation.user(), role)


def is_read_only() -> bool:
    """Return whether this dashboard was started to be looked at only."""
    return os.environ.get("HANKELBOARD_READ_ONLY") == "1"
