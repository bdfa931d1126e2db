"""What a page says of a run that no worker starts, and the button that adopts it."""

import streamlit as st

from hankelboard.app.data import adoption
from hankelboard.app.data.run_cache import RunRow
from hankelboard.app.words import labels
from hankelboard.storage.errors import HankelboardError


def notice(row: RunRow) -> None:
    """Say that a run is not adopted, why nothing happens to it, and offer to change it."""
    why = adoption.why_not(row)
    if not why:
        return
    with st.container(border=True, key="not_adopted"):
        st.markdown(f":material/move_to_inbox: **Not adopted**: {labels.plain(why)}; no worker starts it.")
        code = ", ".join(adoption.code_of(row["run"]))
        what = f" It names code of its own, {labels.plain(code)}, which would run as you." if code else ""
        st.caption(f"Look at its configuration first.{what} In a terminal: "
                   f"`hankelboard adopt {row['run']}`")  # fmt: skip
        if adoption.is_allowed():
            st.button("Adopt this run", key="adopt", icon=":material/check:", on_click=_adopt,
                      args=(row["run"],))  # fmt: skip
        else:
            st.caption("Only the owner of this dashboard can adopt it here.")
        refusal = st.session_state.get("adoption_refused", {})
        if row["run"] in refusal:
            st.error(labels.plain(refusal[row["run"]]), icon=":material/block:")


def _adopt(run_id: str) -> None:
    """Adopt a run (a callback)."""
    st.session_state.pop("adoption_refused", None)
    try:
        adoption.adopt(run_id)
    except HankelboardError as error:
        st.session_state["adoption_refused"] = {run_id: str(error)}
