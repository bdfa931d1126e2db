"""Buttons that ask the trainer for something, and what became of earlier requests."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from hankelboard.app.data import installation, runs
from hankelboard.app.panels import frame
from hankelboard.app.words import labels
from hankelboard.storage.commands import POLICIES, add_note, send_command
from hankelboard.storage.errors import HankelboardError
from hankelboard.storage.summary import ENDED

VERBS = {
    "pause": "Pause",
    "resume": "Resume",
    "checkpoint": "Checkpoint now",
    "stop": "Stop and save",
    "kill": "Kill without saving",
    "policy": "Change the policy",
    "rollback": "Roll back",
    "measure": "Measure",
}
GONE = "Its process is gone: there is nothing to pause or to save."
WAITING_WORDS = {"pause": "training pauses", "train": "training goes on"}


def ask(run_id: str, kind: str, **arguments: Any) -> bool:
    """Put a command into the run's inbox (for callbacks). Returns whether it got there."""
    st.session_state.pop("command_error", None)
    try:
        send_command(runs.paths_of(run_id), kind, by=installation.user(), via="browser", **arguments)
    except HankelboardError as error:
        st.session_state["command_error"] = str(error)
        return False
    except OSError as error:
        st.session_state["command_error"] = f"{kind} could not be written: {error.strerror}"
        return False
    finally:
        runs.forget(run_id)
    return True


def buttons(row: Mapping[str, Any]) -> None:
    """Pause, resume, checkpoint, stop: enabled where they make sense, with the reason where not."""
    run_id, state = row["run"], row["state"]
    writable = runs.is_writable(run_id)
    ended = state in ENDED
    finished = state in ("finished", "unreadable")
    why_not = {
        "pause": "The run is not training." if ended or state in ("queued", "unreadable") else
                 "The run is paused already." if state == "paused" else
                 GONE if state == "dead" else "",
        "resume": "The run is finished: roll back to a checkpoint to train on." if finished else
                  "" if state in ("paused", "stopped", "failed", "cancelled") else
                  "A worker resumes it by itself." if state == "dead" else
                  "The run is neither paused nor stopped.",
        "checkpoint": "The run is not training." if ended or state in ("queued", "unreadable") else
                      GONE if state == "dead" else "",
        "stop": "The run has ended." if ended or state == "unreadable" else "",
    }  # fmt: skip
    icons = {"pause": "pause", "resume": "play_arrow", "checkpoint": "save", "stop": "stop"}
    with st.container(horizontal=True, gap="small", key="commands"):
        for kind, reason in why_not.items():
            label = "Cancel" if kind == "stop" and state == "queued" else VERBS[kind]
            st.button(
                label,
                key=kind,
                icon=f":material/{icons[kind]}:",
                on_click=ask,
                args=(run_id, kind),
                disabled=bool(reason) or not writable,
                help=reason or None,
            )
        _more(row, writable)


def _more(row: Mapping[str, Any], writable: bool) -> None:
    """What is asked for less often: another policy, the end at a later step, the end without saving."""
    run_id, ended = row["run"], row["state"] in ENDED or row["state"] in ("queued", "unreadable")
    with st.popover("More", icon=":material/more_horiz:", disabled=not writable, key="more"):
        _about(row)
        st.divider()
        if ended:
            st.caption("The run is not training: there is nothing to change now.")
            return
        st.segmented_control("Who decides on cuts", POLICIES, default=row["policy"], key="new_policy",
                             required=True)  # fmt: skip
        st.caption(labels.plain(labels.POLICIES.get(st.session_state["new_policy"], "")))
        st.segmented_control("While a person decides", list(WAITING_WORDS), default=row["waiting"],
                             format_func=WAITING_WORDS.get, key="new_waiting", required=True)  # fmt: skip
        now = (row["policy"], row["waiting"])
        asked = (st.session_state["new_policy"], st.session_state["new_waiting"])
        st.button("Change", key="policy", icon=":material/rule_settings:", disabled=asked == now,
                  on_click=_ask_policy, args=(run_id,))  # fmt: skip
        st.divider()
        step = st.number_input("Stop and save at step", min_value=0, max_value=row["total_steps"],
                               value=row["total_steps"], key="stop_at")  # fmt: skip
        st.button("Stop there", key="stop_later", icon=":material/stop:", on_click=ask, args=(run_id, "stop"),
                  kwargs={"at_step": int(step)}, disabled=step == row["total_steps"])  # fmt: skip
        st.divider()
        sure = st.checkbox("What came after the last checkpoint may be lost", key="kill_sure")
        st.button(VERBS["kill"], key="kill", icon=":material/dangerous:", on_click=ask, args=(run_id, "kill"),
                  disabled=not sure)  # fmt: skip
        st.caption("Ends the process without saving, also when it hangs. The run can be resumed.")


def _about(row: Mapping[str, Any]) -> None:
    """Name and archive: notes beside the run, which change nothing in it."""
    st.text_input("Name", value=row["name"], key="rename", max_chars=100, on_change=_rename,
                  args=(row["run"],))  # fmt: skip
    st.text_input("Tags", value=", ".join(row["tags"]), key="tags", max_chars=300, on_change=_tag,
                  args=(row["run"],), placeholder="separated by commas")  # fmt: skip
    label = "Bring back from the archive" if row["archived"] else "Archive"
    st.button(label, key="archive", icon=":material/archive:", on_click=_note,
              args=(row["run"], "archive", not row["archived"]))  # fmt: skip


def _rename(run_id: str) -> None:
    if st.session_state["rename"].strip():
        _note(run_id, "rename", st.session_state["rename"].strip())
        st.session_state["renamed"] = True


def _tag(run_id: str) -> None:
    tags = [tag.strip() for tag in st.session_state["tags"].split(",")]
    tags = list(dict.fromkeys(filter(None, tags)))
    st.session_state["tags"] = ", ".join(tags)
    _note(run_id, "tag", tags)


def _note(run_id: str, kind: str, value: Any) -> None:
    try:
        add_note(runs.paths_of(run_id), kind, value, by=installation.user(), via="browser")
    except (HankelboardError, OSError) as error:
        st.session_state["command_error"] = f"{kind} could not be written: {error}"
    runs.forget(run_id)


def _ask_policy(run_id: str) -> None:
    state = st.session_state
    ask(run_id, "policy", policy=state["new_policy"], waiting=state["new_waiting"])


def answers(run_id: str, limit: int = 3) -> None:
    """What was asked lately and what the trainer answered: requested, accepted, applied or refused."""
    error = st.session_state.get("command_error")
    if error:
        st.error(labels.plain(error), icon=":material/error:")
    for command in runs.commands(run_id)[:limit]:
        st.markdown(answer_line(command))


def answer_line(command: Mapping[str, Any]) -> str:
    kind = VERBS.get(command["kind"], command["kind"] or "unreadable command")
    target = f" to {command['checkpoint']}" if command.get("checkpoint") else ""
    target += f" to {command['policy']}" if command.get("kind") == "policy" else ""
    target += f" at step {labels.count(command['at_step'])}" if command.get("at_step") is not None else ""
    who = f"{command.get('by') or 'unknown'}, {labels.moment(command.get('t'), frame.zone())}"
    step = f" at step {labels.count(command['step'])}" if command["step"] is not None else ""
    reason = f": {labels.plain(command['reason'])}" if command["reason"] else ""
    why = f", because: {labels.plain(command['asked_because'])}" if command.get("asked_because") else ""
    chain = {
        "requested": ":gray[:material/schedule: requested, no answer from the trainer yet]",
        "accepted": f":blue[:material/hourglass_top: accepted{step}]",
        "applied": f":green[:material/check_circle: applied{step}]",
        "refused": f":red[:material/block: refused{step}]{reason}",
    }.get(command["state"], labels.plain(command["state"]))
    return f"**{labels.plain(kind + target)}** ({labels.plain(who)}{why}) → {chain}"
