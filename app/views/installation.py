"""The installation: workers, disk, damage, versions."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from hankelboard.access import tokens
from hankelboard.access.entrance import entrance
from hankelboard.access.roles import Action
from hankelboard.access.tokens import NamedToken
from hankelboard.app.data import installation, runs
from hankelboard.app.data.run_cache import RunRow
from hankelboard.app.data.visitors import visitor
from hankelboard.app.live.pulse import live_region
from hankelboard.app.panels import frame, rights
from hankelboard.app.words import labels
from hankelboard.storage.errors import HankelboardError
from hankelboard.storage.vocabulary import RunState

SIGN_OUT = """<form action="sign-out" method="post"><button type="submit" style="font: inherit;
font-size: .875rem; color: inherit; background: none; border: 1px solid rgba(128, 128, 128, .4);
border-radius: .5rem; padding: .3rem .75rem; cursor: pointer">Sign out</button></form>"""
"""A form, so that a link of another page cannot sign anybody out."""


@live_region(ticks=True)
def live() -> None:
    facts, rows = installation.facts(), runs.summaries()
    queued = sum(row["state"] == RunState.QUEUED and row["queued"] for row in rows)
    with st.grid("auto", min_column_width=170, gap="small"):
        frame.figure("Workers", labels.count(len(runs.workers())))
        frame.figure("Runs", labels.count(len(rows)), f"{queued} queued")
        frame.figure("Free on the disk", labels.size(facts["free"]), f"of {labels.size(facts['total'])}")
        frame.figure("Memory", labels.size(facts["memory"]), "of this dashboard")
    place = "" if facts["writable"] else " It is **read-only** here: nothing can be decided or started."
    st.markdown(f"Runs lie in {labels.plain(facts['folder'])} on {labels.plain(facts['host'])}.{place}")
    workers()
    damage(rows)
    st.subheader("Versions", anchor=False)
    st.caption(labels.plain(", ".join(f"{name} {number}" for name, number in facts["versions"].items())))


def whoever_looks() -> None:
    """Say as whom and in which role this visitor acts, and offer to sign out."""
    who = visitor()
    if who is not None:
        st.markdown(f":material/person: You are {labels.plain(rights.in_words(who))}")
    if entrance().read_only:
        st.caption(rights.READ_ONLY)
    if entrance().no_token:
        st.caption("It was started with --no-token: everybody who reaches it is the same person to it.")
    else:
        st.html(SIGN_OUT)


def others() -> None:
    """Show the owner who else may come in. A token itself is nowhere: its hash alone is kept."""
    if not rights.offered(Action.MANAGE_TOKENS):
        return
    st.subheader("Tokens", anchor=False)
    try:
        rows = [_token_row(token) for token in tokens.named()]
    except HankelboardError as error:
        st.error(labels.plain(error), icon=":material/broken_image:")
        return
    if rows:
        st.dataframe(pd.DataFrame(rows), hide_index=True, key="tokens_table", alt="Tokens of others")
    else:
        st.markdown("Nobody else has a token.")
    st.caption("`hankelboard token create NAME --role viewer` makes one; `hankelboard token revoke NAME` "
               "ends it, open tabs included.")  # fmt: skip


def _token_row(token: NamedToken) -> dict[str, str]:
    expires = "never" if token.expires_at is None else _day(token.expires_at)
    return {
        "Name": token.name, "Role": token.role, "Made": _day(token.created_at),
        "Ends": "has ended" if token.is_expired else expires,
    }  # fmt: skip


def _day(t: float) -> str:
    return labels.moment(datetime.fromtimestamp(t, UTC).isoformat(), frame.zone())


def workers() -> None:
    st.subheader("Workers", anchor=False)
    present = runs.workers()
    if not present:
        hint = labels.WORKER_HINT if installation.is_writable() else "None can work here."
        st.info(hint, icon=":material/info:")
        return
    rows = [
        {
            "Host": worker.get("host"),
            "Process": worker.get("pid"),
            "Trains": ", ".join(map(str, worker.get("runs") or [])) or "nothing now",
            "Last seen": labels.moment(worker.get("t"), frame.zone()),
        }
        for worker in present
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="workers_table", alt="Workers")


def damage(rows: Sequence[RunRow]) -> None:
    st.subheader("Damage", anchor=False)
    damages = [
        {"Run": row["run"], "What": problem}
        for row in rows
        for problem in (
            row["problem"],
            *(f"{name}: {words}" for name, words in row["damage"].items()),
            f"{row['unknown_events']} events of unknown or incomplete kind" if row["unknown_events"] else "",
            f"trouble: {row['trouble']}" if row["trouble"] else "",
        )
        if problem
    ]
    if damages:
        st.dataframe(pd.DataFrame(damages), hide_index=True, key="damage_table", alt="Damaged runs")
    else:
        st.markdown(":material/verified: Every record that was read is whole.")
    st.caption("`hankelboard verify RUN` checks everything in a run, the hashes of its checkpoints included.")


st.title("System", anchor=False)
whoever_looks()
live()
others()
