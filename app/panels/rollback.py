"""Going back to a checkpoint: what is lost, what is kept, the policy of the new branch; and verifying one."""

import streamlit as st

from hankelboard.access.roles import Action
from hankelboard.app.data import proposals, runs
from hankelboard.app.data.run_cache import RunRow
from hankelboard.app.data.runs import CheckpointRow
from hankelboard.app.panels import controls, frame, rights
from hankelboard.app.words import labels
from hankelboard.storage.commands import POLICIES
from hankelboard.storage.vocabulary import CommandKind, Policy, RunState


def why_not(row: RunRow) -> str:
    """Return why the run cannot be rolled back now; empty when it can."""
    if row["state"] == RunState.UNREADABLE:
        return "The run cannot be read."
    if row["state"] == RunState.QUEUED:
        return "The run has not started."
    return "" if runs.is_writable(row["run"]) else "This directory is read-only here."


def button(row: RunRow) -> bool:
    """Draw the button for who may command; return whether it was clicked."""
    if not rights.offered(Action.COMMAND):
        return False
    closed = why_not(row)
    return st.button("Roll back to it", key="rollback", type="primary", icon=":material/undo:",
                     disabled=bool(closed), help=closed or None)  # fmt: skip


def verify(run_id: str, name: str) -> None:
    """Check sizes and hashes of a checkpoint's files (a callback); the verdict is kept for the session."""
    st.session_state.setdefault("verified", {})[run_id, name] = runs.verify(run_id, name)


def verified_word(run_id: str, name: str) -> str:
    problems = st.session_state.get("verified", {}).get((run_id, name))
    return "not checked" if problems is None else "damaged" if problems else "sound"


def verdict_on(run_id: str, name: str) -> None:
    problems = st.session_state.get("verified", {}).get((run_id, name))
    if problems == []:
        st.markdown(":green[:material/verified:] Every file has its recorded size and SHA-256.")
    for problem in problems or []:
        st.error(labels.plain(problem), icon=":material/broken_image:")


def open_dialog() -> None:
    for key in ("command_error", "dialog_done", "reason"):
        st.session_state.pop(key, None)


@st.dialog("Roll back?", width="medium", icon=":material/undo:")
def confirm(row: RunRow, item: CheckpointRow) -> None:
    run_id = row["run"]
    name = labels.plain(item["name"])
    st.markdown(
        f"Back to **step {labels.count(item['step'])}** of branch {item['branch']}, checkpoint {name}."
    )
    st.markdown("\n".join(_consequences(row, item)))
    st.segmented_control(
        "Policy of the new branch", POLICIES, default=Policy.ASK.value, required=True, key="rollback_policy"
    )
    st.caption(labels.plain(labels.POLICIES[st.session_state["rollback_policy"]]))
    st.text_area("Reason (optional, kept with the command)", key="reason", max_chars=2000, height=80)
    if not row["living"]:
        start = "" if runs.workers() else " " + labels.WORKER_HINT
        st.info(f"No trainer is at this run now; a worker carries it out.{start}", icon=":material/info:")
    error = st.session_state.get("command_error")
    if error:
        st.error(labels.plain(error), icon=":material/block:")
    with st.container(horizontal=True, horizontal_alignment="right", gap="small"):
        st.button("Cancel", key="cancel", on_click=frame.dismiss_dialog)
        st.button(f"Roll back to step {labels.count(item['step'])}", key="confirm_rollback", type="primary",
                  on_click=_roll_back, args=(run_id, item["name"]))  # fmt: skip
    frame.close_dialog()


def _consequences(row: RunRow, item: CheckpointRow) -> list[str]:
    lines = []
    if item["live"]:
        lost = row["step"] - item["step"]
        lines.append(f"- **Left behind:** {labels.count(lost)} steps of training since then.")
    else:
        lines.append(f"- **Left behind:** the whole live path back to where branch {item['branch']} left it.")
    dims = labels.plain(labels.change(row["state_dims"], item["state_dims"]))
    if row["state_dims"] == item["state_dims"]:
        lines.append(f"- **State dimension** stays at {dims}.")
    else:
        lines.append(f"- **State dimension** per layer: {dims}.")
    for proposal in proposals.proposals(row["run"]):
        applied = proposal["applied"]
        if applied is not None and proposal["number"] in item["undoes"]:
            cut = labels.plain(labels.change(applied["from"], applied["to"]))
            lines.append(
                f"- **Undone:** the cut of proposal {proposal['number']} ({cut}); it is not tried again."
            )
    if row["pending_proposal"] is not None:
        lines.append(f"- **Superseded:** proposal {row['pending_proposal']}, which waits for a decision.")
    lines.append("- **Kept:** every record, checkpoint and branch. You can come back to any of them later.")
    return lines


def _roll_back(run_id: str, name: str) -> None:
    policy = st.session_state.get("rollback_policy") or Policy.ASK
    reason = str(st.session_state.get("reason") or "")
    if controls.ask(run_id, CommandKind.ROLLBACK, checkpoint=name, policy=policy, reason=reason):
        frame.dismiss_dialog()
        frame.say_later("Rollback requested; the trainer's answer appears on this page")
