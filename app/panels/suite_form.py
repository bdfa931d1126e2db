"""The form that queues a suite: what it holds, its seeds, and the command line that does the same."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from hankelboard.app.data import command_line
from hankelboard.app.data.command_line import CommandLineError
from hankelboard.app.words import labels
from hankelboard.comparison import tables


def form() -> None:
    """Choose a built-in suite and queue what is missing of it."""
    try:
        suites = {suite["suite"]: suite for suite in command_line.suites()}
    except CommandLineError as error:
        st.error(f"The suites cannot be listed: {labels.plain(error)}", icon=":material/error:")
        return
    with st.container(border=True, key="suite_what"):
        name = st.selectbox("Suite", list(suites), key="suite", bind="query-params", on_change=forget)
        st.caption(labels.plain(suites[name]["description"]))
        st.dataframe(
            [_row(series) for series in suites[name]["series"]], hide_index=True,
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
    arguments = command_line.suite_arguments(name, seeds.strip(), group.strip())
    st.markdown("**The same at the command line**")
    st.code(command_line.shown(arguments), language="bash", wrap_lines=True)
    st.button("Queue what is missing", key="create_suite", type="primary", icon=":material/add:",
              disabled=bool(wrong), on_click=create, args=(arguments, group.strip() or name))  # fmt: skip
    _say_what_happened()


def _row(series: Mapping[str, Any]) -> dict[str, str]:
    return {
        "Series": series["name"], "Role": series["role"], "Seeds": ", ".join(map(str, series["seeds"])),
        "Needs": ", ".join(dict.fromkeys(series["needs"].values())),
    }  # fmt: skip


def seeds_problem(text: str) -> str:
    """What is wrong with a list of seeds; nothing when it is empty or whole numbers with commas.

    >>> seeds_problem("0, 1"), bool(seeds_problem("0; 1"))
    ('', True)
    """
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    return "" if all(part.isdigit() for part in parts) else f"{text}: must be whole numbers with commas"


def create(arguments: Sequence[str], group: str) -> None:
    """Queue the runs (a callback)."""
    forget()
    try:
        rows = command_line.create_suite(arguments)
    except CommandLineError as error:
        st.session_state["suite_refusal"] = str(error)
        return
    created, other = (sum(bool(row[key]) for row in rows) for key in ("created", "differs"))
    st.session_state["suite_created"] = (group, created, other, len(rows))


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
