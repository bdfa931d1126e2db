"""Who sits before a page, and what that visitor may be here."""

from collections.abc import Mapping

import streamlit as st

from hankelboard.access import sessions, tokens
from hankelboard.access.account import account_name
from hankelboard.access.entrance import entrance
from hankelboard.access.roles import Role, Visitor

_BEARER = "Bearer "


def visitor() -> Visitor | None:
    """Return who acts on this page now; None if nobody is signed in any more.

    Files are looked at each time: a token that was revoked counts for nothing in tabs that are open.
    """
    if entrance().no_token:
        return visitor_with({}, None)
    return visitor_with(st.context.cookies, st.context.headers.get("Authorization"))


def visitor_with(cookies: Mapping[str, str], authorization: str | None) -> Visitor | None:
    """Return who sends these cookies, or this header with a token."""
    here = entrance()
    found: Visitor | None
    if here.no_token:
        found = Visitor(account_name(), Role.OWNER)
    elif token := _bearer(authorization):
        found = tokens.verify(token)
    else:
        value = cookies.get(cookie_name())
        found = sessions.visitor_of(value) if isinstance(value, str) else None  # a test has no cookies
    return Visitor(found.name, Role.VIEWER) if found is not None and here.read_only else found


def has_token(authorization: str | None) -> bool:
    """Return whether a header bears a valid token, without which only pages of this server may act."""
    token = _bearer(authorization)
    return token is not None and tokens.verify(token) is not None


def _bearer(authorization: str | None) -> str | None:
    """Return the token in a header; None for other kinds, which a proxy may add for itself."""
    if not isinstance(authorization, str) or not authorization.startswith(_BEARER):
        return None
    return authorization.removeprefix(_BEARER).strip()


def cookie_name() -> str:
    """Return the name of the cookie that holds a session. Browsers do not part cookies by port: it does."""
    return f"hankelboard-{st.get_option('server.port')}"
