"""The form that queues a suite: what it holds, its seeds, and the command line that does the same."""

import streamlit as st

from hankelboard.access.roles import Action
from hankelboard.app.data import command_line
from hankelboard.app.data.command_line import CreationRefused
from hankelboard.app.panels import rights
from hankelboard.app.words import labels
from hankelboard.comparison import tables
from hankelboard.settings.suite import SuiteSeries, built_in, load_suite


def form() -> None:
    """Choose a built-in suite and queue what is missing of it."""
    with st.container(border=True, key="suite_what"):
        name = st.selectbox("Suite", built_in(), key="suite", bind="query-params", on_change=forget)
        if name not in built_in():  # which a browser may send all the same
            st.stop()
        suite = load_suite(name)
        st.caption(labels.plain(suite.description))
        st.dataframe(
            [_row(series) for series in suite.series], hide_index=True,
            alt="Series of the suite with role and seeds",
        )  # fmt: skip
        with st.grid(2, min_column_width=240):
            seeds = st.text_input(
                "Seeds", key="suite_seeds", placeholder="the suite's own", on_change=forget,
                help="Numbers with commas, for every series; more can be added later",
            )  # fmt: skip
            group = st.text_input("Group", key="suite_group", placeholder=name, max_chars=60,
                                  on_change=forget)  # fmt: skip
    wrong = seeds_problem(seeds)
    if wrong:
        st.markdown(f":red[:material/error: {labels.plain(wrong)}]")
    choices = (name, seeds.strip(), group.strip())
    st.markdown("**The same at the command line**")
    st.code(command_line.shown(command_line.suite_arguments(*choices)), language="bash", wrap_lines=True)
    if rights.offered(Action.QUEUE_PRESET):
        st.button("Queue what is missing", key="create_suite", type="primary", icon=":material/add:",
                  disabled=bool(wrong), on_click=create, args=choices)  # fmt: skip
    _say_what_happened()


def _row(series: SuiteSeries) -> dict[str, str]:
    return {
        "Series": series.name, "Role": series.role, "Seeds": ", ".join(map(str, series.seeds)),
        "Needs": ", ".join(dict.fromkeys(series.needs().values())),
    }  # fmt: skip


def seeds_problem(text: str) -> str:
    """Return what is wrong with a list of seeds; empty for no text or whole numbers with commas.

    >>> seeds_problem("0, 1"), bool(seeds_problem("0; 1"))
    ('', True)
    """
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    return "" if all(part.isdecimal() for part in parts) else f"{text}: must be whole numbers with commas"


def create(name: str, seeds: str, group: str) -> None:
    """Queue the runs (a callback)."""
    forget()
    try:
        planned = command_line.create_suite(name, seeds, group)
    except CreationRefused as error:
        st.session_state["suite_refusal"] = str(error)
        return
    created, other = sum(run.created for run in planned), sum(bool(run.differs) for run in planned)
    st.session_state["suite_created"] = (group or name, created, other, len(planned))


def forget() -> None:
    for key in ("suite_refusal", "suite_created"):
        st.session_state.pop(key, None)


def _say_what_happened() -> None:
    refusal = st.session_state.get("suite_refusal")
    if refusal:
        st.error(labels.plain(refusal), icon=":material/block:")
    done = st.session_state.get("suite_created")
    if done:
        group, created, other, total = done
        with st.container(border=True, key="created"):
            st.markdown(f":green[:material/check_circle:] {created} of {total} runs queued now"
                        f"{', the others were there' if created < total else ''}.")  # fmt: skip
            if other:
                st.markdown(f":orange[:material/warning:] {tables.counted(other, 'run')} of this group had "
                            "other settings when created; nothing is changed there. Another group keeps the "
                            "two apart.")  # fmt: skip
            st.page_link("views/compare.py", label="Compare them, partial results included",
                         icon=":material/compare_arrows:", query_params={"group": group})  # fmt: skip
