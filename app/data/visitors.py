"""Who sits before a page, and what that visitor may be here."""

from collections.abc import Mapping

import streamlit as st

from hankelboard.access import sessions, tokens
from hankelboard.access.account import account_name
from hankelboard.access.entrance import entrance
from hankelboard.access.roles import Role, Visitor

BEARER = "Bearer "


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
    elif authorization is not None and authorization.startswith(BEARER):
        found = tokens.verify(authorization.removeprefix(BEARER))
    else:
        value = cookies.get(cookie_name())
        found = sessions.visitor_of(value) if value else None
    return Visitor(found.name, Role.VIEWER) if found is not None and here.read_only else found


def cookie_name() -> str:
    """Return the name of the cookie that holds a session. Browsers do not part cookies by port: it does."""
    return f"hankelboard-{st.get_option('server.port')}"
