"""What all pages about one run share: which run, its links, and what must be said about its state."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from hankelboard.access.roles import Action
from hankelboard.app import pages
from hankelboard.app.charts.export import svg_export
from hankelboard.app.data import adoption, installation, proposals, runs
from hankelboard.app.data.run_cache import RunRow
from hankelboard.app.panels import rights
from hankelboard.app.panels.adoption import notice
from hankelboard.app.words import labels
from hankelboard.comparison.specification import Spec
from hankelboard.storage.errors import RunError
from hankelboard.storage.layout import RUN_ID
from hankelboard.storage.references import WAITS
from hankelboard.storage.vocabulary import CommandState, RunState


def zone() -> str | None:
    """Return the reader's time zone, as the browser gives it."""
    return getattr(st.context, "timezone", None)


def choose_run() -> str:
    """Return the run of this page: from the URL, else the last one shown. Without one the page ends here."""
    run_id = st.query_params.get("run") or st.session_state.get("run")
    listed = runs.run_ids()
    if run_id is None:
        _offer_runs(listed)
        st.stop()
    if RUN_ID.fullmatch(run_id) is None or run_id not in listed:
        st.session_state.pop("run", None)
        _say_unknown(run_id)
        _offer_runs(listed)
        st.stop()
    st.session_state["run"] = run_id
    if st.query_params.get("run") != run_id:
        st.query_params["run"] = run_id
    _switcher(listed, run_id)
    return run_id


def _say_unknown(run_id: str) -> None:
    with st.container(border=True, key="unknown_run"):
        st.markdown(f":material/search_off: **There is no run** {labels.plain(run_id[:120])} **here.**")
        st.caption(
            "The link may be from another folder of runs, or the run was moved. "
            "`hankelboard runs` lists those that are there."
        )


def _offer_runs(listed: Sequence[str]) -> None:
    if not listed:
        st.page_link("views/runs.py", label="No runs yet: how to start one", icon=":material/list:")
        return
    st.caption("Choose a run:")
    for run_id in listed[:20]:
        label = f"{labels.plain(runs.summary(run_id)['name'])} ({labels.plain(run_id)})"
        st.page_link("views/run.py", label=label, query_params={"run": run_id})


def _switcher(listed: Sequence[str], run_id: str) -> None:
    """Offer other runs on the same page, in the side bar; one that was not read yet goes by its id."""
    names = runs.known_names()
    with st.sidebar:
        st.session_state["switch_run"] = run_id
        st.selectbox(
            "Run",
            listed,
            key="switch_run",
            format_func=lambda item: f"{names[item]} · {item[-4:]}" if item in names else item,
            on_change=_switch,
        )


def _switch() -> None:
    st.session_state["run"] = st.session_state["switch_run"]
    st.query_params.clear()
    st.query_params["run"] = st.session_state["switch_run"]


def title(run_id: str, page: str) -> None:
    """Draw the run's name, and links to its other pages."""
    row = runs.summary(run_id)
    st.title(labels.plain(row["name"]), anchor=False)
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="links"):
        for other in pages.of_one_run():
            if other.name != page:
                st.page_link(other.path, label=other.title, icon=other.icon, query_params={"run": run_id})
        st.caption(labels.plain(run_id))
        svg_export()


def still_there(run_id: str, *, quietly: bool = False) -> RunRow | None:
    """Return the run's summary, or None when the run is gone: one region of a page says so."""
    try:
        return runs.whole_summary(run_id)
    except RunError as error:
        if not quietly:
            st.error(labels.plain(error), icon=":material/broken_image:")
        return None


def badge(row: RunRow) -> None:
    label, icon, color = labels.NOT_ADOPTED if is_left_alone(row) else labels.state(row)
    st.badge(labels.plain(label), icon=f":material/{icon}:", color=color)


def is_left_alone(row: RunRow) -> bool:
    """Return whether a run waits in no queue, since it came from elsewhere."""
    return bool(row["not_adopted"]) and row["state"] == RunState.QUEUED


def notes_on(row: RunRow) -> None:
    """Show what a person must know about this run: damage, trouble, no trainer, read-only."""
    with st.container():  # they come and go: what is below stays where it is, and no chart is made anew
        _notes(row)


def _notes(row: RunRow) -> None:
    if row["problem"]:
        st.error(labels.plain(row["problem"]), icon=":material/broken_image:")
    for trouble in runs.worker_troubles(row["run"]):
        st.error(f"The worker leaves it alone: {labels.plain(trouble)}", icon=":material/error:")
    if row["state"] == RunState.FAILED:
        st.error(f"Training failed: {labels.plain(row['reason'] or 'the log may say why')}",
                 icon=":material/error:")  # fmt: skip
    if row["loss_lost_at"] is not None:
        step = labels.count(row["loss_lost_at"])
        st.warning(
            f"The training loss was not a finite number at step {step}: what came after it may be worthless. "
            "Roll back to a checkpoint from before, or train with a smaller learning rate.",
            icon=":material/warning:",
        )
    if row["held"]:
        st.warning(
            f"**This run waits for you.** It was {labels.plain(row['held'])}. Until then no worker takes it; "
            "other runs go on.",
            icon=":material/front_hand:",
        )
    if row["noticed"]:
        st.info(
            f"Since the process before this one there changed: {labels.plain(', '.join(row['noticed']))}. "
            "Data, their split and the model's code are the same.",
            icon=":material/difference:",
        )
    if row["trouble"]:
        st.warning(f"The trainer reports: {labels.plain(row['trouble'])}", icon=":material/warning:")
    damaged = "; ".join(f"{name}: {words}" for name, words in row["damage"].items())
    if damaged:
        st.warning(
            f"Damaged lines were skipped. {labels.plain(damaged)}. The rest is shown; "
            f"`hankelboard verify {row['run']}` says more.",
            icon=":material/warning:",
        )
    if row["unknown_events"]:
        st.caption(f"{row['unknown_events']} events of unknown or incomplete kind were left out.")
    notice(row)
    hint = trainer_hint(row)
    if hint:
        st.info(hint, icon=":material/info:")
    if row["archived"]:
        st.caption(":material/archive: Archived: the page Runs shows it under “archived” only.")
    if not runs.is_writable(row["run"]):
        st.info(
            "This directory is read-only here: it can be looked at, but not decided on or commanded.",
            icon=":material/lock:",
        )


def trainer_hint(row: RunRow) -> str:
    """Return why nothing happens to this run now and what starts it, or nothing."""
    state, worker = row["state"], bool(runs.workers())
    start = "" if worker or not installation.is_writable() else " " + labels.WORKER_HINT
    if row["copy_of"]:
        return (
            f"A copy of {labels.plain(row['copy_of'])}: no worker takes it. `hankelboard run` trains it on."
        )
    if adoption.why_not(row):
        return ""
    if state == RunState.QUEUED and not row["queued"]:
        return f"Waits to be started by hand: `hankelboard run {row['run']}`."
    if state == RunState.QUEUED and row["reason"].startswith(WAITS):
        return f"Queued; it {labels.plain(row['reason'])}." + start
    if state == RunState.QUEUED and row["reason"]:
        return f"Queued. The last try: {labels.plain(row['reason'])}." + start
    if state == RunState.QUEUED:
        return "Queued: the worker takes it when it has room." if worker else "Queued." + start
    if row["held"]:
        return ""
    if state in (RunState.DEAD, RunState.INTERRUPTED):
        return f"{_gone(row)} {_resumption(row)}" + start
    if state == RunState.STALE:
        since = labels.plain(labels.moment(row["last_seen"], zone()))
        return (
            f"No sign of life since {since}: the machine may be busy or asleep, or the process may be gone."
        )
    if state == RunState.UNKNOWN:
        return (
            "There is no status.json that can be read: whether a process trains it is not known. "
            "A worker that finds its lock free goes on with it."
        )
    if state == RunState.UNREADABLE:
        return ""
    unanswered = any(command["state"] == CommandState.REQUESTED for command in runs.commands(row["run"]))
    if unanswered and not row["living"] and not worker:
        return "A command waits for an answer." + start
    return ""


def _gone(row: RunRow) -> str:
    """Return how the process ended: by a signal that it obeyed, or without a word."""
    if row["state"] == RunState.INTERRUPTED:
        why = labels.plain(row["reason"]) or "the process ended"
        return f"{why[0].upper()}{why[1:]}, at step {labels.count(row['step'])}."
    last = labels.plain(labels.moment(row["last_seen"], zone()))
    return f"Its process is gone; the last sign of life was at step {labels.count(row['step'])}, {last}."


def _resumption(row: RunRow) -> str:
    """Return where a worker would take it up, and how many steps that repeats."""
    newest = max((item["step"] for item in runs.checkpoints(row["run"])[0] if item["live"]), default=None)
    if newest is None:
        return "There is no checkpoint: a worker starts it anew."
    lost = max(0, row["step"] - newest)
    again = f"; the {labels.count(lost)} steps after it are trained again" if lost else ""
    return f"A worker resumes it from the newest checkpoint, of step {labels.count(newest)}{again}."


def pending_banner(row: RunRow, *, link: bool = True) -> None:
    """Show the proposal that waits, prominently."""
    number = row["pending_proposal"]
    if number is None:
        return
    proposal = proposals.proposal_row(row["run"], number)
    what = labels.change(proposal["state_dims"], proposal["ranks"]) if proposal else ""
    whom = "you" if can_decide(row["run"]) else "a decision"
    held = f": training waits for {whom}" if row["state"] == RunState.WAITING_FOR_DECISION else ""
    if row["state"] in (RunState.DEAD, RunState.INTERRUPTED):
        held = ": no process is at it now, and your decision is kept until one is"
    with st.container(border=True, key=f"pending_{row['run'].replace('.', '_')}"):
        st.markdown(
            f":orange[:material/gavel:] **Proposal {number} of {labels.plain(row['name'])}**{held}. "
            f"State dimension **{labels.plain(what)}** at step {labels.count(proposal and proposal['step'])}."
        )
        if link:
            st.page_link(
                "views/truncation.py",
                label="Look at the evidence" + (" and decide" if can_decide(row["run"]) else ""),
                icon=":material/arrow_forward:",
                query_params={"run": row["run"], "proposal": str(number)},
            )


def held_banner(row: RunRow) -> None:
    """Show a run that no worker resumes before a person says so."""
    with st.container(border=True, key=f"held_{row['run'].replace('.', '_')}"):
        st.markdown(
            f":orange[:material/front_hand:] **{labels.plain(row['name'])} waits for you**: its data or its "
            "model's code changed since its last process."
        )
        st.page_link(
            "views/run.py", label="Look at what changed", icon=":material/arrow_forward:",
            query_params={"run": row["run"]},
        )  # fmt: skip


def can_decide(run_id: str) -> bool:
    """Return whether this visitor can decide on proposals of this run."""
    return rights.offered(Action.DECIDE) and runs.is_writable(run_id)


def figure(label: str, value: str, note: str = "", *, help: str | None = None) -> None:
    """Draw a figure in a box, with a quiet note below."""
    st.metric(
        labels.plain(label), labels.plain(value), delta=labels.plain(note) or None, delta_color="off",
        delta_arrow="off", border=True, height="stretch", help=help,
    )  # fmt: skip


def draw(spec: Spec, key: str, alt: str, **tables: Any) -> None:
    """Draw a chart with a constant specification: only its tables change, and zoom survives refreshes."""
    zoomable = any("params" in layer for layer in spec["layer"])
    st.vega_lite_chart(
        spec={**spec, "datasets": tables},
        key=key,
        on_select="rerun" if zoomable else "ignore",
        selection_mode="zoom" if zoomable else None,
        alt=alt,
    )


def dismiss_dialog() -> None:
    """Ask for the open dialog to be closed (for callbacks, which run whatever else is refreshed)."""
    st.session_state["dialog_done"] = True


def close_dialog() -> None:
    """Close the dialog that was dismissed.

    Called at the end of each dialog, and first of all in the region that opened it: where a refresh of the
    region comes with the click, Streamlit runs the region only.
    """
    if st.session_state.pop("dialog_done", False):
        st.rerun()


def say_later(message: str) -> None:
    """Queue a short message for the next full run: a rerun would swallow it now."""
    st.session_state.setdefault("messages", []).append(message)


def say_now() -> None:
    for message in st.session_state.pop("messages", []):
        st.toast(labels.plain(message))
