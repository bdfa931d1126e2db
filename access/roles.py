"""Who may do what: one function answers it for pages, command line and sockets."""

from dataclasses import dataclass
from enum import StrEnum

from hankelboard.storage.errors import HankelboardError


class Role(StrEnum):
    """What a visitor is, each with all rights of the one before."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    OWNER = "owner"


class Action(StrEnum):
    """What somebody may want to do."""

    READ = "read"
    DECIDE = "decide on proposals"
    COMMAND = "send commands"
    NOTE = "write notes"
    NAME_VIEW = "name views"
    QUEUE_PRESET = "queue presets"
    RUN_OWN_CODE = "start own code"
    DELETE = "delete"
    ADOPT = "adopt runs"
    MANAGE_TOKENS = "manage tokens"


_OF_VIEWERS = frozenset({Action.READ})
_OF_OPERATORS = _OF_VIEWERS | {
    Action.DECIDE,
    Action.COMMAND,
    Action.NOTE,
    Action.NAME_VIEW,
    Action.QUEUE_PRESET,
}
ACTIONS_OF = {
    Role.VIEWER: _OF_VIEWERS,
    Role.OPERATOR: _OF_OPERATORS,
    Role.OWNER: frozenset(Action),
}
"""What each role may do."""


SIGNED_OUT = "You are not signed in any more: reload the page."


@dataclass(frozen=True)
class Visitor:
    """Somebody whom a token stands for.

    Sign-in by OpenID Connect has its place here: it would make a visitor of what a provider says of somebody,
    and `may` would answer as it does now.
    """

    name: str
    role: Role


class NotAllowed(HankelboardError):
    """A visitor asked for what the role does not include."""


def may(visitor: Visitor | None, action: Action) -> bool:
    """Return whether a visitor may do this; None is somebody who did not sign in, and may nothing."""
    return visitor is not None and action in ACTIONS_OF[visitor.role]


def demand(visitor: Visitor | None, action: Action) -> Visitor:
    """Return the visitor, who may do this.

    Raises
    ------
    NotAllowed
        If nobody signed in, the token was revoked, or the role does not include it.
    """
    if visitor is None:
        raise NotAllowed(SIGNED_OUT)
    if not may(visitor, action):
        raise NotAllowed(f"{visitor.name} is {visitor.role} here, who may not {action}")
    return visitor
