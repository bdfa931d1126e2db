"""The router: every page is a URL, and every selection on it a query parameter."""

from pathlib import Path
from typing import Any

import streamlit as st

from hankelboard.access.roles import SIGNED_OUT, Action, may
from hankelboard.app import pages
from hankelboard.app.data.visitors import visitor

STATIC = Path(__file__).parent / "static"
FOCUS = "<style>a:focus-visible { outline: 2px solid #3B82F6 !important; outline-offset: 1px }</style>"
"""Streamlit marks a link that the keyboard is at by a tint that one hardly sees."""

st.set_page_config(page_title="Hankelboard", page_icon=str(STATIC / "mark.svg"), layout="wide")
st.html(FOCUS)
if not may(visitor(), Action.READ):  # the door lets nobody in without a session; this one has ended
    st.warning(SIGNED_OUT, icon=":material/lock:")
    st.stop()
st.logo(str(STATIC / "logo.svg"), icon_image=str(STATIC / "mark.svg"), size="medium")


def listed(of_one_run: bool) -> list[Any]:
    """Return the pages of one part of the side bar."""
    return [
        st.Page(
            page.path,
            title=page.title,
            icon=page.icon,
            help=page.help,
            url_path=page.name,
            default=page.default,
        )
        for page in pages.PAGES
        if page.of_one_run == of_one_run
    ]


st.navigation({"": listed(of_one_run=False), "One run": listed(of_one_run=True)}).run()
