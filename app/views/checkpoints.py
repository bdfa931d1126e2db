"""Branches and checkpoints of a run; going back to one."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from hankelboard.access.roles import Action
from hankelboard.app.charts import branches as tree_charts
from hankelboard.app.data import runs
from hankelboard.app.data.run_cache import RunRow
from hankelboard.app.data.runs import CheckpointRow
from hankelboard.app.live.pulse import live_region
from hankelboard.app.live.watch import HEARTBEAT, LOG, METRICS
from hankelboard.app.panels import controls, frame, rights, rollback
from hankelboard.app.words import labels
from hankelboard.storage.scores import PRIMARY_METRIC
from hankelboard.storage.vocabulary import Cause


@live_region(ignore=(HEARTBEAT, METRICS, LOG))
def live(run_id: str) -> None:
    frame.close_dialog()
    row = frame.still_there(run_id)
    if row is not None:
        frame.notes_on(row)
        listed, damaged = runs.checkpoints(run_id)
        for message in damaged:
            st.warning(labels.plain(message), icon=":material/broken_image:")
        controls.answers(run_id)
        if listed:
            tree(run_id, listed)
            choose(row, listed)
            table(run_id, listed)
        else:
            st.markdown(":material/hourglass_empty: **No checkpoint yet.**")
            st.caption("The trainer writes the first one when it starts, and pins one before every cut.")


def tree(run_id: str, listed: Sequence[CheckpointRow]) -> None:
    branches = runs.branches(run_id)
    in_words = [
        {**item, "cause_words": labels.cause(item["cause"]), "dims_words": labels.dims(item["state_dims"])}
        for item in listed
    ]
    st.subheader("Branches", anchor=False)
    st.caption(
        "Every rollback starts a branch; nothing is deleted. Solid: the live path. Faint and dashed: left. "
        "Purple: rolled back to here."
    )
    with st.container(border=True, key="tree"):
        frame.draw(
            tree_charts.tree_spec(len(branches)),
            key=f"tree-{run_id}",
            alt="Branches and checkpoints along the training step",
            **tree_charts.tree_tables(branches, in_words),
        )
    for branch in branches[1:]:
        until = "live" if branch["live"] else "left"
        text = (
            f"Branch {branch['number']} ({until}): from step {labels.count(branch['from_step'])} of branch "
            f"{branch['parent']}, checkpoint {branch['checkpoint']}, N {labels.dims(branch['state_dims'])}"
        )
        st.caption(labels.plain(text))


def choose(row: RunRow, listed: Sequence[CheckpointRow]) -> None:
    """Pick a checkpoint, verify it, go back to it."""
    by_name = {item["name"]: item for item in listed}
    linked = st.query_params.get("checkpoint")
    chosen = st.session_state.get("checkpoint_choice")
    if chosen not in by_name:
        chosen = linked if linked in by_name else default_choice(listed)
    st.session_state["checkpoint_choice"] = chosen  # said in every message: one of them may be dropped
    with st.container(border=True, key="choice"):
        name = st.selectbox("Checkpoint", list(by_name), key="checkpoint_choice", on_change=_remember,
                            format_func=lambda key: label(by_name[key]))  # fmt: skip
        item = by_name[name]
        with st.container(horizontal=True, gap="small"):
            clicked = rollback.button(row)
            st.button("Verify its files", key="verify", icon=":material/verified:", on_click=rollback.verify,
                      args=(row["run"], name))  # fmt: skip
        rollback.verdict_on(row["run"], name)
        if not rights.offered(Action.COMMAND):
            rights.say_why_not()
    if clicked:
        rollback.open_dialog()
        rollback.confirm(row, item)


def default_choice(listed: Sequence[CheckpointRow]) -> str:
    """Return the newest checkpoint before a cut on the live path, to go back to after a mistake."""
    for item in listed:
        if item["cause"] == Cause.BEFORE_REDUCTION and item["live"]:
            return str(item["name"])
    return str(listed[0]["name"])


def _remember() -> None:
    st.query_params["checkpoint"] = st.session_state["checkpoint_choice"]


def label(item: CheckpointRow) -> str:
    cause = labels.cause(item["cause"])
    accuracy = item["metrics"].get(PRIMARY_METRIC)
    measured = f", validation {labels.percent(accuracy)}" if accuracy is not None else ""
    branch = f"branch {item['branch']}{'' if item['live'] else ', left'}"
    return f"step {item['step']:,} · {cause} · N {labels.dims(item['state_dims'])}{measured} ({branch})"


def table(run_id: str, listed: Sequence[CheckpointRow]) -> None:
    st.subheader("All checkpoints", anchor=False)
    rows = [
        {
            "Step": item["step"],
            "Branch": f"{item['branch']}" + ("" if item["live"] else " (left)"),
            "Cause": labels.cause(item["cause"]),
            "States per layer": labels.dims(item["state_dims"]),
            "Validation accuracy": labels.percent(item["metrics"].get(PRIMARY_METRIC)),
            "Size": labels.size(item["bytes"]),
            "Pinned": "pinned" if item["pinned"] else "",
            "Verified": rollback.verified_word(run_id, item["name"]),
            "Written": labels.moment(item["t"], frame.zone()),
            "Name": item["name"],
        }
        for item in listed
    ]
    st.dataframe(
        pd.DataFrame(rows), hide_index=True, key="checkpoints_table", alt="Checkpoints, newest first"
    )


frame.say_now()
chosen = frame.choose_run()
frame.title(chosen, "checkpoints")
live(chosen)
