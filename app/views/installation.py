"""The installation: workers, disk, damage, versions."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from hankelboard.app.data import installation, runs
from hankelboard.app.data.run_cache import RunRow
from hankelboard.app.live.pulse import live_region
from hankelboard.app.panels import frame
from hankelboard.app.words import labels
from hankelboard.storage.vocabulary import RunState


@live_region()
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
    if facts["writable"]:
        st.markdown(
            f"You decide as **{labels.plain(installation.user())}**: everybody who opens this dashboard "
            "does. `HANKELBOARD_USER` sets another name when it is started."
        )
    workers()
    damage(rows)
    st.subheader("Versions", anchor=False)
    st.caption(labels.plain(", ".join(f"{name} {number}" for name, number in facts["versions"].items())))


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
live()
