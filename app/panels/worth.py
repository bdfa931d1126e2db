"""Is cutting worth it? The button on page New run, the progress of short runs, and the answer."""

import streamlit as st

from hankelboard.access.roles import Action
from hankelboard.app.data import command_line, worth
from hankelboard.app.data.command_line import CreationRefused
from hankelboard.app.panels import rights
from hankelboard.app.words import labels
from hankelboard.settings.new_run import NewRun

LIVE_S = 1.0
JOB, REFUSAL = "worth_job", "worth_refusal"
HELP = (
    "Short runs from scratch at N, N/4 and N/16 states, here and now: does a small network do as well? Then "
    "train that one. No run is created"
)


def offer(chosen: NewRun, why_not: str) -> None:
    """Draw the button, what the short runs say so far, and the answer."""
    job: worth.Job | None = st.session_state.get(JOB)
    if rights.offered(Action.QUEUE_PRESET):
        busy = job is not None and not job.over
        st.button("Is it worth it?", key="worth", icon=":material/balance:", help=why_not or HELP,
                  disabled=bool(why_not) or busy, on_click=_ask, args=(chosen,))  # fmt: skip
    if refusal := st.session_state.get(REFUSAL):
        st.error(labels.plain(refusal), icon=":material/block:")
    if job is not None:
        with st.container(border=True, key="worth_answer"):
            st.code(command_line.shown(job.arguments), language="bash", wrap_lines=True)
            _answer(job) if job.over else _progress(job)


@st.fragment(run_every=LIVE_S)
def _progress(job: worth.Job) -> None:
    if worth.look(job).over:
        st.rerun()
    st.markdown(f":material/hourglass: {labels.plain(job.said) or 'The first short run begins.'}")
    st.button("End it", key="worth_end", icon=":material/stop:", on_click=worth.end, args=(job,))
    st.caption("It is ended, too, some minutes after this page is left.")


def _answer(job: worth.Job) -> None:
    if job.problem:
        st.markdown(f":material/info: {labels.plain(job.problem)}")
        return
    answer, *rest = job.words
    st.markdown(f"**{labels.plain(answer)}**")
    for line in rest:
        st.caption(labels.plain(line))


def _ask(chosen: NewRun) -> None:
    """Begin to ask (a callback)."""
    for key in (JOB, REFUSAL):
        st.session_state.pop(key, None)
    try:
        st.session_state[JOB] = worth.ask(chosen)
    except CreationRefused as error:
        st.session_state[REFUSAL] = str(error)
