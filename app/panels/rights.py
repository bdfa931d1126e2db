"""What a page offers to whom, and the one quiet sentence where it offers nothing."""

import streamlit as st

from hankelboard.access.entrance import entrance
from hankelboard.access.roles import Action, Role, Visitor, may
from hankelboard.app.data.visitors import visitor
from hankelboard.app.words import labels

READ_ONLY = "This dashboard is read-only: it shows runs and changes nothing."
OF_ROLES: dict[str, str] = {
    Role.VIEWER: "a viewer: you read everything; deciding and commanding is for operators.",
    Role.OPERATOR: "an operator: you decide, command, write notes and queue presets. Own code, deleting and "
    "tokens are for the owner.",
    Role.OWNER: "the owner: you may do everything here.",
}
"""What each role means, after a name."""


def offered(action: Action) -> bool:
    """Return whether a page draws what does this: what a visitor may not do is not there to click."""
    return may(visitor(), action)


def why_not() -> str:
    """Return why nothing can be done here, in one sentence."""
    who = visitor()
    return READ_ONLY if entrance().read_only or who is None else f"You are {in_words(who)}"


def say_why_not() -> None:
    """Draw the sentence where a button would be."""
    st.caption(f":material/visibility: {labels.plain(why_not())}")


def in_words(who: Visitor) -> str:
    """Return as whom and in which role somebody acts: bob, a viewer: …"""
    return f"{who.name}, {OF_ROLES[who.role]}"


def say_who_decides() -> None:
    """Draw the name and role that a decision would carry."""
    who = visitor()
    if who is not None:
        st.caption(f"Decided as {labels.plain(labels.who(who.name, who.role))}.")
