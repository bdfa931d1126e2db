"""A proposal with its evidence, and the decision on it."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from app import decisions, evidence, frame, measuring, outcomes, proposal_data, words
from app.pulse import pulse
from storage.records import Record

BUDGETS = [round(0.05 * i, 2) for i in range(1, 21)]
TOLERANCES = [0.0, *(round(0.001 * i, 4) for i in range(1, 10)), *(round(0.01 * i, 4) for i in range(1, 51))]


@st.fragment(run_every=frame.FALLBACK_S)
def live(run_id: str) -> None:
    frame.close_dialog("decided")
    row = frame.still_there(run_id)
    if row is not None:
        frame.notes_on(row)
        proposals = proposal_data.proposals(run_id)
        if proposals:
            shown = choose_proposal(row, proposals)
            present(row, shown)
            past(run_id, proposals)
            outcomes.show(run_id)
        else:
            explain_empty(row)
    pulse(run_id)


def explain_empty(row: Mapping[str, Any]) -> None:
    st.markdown(":material/hourglass_empty: **No proposal yet.**")
    st.caption(
        "The trainer proposes a cut at the steps that the configuration sets (reduction.attempts, window, "
        "steps), when the rule at the tolerance finds one. What it did not propose, and why, is among the "
        "run's events."
    )


def choose_proposal(row: Mapping[str, Any], proposals: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The proposal of the URL, else the pending one, else the newest; with a switch between several."""
    by_number = {proposal["number"]: proposal for proposal in proposals}
    wanted = st.query_params.get("proposal", "")
    number = int(wanted) if wanted.isdecimal() and len(wanted) < 10 else row["pending_proposal"]
    older = None if number is None or number in by_number else proposal_data.proposal_row(row["run"], number)
    if older is not None:
        by_number[older["number"]] = older
    number = number if number in by_number else proposals[0]["number"]
    if wanted and wanted != str(number):
        st.caption(f"There is no proposal {words.plain(wanted[:20])}; this is proposal {number}.")
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


def _proposal_label(proposal: Mapping[str, Any]) -> str:
    outcome = words.OUTCOMES.get(proposal["state"], (proposal["state"],))[0]
    return f"{proposal['number']}: step {words.count(proposal['step'])}, {outcome}"


def _switch() -> None:
    st.query_params["proposal"] = str(st.session_state["proposal_choice"])


def present(row: Mapping[str, Any], shown: Mapping[str, Any]) -> None:
    number = shown["number"]
    record = proposal_data.proposal(row["run"], number)
    if record is None:
        st.error(
            f"Proposal {number} cannot be read: its file is damaged or incomplete. "
            "The trainer offers a cut again when it cannot use it.",
            icon=":material/broken_image:",
        )
        return
    head(row, shown, record)
    evidence.advice(record)
    evidence.notes(record)
    decisions.outcome(row["run"], shown)
    ranks = sliders(row["run"], record)
    decisions.buttons(row, shown, record, ranks)
    evidence.consequences(record, ranks)
    evidence.measured(record, ranks)
    measuring.offer(row, shown, record, ranks)
    evidence.layers(record, ranks, st.session_state["tolerance"])


def head(row: Mapping[str, Any], shown: Mapping[str, Any], record: Record) -> None:
    label, icon, color = words.OUTCOMES.get(shown["state"], (shown["state"], "help", "gray"))
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="proposal_state"):
        st.subheader(f"Proposal {shown['number']}", anchor=False, width="content")
        st.badge(label, icon=f":material/{icon}:", color=color)
    where = f"Step {words.count(record['step'])}, branch {record.get('branch', 0)}"
    st.caption(words.plain(f"{where}, {_rule(record)}{_deadline(record)}"))
    with st.grid("auto", min_column_width=150, gap="small"):
        for layer in record["layers"]:
            cut = f"{layer['state_dim']} → {layer['rank']}"
            frame.figure(
                f"Layer {layer['layer']}",
                cut if layer["rank"] < layer["state_dim"] else str(layer["state_dim"]),
                _badge(layer),
                help=words.plain(f"{layer['name']}; discarded of {proposal_data.importance(record).short}"),
            )


def _rule(record: Record) -> str:
    if record.get("policy") == "pragmatic":
        return (
            "policy pragmatic: a fixed share of the states, undone by itself when validation falls too far."
        )
    who = "on average a layer" if record.get("allocation") == "global" else "each layer"
    return (
        f"tolerance {words.percent(record['tolerance'], 1)}: {who} may lose at most this share of "
        f"{proposal_data.importance(record).total}; cuts only below {words.percent(record['gate'], 0)} of N."
    )


def _deadline(record: Record) -> str:
    deadline = record.get("deadline")
    if not isinstance(deadline, dict):
        return ""
    verb = {"approve": "approved", "reject": "rejected"}.get(deadline.get("default"), "decided")
    limits = [
        words.duration(deadline["s"]) if deadline.get("s") else "",
        f"{words.count(deadline['steps'])} steps" if deadline.get("steps") else "",
    ]
    return f" If nobody decides within {' or '.join(filter(None, limits))}, it is {verb}."


def _badge(layer: Record) -> str:
    if layer["rank"] == layer["state_dim"]:
        return "stays: the gate keeps it" if layer.get("gated") else "stays"
    return f"discards {words.percent(layer['discarded_share'][layer['rank']])}"


def sliders(run_id: str, record: Record) -> list[int]:
    """The ranks to look at: the tolerance slider sets all layers, a layer's slider overrides one."""
    decisions.begin_choice(run_id, record)
    with st.container(border=True, key="what_if"):
        st.markdown("**Your ranks.** Every figure and chart below follows; nothing is cut until you approve.")
        _rule_sliders(record)
        with st.grid(2, min_column_width=260, gap="medium"):
            ranks = [_rank_slider(position, layer) for position, layer in enumerate(record["layers"])]
        if ranks != decisions.rule_ranks(record):
            st.caption("Set by hand: not what the slider above gives.")
        st.button(
            "Back to the proposed ranks", key="reset_ranks", type="tertiary", icon=":material/restart_alt:",
            on_click=decisions.reset_choice, args=(record,), disabled=ranks == record["ranks"],
        )  # fmt: skip
    return ranks


def _rule_sliders(record: Record) -> None:
    """One slider that sets all ranks: by tolerance in each layer, or by a budget for all of them."""
    follow = {"on_change": decisions.follow_rule, "args": (record,)}
    rules = [decisions.TOLERANCE, decisions.BUDGET]
    if len(record["layers"]) > 1:
        st.segmented_control("All ranks at once, by a", rules, key="rule", required=True, **follow)
    if st.session_state["rule"] == decisions.TOLERANCE:
        st.select_slider(
            f"Tolerance: share that each layer may lose of {proposal_data.importance(record).total}",
            sorted({*TOLERANCES, record["tolerance"]}), key="tolerance",
            format_func=lambda value: words.percent(value, 1), **follow,
        )  # fmt: skip
        return
    st.segmented_control("Budget counted in", ["states", "parameters"], key="budget_unit", default="states",
                         required=True, **follow)  # fmt: skip
    st.select_slider("Budget: share that all layers together keep", BUDGETS, key="budget", value=BUDGETS[-1],
                     format_func=lambda value: words.percent(value, 0), **follow)  # fmt: skip
    bounded = all(layer["error_bound"] for layer in record["layers"])
    least = "the sum of the error bounds" if bounded else "the sum of what all layers discard"
    st.caption(
        f"The weakest states of all layers go first, wherever they are, so that {least} "
        "is as small as it can be for this budget. Layers of very different gain are better cut by tolerance."
    )


def _rank_slider(position: int, layer: Record) -> int:
    options = decisions.realisable_ranks(layer)
    state_dim = layer["state_dim"]
    if len(options) == 1:
        st.caption(f"Layer {layer['layer']}: only N = {state_dim} can be realised")
        return state_dim
    left_out = state_dim - len(options)
    return st.select_slider(
        f"Layer {layer['layer']}: rank r of N = {state_dim}",
        options,
        key=f"rank_{position}",
        help=f"{left_out} ranks cannot be realised and are skipped" if left_out else None,
    )


def past(run_id: str, proposals: Sequence[Mapping[str, Any]]) -> None:
    st.subheader("All proposals of this run", anchor=False)
    count = proposal_data.proposal_count(run_id)
    if count > len(proposals):
        st.caption(
            f"The newest {len(proposals)} of {words.count(count)}. An older one has the address "
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
