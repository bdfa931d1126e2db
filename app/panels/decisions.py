"""Deciding on a proposal: the buttons, the confirmation, and the trainer's answer."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from hankelboard.access.roles import Action, demand
from hankelboard.app.data import proposals, runs
from hankelboard.app.data.proposals import ProposalRow
from hankelboard.app.data.run_cache import RunRow
from hankelboard.app.data.visitors import visitor
from hankelboard.app.panels import frame, rights
from hankelboard.app.words import events, labels
from hankelboard.storage import proposals as proposal_files
from hankelboard.storage.errors import HankelboardError
from hankelboard.storage.schema import Proposal, ProposalLayer
from hankelboard.storage.vocabulary import EventKind, ProposalState, RunState, Verdict

CLOSED: dict[str, str] = {
    ProposalState.REJECTED: "It was rejected.",
    ProposalState.APPROVED: "It is approved; the trainer applies it at a step boundary.",
    ProposalState.APPLIED: "It is applied. To undo it, roll back on the Checkpoints page.",
    ProposalState.REFUSED: "The trainer refused it; when it offers the cut again, that is a new proposal.",
    ProposalState.EXPIRED: "It expired: nobody decided in time.",
    ProposalState.SUPERSEDED: "It is superseded: the branch was left, or a newer proposal took its place.",
    ProposalState.ROLLED_BACK: "Its cut was undone by a rollback.",
}
CLOSED_UNAPPLIED = (
    ProposalState.REFUSED, ProposalState.EXPIRED, ProposalState.SUPERSEDED, ProposalState.ROLLED_BACK,
)  # fmt: skip


# What became of it.


def outcome(run_id: str, shown: ProposalRow) -> None:
    """Show what became of it by the trainer's answers: accepted, applied at step n, or refused and why."""
    decision, accepted, applied = shown["decision"], shown["accepted"], shown["applied"]
    steps = []
    if decision:
        verb = labels.VERDICTS.get(decision["verdict"], "decided without sense")
        when = labels.moment(decision["t"], frame.zone())
        why = f". Reason: {decision['reason']}" if decision["reason"] else ""
        text = labels.plain(f"{verb} by {labels.who(decision['by'], decision.get('by_role'))}, {when}{why}")
        steps.append(f":material/how_to_reg: {text}")
    if decision and not accepted and shown["state"] == ProposalState.PENDING:
        steps.append(":material/schedule: no answer from the trainer yet")
    if accepted:
        steps.append(f":material/check: accepted by the trainer at step {labels.count(accepted.get('step'))}")
    if applied:
        figures = f"{labels.scores(applied.get('before'))} → {labels.scores(applied.get('after'))}"
        cut = labels.change(applied.get("from"), applied.get("to"))
        text = f"applied at step {labels.count(applied.get('step'))}: {cut}; validation {figures}"
        steps.append(f":green[:material/check_circle:] {labels.plain(text)}")
    if shown["judged"]:
        icon = events.icon(EventKind.REDUCTION_JUDGED)
        steps.append(f":material/{icon}: {labels.plain(events.describe(shown['judged']))}")
    if shown["state"] in CLOSED_UNAPPLIED:
        label, icon, _ = labels.outcome(shown["state"])
        reason = f": {shown['reason']}" if shown["reason"] else ""
        steps.append(f":material/{icon}: {labels.plain(label + reason)}")
    if steps:
        with st.container(border=True, key="outcome"):
            st.markdown("\n\n".join(steps))


def past_row(proposal: ProposalRow) -> dict[str, Any]:
    decision, applied = proposal["decision"], proposal["applied"]
    return {
        "Proposal": proposal["number"],
        "Step": proposal["step"],
        "Branch": proposal["branch"],
        "Proposed": labels.change(proposal["state_dims"], proposal["ranks"]),
        "Outcome": labels.outcome(proposal["state"])[0],
        "Applied": labels.change(applied.get("from"), applied.get("to")) if applied else "",
        "By": labels.who(decision["by"], decision.get("by_role")) if decision else "",
        "Reason": (decision and decision.get("reason")) or proposal["reason"],
        "Accuracy before": labels.accuracy(applied.get("before") if applied else None),
        "Predicted": labels.accuracy(applied.get("predicted") if applied else None),
        "Measured": labels.accuracy(applied.get("after") if applied else None),
    }


# Deciding.


def buttons(row: RunRow, shown: ProposalRow, record: Proposal, ranks: Sequence[int]) -> None:
    run_id, number = row["run"], shown["number"]
    closed = why_closed(row, shown)
    if not rights.offered(Action.DECIDE):
        _say_closed(closed)
        return
    mine = list(ranks) != list(record["ranks"])
    cuts = proposals.what_if(record, ranks)["cuts"]
    proposed, edited = (labels.short_change(shown["state_dims"], r) for r in (record["ranks"], ranks))
    no_mine = (
        closed
        or ("" if mine else "Your ranks are the proposed ones.")
        or ("" if cuts else "Your ranks cut nothing; to keep the model as it is, reject.")
    )
    with st.container(horizontal=True, gap="small", key="verdict"):
        approve = st.button(f"Approve {proposed}", key="approve", type="primary", icon=":material/check:",
                            disabled=bool(closed), help=closed or None)  # fmt: skip
        approve_mine = st.button(f"Approve with my ranks {edited}" if mine else "Approve with my ranks",
                                 key="approve_mine", icon=":material/edit:", disabled=bool(no_mine),
                                 help=no_mine or None)  # fmt: skip
        reject = st.button("Reject", key="reject", icon=":material/block:", disabled=bool(closed),
                           help=closed or None)  # fmt: skip
    _say_closed(closed)
    if st.session_state.get("decision_error"):  # also where the dialog is gone by now
        st.error(labels.plain(st.session_state["decision_error"]), icon=":material/block:")
    if approve or approve_mine or reject:
        st.session_state.pop("decision_error", None)
        st.session_state.pop("dialog_done", None)
        st.session_state.pop("reason", None)
    if approve:
        confirm_approval(run_id, number, record, None)
    elif approve_mine:
        confirm_approval(run_id, number, record, list(ranks))
    elif reject:
        confirm_rejection(run_id, number, record)


def _say_closed(closed: str) -> None:
    """Draw why nobody can decide on this, or why this visitor cannot."""
    if closed:
        st.caption(f":material/lock: Nothing to decide here: {closed}")
    elif not rights.offered(Action.DECIDE):
        rights.say_why_not()


def why_closed(row: RunRow, shown: ProposalRow) -> str:
    """Return why this proposal cannot be decided now; empty when it can."""
    if shown["state"] != ProposalState.PENDING:
        return CLOSED.get(shown["state"], f"It is {labels.plain(shown['state'])}.")
    decision = shown["decision"]
    if decision:
        verb = labels.VERDICTS.get(decision["verdict"], "decided")
        who = labels.plain(labels.who(decision["by"], decision.get("by_role")))
        return f"{who} {verb} it; the trainer has not answered yet."
    if not shown["on_live_branch"]:
        return "Its branch was left by a rollback."
    if row["state"] in (RunState.FINISHED, RunState.CANCELLED, RunState.UNREADABLE):
        return f"The run is {labels.state_word(row['state'])}."
    return "" if runs.is_writable(row["run"]) else "This directory is read-only here."


@st.dialog("Cut the state dimension?", width="medium", icon=":material/content_cut:")
def confirm_approval(run_id: str, number: int, record: Proposal, ranks: list[int] | None) -> None:
    chosen = ranks or record["ranks"]
    point = proposals.what_if(record, chosen)
    edited = " **Your ranks**, not the proposed ones." if ranks else ""
    st.markdown(f"Proposal {number} of {labels.plain(runs.summary(run_id)['name'])}.{edited}")
    st.markdown(
        "\n".join(
            _layer_line(layer, rank, proposals.importance(record).short)
            for layer, rank in zip(record["layers"], chosen, strict=True)
        )
    )
    before = (record.get("measured") or {}).get("before")
    if point["measured"]:
        st.markdown(
            f"Measured on validation, without further training: {labels.plain(labels.scores(before))} → "
            f"**{labels.plain(labels.scores(point['measured']))}**."
        )
    else:
        st.markdown(":orange[:material/warning:] What these ranks do to validation was **not measured**.")
    st.markdown(
        "What happens: the trainer writes a **pinned checkpoint** first, cuts at the next step boundary, "
        "measures validation before and after, and trains on. You can **roll back** to that checkpoint at "
        "any time on the Checkpoints page; nothing is deleted."
    )
    _no_listener(run_id)
    _confirmation(run_id, number, Verdict.APPROVE, ranks, f"Cut {labels.short_change(_dims(record), chosen)}")


@st.dialog("Reject this proposal?", width="medium", icon=":material/block:")
def confirm_rejection(run_id: str, number: int, record: Proposal) -> None:
    st.markdown(f"Proposal {number} of {labels.plain(runs.summary(run_id)['name'])}.")
    st.markdown("\n".join(f"- Layer {x['layer']}: stays at **{x['state_dim']}**" for x in record["layers"]))
    st.markdown(
        "The model stays as it is and training goes on; the trainer proposes again at its next attempt."
    )
    _no_listener(run_id)
    _confirmation(run_id, number, Verdict.REJECT, None, f"Reject proposal {number}")


def _dims(record: Proposal) -> list[int]:
    return [layer["state_dim"] for layer in record["layers"]]


def _layer_line(layer: ProposalLayer, rank: int, of: str) -> str:
    name = labels.plain(layer["name"])
    if rank == layer["state_dim"]:
        return f"- Layer {layer['layer']} ({name}): stays at **{rank}**"
    share = labels.plain(labels.percent(layer["discarded_share"][rank]))
    return f"- Layer {layer['layer']} ({name}): **{layer['state_dim']} → {rank}**, discards {share} of {of}"


def _no_listener(run_id: str) -> None:
    row = runs.summary(run_id)
    if row["living"]:
        return
    start = "" if runs.workers() else " " + labels.WORKER_HINT
    st.info(
        f"No trainer is at this run now ({labels.state_word(row['state'])}). The decision is kept and takes "
        f"effect when the run is resumed.{start}",
        icon=":material/info:",
    )


def _confirmation(run_id: str, number: int, verdict: Verdict, ranks: list[int] | None, label: str) -> None:
    st.text_area("Reason (optional, kept with the decision)", key="reason", max_chars=2000, height=80)
    error = st.session_state.get("decision_error")
    if error:
        st.error(labels.plain(error), icon=":material/block:")
    rights.say_who_decides()
    with st.container(horizontal=True, horizontal_alignment="right", gap="small"):
        st.button("Cancel", key="cancel", on_click=frame.dismiss_dialog)
        st.button(label, key="confirm", type="primary", on_click=decide, disabled=bool(error),
                  args=(run_id, number, verdict, ranks))  # fmt: skip
    frame.close_dialog()


def decide(run_id: str, number: int, verdict: Verdict, ranks: list[int] | None) -> None:
    """Record the verdict (a callback: it runs whatever else is refreshed). The first verdict wins."""
    reason = str(st.session_state.get("reason") or "")
    try:
        who = demand(visitor(), Action.DECIDE)
        proposal_files.decide(
            runs.paths_of(run_id),
            number,
            verdict,
            by=who.name,
            by_role=who.role,
            via="browser",
            ranks=ranks,
            reason=reason,
        )
    except HankelboardError as error:
        st.session_state["decision_error"] = str(error)
    except OSError as error:
        st.session_state["decision_error"] = f"the decision could not be written: {error.strerror}"
    else:
        frame.dismiss_dialog()
        frame.say_later(f"Proposal {number}: {verdict} recorded; the trainer answers at its next step")
    runs.forget(run_id)
