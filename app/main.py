"""The router: every page is a URL, and every selection on it a query parameter."""

from pathlib import Path

import streamlit as st

STATIC = Path(__file__).parent / "static"
FOCUS = "<style>a:focus-visible { outline: 2px solid #3B82F6 !important; outline-offset: 1px }</style>"
"""Streamlit marks a link that the keyboard is at by a tint that one hardly sees."""

st.set_page_config(page_title="Hankelboard", page_icon=str(STATIC / "mark.svg"), layout="wide")
st.html(FOCUS)
st.logo(str(STATIC / "logo.svg"), icon_image=str(STATIC / "mark.svg"), size="medium")
page = st.navigation(
    {
        "": [
            st.Page("views/runs.py", title="Runs", icon=":material/list:", default=True,
                    help="All runs; what waits for a decision stands first."),
            st.Page("views/compare.py", title="Compare", icon=":material/compare_arrows:", url_path="compare",
                    help="Runs side by side against a baseline."),
            st.Page("views/new_run.py", title="New run", icon=":material/add:",
                    help="Queue a run from a preset."),
            st.Page("views/glossary.py", title="Glossary", icon=":material/menu_book:",
                    help="What the words and figures mean, and what they do not promise."),
            st.Page("views/installation.py", title="System", icon=":material/dns:", url_path="system",
                    help="Workers, disk, damage, versions."),
        ],
        "One run": [
            st.Page("views/run.py", title="Run", icon=":material/monitoring:", url_path="run",
                    help="State, charts, events and log of one run, live."),
            st.Page("views/spectra.py", title="Spectra", icon=":material/gradient:", url_path="spectra",
                    help="Spectra over training, and the ranks that tolerances would leave."),
            st.Page("views/truncation.py", title="Truncation", icon=":material/content_cut:",
                    url_path="truncation", help="What a cut would do, and the decision on it."),
            st.Page("views/checkpoints.py", title="Checkpoints", icon=":material/account_tree:",
                    url_path="checkpoints", help="Branches and checkpoints; roll back."),
        ],
    }
)  # fmt: skip
page.run()
