"""Buttons that ask the trainer for something, and what became of earlier requests."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import streamlit as st

from hankelboard.access.roles import Action, demand
from hankelboard.app.data import runs
from hankelboard.app.data.run_cache import CommandRow, RunRow
from hankelboard.app.data.visitors import visitor
from hankelboard.app.panels import frame, rights
from hankelboard.app.words import labels
from hankelboard.storage.commands import POLICIES, WAITING, add_note, send_command
from hankelboard.storage.errors import HankelboardError
from hankelboard.storage.vocabulary import ENDED, CommandKind, CommandState, NoteKind, RunState

GONE = "Its process is gone: there is nothing to pause or to save."
ACCEPTING = Action.RUN_OWN_CODE
"""What accepting changed code and data comes to."""
TRAINS_NOT = (*ENDED, RunState.QUEUED, RunState.UNREADABLE)


def ask(run_id: str, kind: CommandKind, **arguments: Any) -> bool:
    """Put a command into the run's inbox (for callbacks) and return whether it got there."""
    with _writing(run_id, kind):
        who = demand(visitor(), Action.COMMAND)
        if arguments.get("accept_changes"):
            demand(who, ACCEPTING)
        send_command(runs.paths_of(run_id), kind, by=who.name, by_role=who.role, via="browser", **arguments)
    return "command_error" not in st.session_state


@contextlib.contextmanager
def _writing(run_id: str, kind: CommandKind | NoteKind) -> Iterator[None]:
    """Keep why a command or note was not written, for `say_error`."""
    st.session_state.pop("command_error", None)
    try:
        yield
    except HankelboardError as error:
        st.session_state["command_error"] = str(error)
    except OSError as error:
        st.session_state["command_error"] = f"{kind} could not be written: {error.strerror}"
    finally:
        runs.forget(run_id)


def request(run_id: str, kind: CommandKind, **arguments: Any) -> None:
    """Put a command into the run's inbox (a callback)."""
    ask(run_id, kind, **arguments)


def buttons(row: RunRow) -> None:
    """Draw pause, resume, checkpoint, stop: enabled where they make sense, with the reason where not."""
    if not rights.offered(Action.COMMAND):
        rights.say_why_not()
        return
    run_id, state = row["run"], row["state"]
    writable = runs.is_writable(run_id)
    why_not = {
        CommandKind.PAUSE: "The run is paused already." if state == RunState.PAUSED else _why_idle(state),
        CommandKind.RESUME: "" if row["held"] else _why_no_resumption(state),
        CommandKind.CHECKPOINT: _why_idle(state),
        CommandKind.STOP: "The run has ended." if state in (*ENDED, RunState.UNREADABLE) else "",
    }
    with st.container(horizontal=True, gap="small", key="commands"):
        for kind, reason in why_not.items():
            cancels = kind == CommandKind.STOP and state == RunState.QUEUED
            label = "Cancel" if cancels else labels.COMMANDS[kind]
            st.button(
                label,
                key=kind,
                icon=f":material/{ICONS[kind]}:",
                on_click=request,
                args=(run_id, kind),
                disabled=bool(reason) or not writable,
                help=reason or None,
            )
        _more(row, writable)
        if row["held"] and rights.offered(ACCEPTING):
            st.button(
                "Accept what changed and resume", key="accept_changes", icon=":material/front_hand:",
                on_click=request, args=(run_id, CommandKind.RESUME), kwargs={"accept_changes": True},
                disabled=not writable,
            )  # fmt: skip


ICONS = {
    CommandKind.PAUSE: "pause", CommandKind.RESUME: "play_arrow", CommandKind.CHECKPOINT: "save",
    CommandKind.STOP: "stop",
}  # fmt: skip


def _why_idle(state: str) -> str:
    """Return why no process can obey; empty when one can."""
    return "The run is not training." if state in TRAINS_NOT else GONE if state == RunState.DEAD else ""


def _why_no_resumption(state: str) -> str:
    """Return why the run cannot be resumed; empty when it can."""
    if state in (RunState.FINISHED, RunState.UNREADABLE):
        return "The run is finished: roll back to a checkpoint to train on."
    if state in (RunState.PAUSED, RunState.STOPPED, RunState.FAILED, RunState.CANCELLED):
        return ""
    if state == RunState.DEAD:
        return "A worker resumes it by itself."
    return "The run is neither paused nor stopped."


def _among(words: Sequence[str], word: str) -> str:
    """Return the word, or the first one where a newer writer used another."""
    return word if word in words else words[0]


def _more(row: RunRow, writable: bool) -> None:
    """Draw what is needed less often: another policy, the end at a later step, the end without saving."""
    run_id, ended = row["run"], row["state"] in TRAINS_NOT
    with st.popover("More", icon=":material/more_horiz:", disabled=not writable, key="more"):
        _about(row)
        st.divider()
        if ended:
            st.caption("The run is not training: there is nothing to change now.")
            return
        st.segmented_control("Who decides on cuts", POLICIES, default=_among(POLICIES, row["policy"]),
                             key="new_policy", required=True)  # fmt: skip
        st.caption(labels.plain(labels.POLICIES.get(st.session_state["new_policy"], "")))
        st.segmented_control("While a person decides", WAITING, default=_among(WAITING, row["waiting"]),
                             format_func=lambda waiting: labels.WAITING[waiting], key="new_waiting",
                             required=True)  # fmt: skip
        now = (row["policy"], row["waiting"])
        asked = (st.session_state["new_policy"], st.session_state["new_waiting"])
        st.button("Change", key="policy", icon=":material/rule_settings:", disabled=asked == now,
                  on_click=_ask_policy, args=(run_id,))  # fmt: skip
        st.divider()
        step = st.number_input("Stop and save at step", min_value=0, max_value=row["total_steps"],
                               value=row["total_steps"], key="stop_at")  # fmt: skip
        st.button("Stop there", key="stop_later", icon=":material/stop:", on_click=request,
                  args=(run_id, CommandKind.STOP), kwargs={"at_step": int(step)},
                  disabled=step == row["total_steps"])  # fmt: skip
        st.divider()
        sure = st.checkbox("What came after the last checkpoint may be lost", key="kill_sure")
        st.button(labels.COMMANDS[CommandKind.KILL], key="kill", icon=":material/dangerous:",
                  on_click=request, args=(run_id, CommandKind.KILL), disabled=not sure)  # fmt: skip
        st.caption("Ends the process without saving, also when it hangs. The run can be resumed.")


def _about(row: RunRow) -> None:
    """Draw name, tags and archive: notes beside the run, which change nothing in it."""
    st.text_input("Name", value=row["name"], key="rename", max_chars=100, on_change=_rename,
                  args=(row["run"],))  # fmt: skip
    st.text_input("Tags", value=", ".join(row["tags"]), key="tags", max_chars=300, on_change=_tag,
                  args=(row["run"],), placeholder="separated by commas")  # fmt: skip
    label = "Bring back from the archive" if row["archived"] else "Archive"
    st.button(label, key="archive", icon=":material/archive:", on_click=_archive,
              args=(row["run"], not row["archived"]))  # fmt: skip


def _archive(run_id: str, archived: bool) -> None:
    _note(run_id, NoteKind.ARCHIVE, archived)


def _rename(run_id: str) -> None:
    name = st.session_state["rename"].strip()
    if name and _note(run_id, NoteKind.RENAME, name):
        st.session_state["renamed"] = True


def _tag(run_id: str) -> None:
    tags = [tag.strip() for tag in st.session_state["tags"].split(",")]
    tags = list(dict.fromkeys(filter(None, tags)))
    st.session_state["tags"] = ", ".join(tags)
    _note(run_id, NoteKind.TAG, tags)


def _note(run_id: str, kind: NoteKind, value: Any) -> bool:
    """Write a note (for callbacks) and return whether it was written."""
    with _writing(run_id, kind):
        who = demand(visitor(), Action.NOTE)
        add_note(runs.paths_of(run_id), kind, value, by=who.name, by_role=who.role, via="browser")
    return "command_error" not in st.session_state


def _ask_policy(run_id: str) -> None:
    state = st.session_state
    ask(run_id, CommandKind.POLICY, policy=state["new_policy"], waiting=state["new_waiting"])


def answers(run_id: str, limit: int = 3) -> None:
    """Show the latest commands and what the trainer answered: requested, accepted, applied or refused."""
    say_error()
    for command in runs.commands(run_id)[:limit]:
        st.markdown(answer_line(command))


def say_error() -> None:
    """Show why the last command or note was not written."""
    error = st.session_state.get("command_error")
    if error:
        st.error(labels.plain(error), icon=":material/error:")


def answer_line(command: CommandRow) -> str:
    kind = labels.COMMANDS.get(command["kind"], command["kind"] or "unreadable command")
    target = f" to {command['checkpoint']}" if command.get("checkpoint") else ""
    target += f" to {command['policy']}" if command.get("kind") == CommandKind.POLICY else ""
    target += f" at step {labels.count(command['at_step'])}" if command.get("at_step") is not None else ""
    sender = labels.who(command.get("by"), command.get("by_role"))
    who = f"{sender}, {labels.moment(command.get('t'), frame.zone())}"
    step = f" at step {labels.count(command['step'])}" if command["step"] is not None else ""
    reason = f": {labels.plain(command['reason'])}" if command["reason"] else ""
    why = f", because: {labels.plain(command['asked_because'])}" if command.get("asked_because") else ""
    chain: dict[str, str] = {
        CommandState.REQUESTED: ":gray[:material/schedule: requested, no answer from the trainer yet]",
        CommandState.ACCEPTED: f":blue[:material/hourglass_top: accepted{step}]",
        CommandState.APPLIED: f":green[:material/check_circle: applied{step}]",
        CommandState.REFUSED: f":red[:material/block: refused{step}]{reason}",
    }
    answer = chain.get(command["state"], labels.plain(command["state"]))
    return f"**{labels.plain(kind + target)}** ({labels.plain(who)}{why}) → {answer}"
