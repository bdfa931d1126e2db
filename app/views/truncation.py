"""A proposal with its evidence, and the decision on it."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from hankelboard.app.data import proposals as proposal_data
from hankelboard.app.data.proposals import ProposalRow
from hankelboard.app.data.run_cache import RunRow
from hankelboard.app.live.pulse import live_region
from hankelboard.app.live.watch import HEARTBEAT, LOG, METRICS
from hankelboard.app.panels import (
    decisions,
    evidence,
    frame,
    measurement,
    predictions,
    rank_sliders,
)
from hankelboard.app.words import labels
from hankelboard.storage.schema import Proposal, ProposalLayer
from hankelboard.storage.vocabulary import Policy, ProposalState


@live_region(ignore=(HEARTBEAT, METRICS, LOG))
def live(run_id: str) -> None:
    frame.close_dialog()
    row = frame.still_there(run_id)
    if row is not None:
        frame.notes_on(row)
        proposals = proposal_data.proposals(run_id)
        if proposals:
            with st.container():  # as in `present`
                shown = choose_proposal(row, proposals)
            present(row, shown)
            past(run_id, proposals)
            predictions.show(run_id)
        else:
            explain_empty(row)


def explain_empty(row: RunRow) -> None:
    st.markdown(":material/hourglass_empty: **No proposal yet.**")
    st.caption(
        "The trainer proposes a cut at the steps that the configuration sets (reduction.attempts, window, "
        "steps), when the rule at the tolerance finds one. What it did not propose, and why, is among the "
        "run's events."
    )


def choose_proposal(row: RunRow, proposals: Sequence[ProposalRow]) -> ProposalRow:
    """Return the proposal of the URL, else the pending one, else the newest; draw a switch for several."""
    by_number = {proposal["number"]: proposal for proposal in proposals}
    asked = st.query_params.get("proposal", "")
    chosen_number = int(asked) if asked.isdecimal() and len(asked) < 10 else row["pending_proposal"]
    if chosen_number is not None and chosen_number not in by_number:
        older = proposal_data.proposal_row(row["run"], chosen_number)
        by_number |= {} if older is None else {older["number"]: older}
    number = chosen_number if chosen_number in by_number else proposals[0]["number"]
    if asked and asked != str(number):
        st.caption(f"There is no proposal {labels.plain(asked[:20])}; this is proposal {number}.")
    pending = row["pending_proposal"]
    if pending is not None and pending != number:
        frame.pending_banner(row)
    if len(proposals) > 1:
        st.session_state["proposal_choice"] = number
        st.selectbox(
            "Proposal", list(by_number), key="proposal_choice", on_change=_switch, width=420,
            format_func=lambda n: _proposal_label(by_number[n]),
        )  # fmt: skip
    return by_number[number]


def _proposal_label(proposal: ProposalRow) -> str:
    outcome = labels.outcome(proposal["state"])[0]
    return f"{proposal['number']}: step {labels.count(proposal['step'])}, {outcome}"


def _switch() -> None:
    st.query_params["proposal"] = str(st.session_state["proposal_choice"])


def present(row: RunRow, shown: ProposalRow) -> None:
    number = shown["number"]
    record = proposal_data.proposal(row["run"], number)
    if record is None:
        problem = labels.plain(proposal_data.problem(row["run"], number))
        st.error(
            f"Proposal {number} cannot be read: its file is damaged or incomplete ({problem}). "
            "The trainer offers a cut again when it cannot use it.",
            icon=":material/broken_image:",
        )
        return
    with st.container():  # what comes and goes: below it stays where it is, and no chart is made anew
        head(row, shown, record)
        if shown["state"] == ProposalState.PENDING and row["step"] > record["step"]:
            st.caption(
                f":material/update: Training went on, to step {labels.count(row['step'])}: all figures and "
                f"spectra below are of step {labels.count(record['step'])}."
            )
        evidence.advice(record)
        evidence.notes(record)
        decisions.outcome(row["run"], shown)
    ranks = rank_sliders.ranks(row["run"], record)
    with st.container():
        decisions.buttons(row, shown, record, ranks)
        evidence.consequences(record, ranks)
    with st.container():
        evidence.measured(record, ranks)
        measurement.offer(row, shown, record, ranks)
    evidence.layers(record, ranks, rank_sliders.tolerance(record))


def head(row: RunRow, shown: ProposalRow, record: Proposal) -> None:
    label, icon, color = labels.outcome(shown["state"])
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="proposal_state"):
        st.subheader(f"Proposal {shown['number']}", anchor=False, width="content")
        st.badge(label, icon=f":material/{icon}:", color=color)
    where = f"Step {labels.count(record['step'])}, branch {record.get('branch', 0)}"
    st.caption(labels.plain(f"{where}, {_rule(record)}{_deadline(record)}"))
    with st.grid("auto", min_column_width=150, gap="small"):
        for layer in record["layers"]:
            cut = f"{layer['state_dim']} → {layer['rank']}"
            frame.figure(
                f"Layer {layer['layer']}",
                cut if layer["rank"] < layer["state_dim"] else str(layer["state_dim"]),
                _badge(layer),
                help=labels.plain(f"{layer['name']}; discarded of {proposal_data.importance(record).short}"),
            )


def _rule(record: Proposal) -> str:
    if record.get("policy") == Policy.PRAGMATIC:
        return (
            "policy pragmatic: a fixed share of the states, undone by itself when validation falls too far."
        )
    who = "on average a layer" if record.get("allocation") == "global" else "each layer"
    return (
        f"tolerance {labels.percent(record['tolerance'], 1)}: {who} may lose at most this share of "
        f"{proposal_data.importance(record).total}; cuts only below {labels.percent(record['gate'], 0)} of N."
    )


def _deadline(record: Proposal) -> str:
    deadline = record.get("deadline")
    if not isinstance(deadline, dict):
        return ""
    verb = labels.VERDICTS.get(deadline.get("default", ""), "decided")
    limits = [
        labels.duration(deadline["s"]) if deadline.get("s") else "",
        f"{labels.count(deadline['steps'])} steps" if deadline.get("steps") else "",
    ]
    return f" If nobody decides within {' or '.join(filter(None, limits))}, it is {verb}."


def _badge(layer: ProposalLayer) -> str:
    if layer["rank"] == layer["state_dim"]:
        return "stays: the gate keeps it" if layer.get("gated") else "stays"
    return f"discards {labels.percent(layer['discarded_share'][layer['rank']])}"


def past(run_id: str, proposals: Sequence[ProposalRow]) -> None:
    st.subheader("All proposals of this run", anchor=False)
    count = proposal_data.proposal_count(run_id)
    if count > len(proposals):
        st.caption(
            f"The newest {len(proposals)} of {labels.count(count)}. An older one has the address "
            "`?proposal=NUMBER`."
        )
    st.dataframe(
        pd.DataFrame([decisions.past_row(proposal) for proposal in proposals]),
        hide_index=True,
        key="past_proposals",
        alt="Proposals with their outcome, predicted and measured",
    )


frame.say_now()
chosen = frame.choose_run()
frame.title(chosen, "truncation")
live(chosen)
