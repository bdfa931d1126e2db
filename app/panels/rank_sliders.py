"""The choice of ranks: one rule that sets all layers, and a slider for each layer that overrides it.

A slider that the page itself moves is a new slider: its key carries an edition, and its start goes out with
every message about it. A value written into a widget that stands would travel in one message only, and
Streamlit drops messages that were not sent when the next run of the fragment begins: the slider would fall
back to where it was, and send that as the person's choice.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from hankelboard.app.data import proposals
from hankelboard.app.words import labels
from hankelboard.storage.proposals import ranks_at, ranks_within
from hankelboard.storage.schema import Proposal, ProposalLayer

TOLERANCE, BUDGET = "tolerance for each layer", "budget for all layers"
BUDGETS = [round(0.05 * i, 2) for i in range(1, 21)]
TOLERANCES = [0.0, *(round(0.001 * i, 4) for i in range(1, 10)), *(round(0.01 * i, 4) for i in range(1, 51))]


def ranks(run_id: str, record: Proposal) -> list[int]:
    """Draw the sliders and return the ranks to look at, one a layer."""
    _begin(run_id, record)
    with st.container(border=True, key="what_if"):
        st.markdown("**Your ranks.** Every figure and chart below follows; looking cuts nothing.")
        _rule_sliders(record)
        with st.grid(2, min_column_width=260, gap="medium"):
            chosen = [_rank_slider(position, layer) for position, layer in enumerate(record["layers"])]
        if chosen != _rule_ranks(record):
            st.caption("Set by hand: not what the slider above gives.")
        st.button(
            "Back to the proposed ranks", key="reset_ranks", type="tertiary", icon=":material/restart_alt:",
            on_click=_start, args=(run_id, record), disabled=chosen == record["ranks"],
        )  # fmt: skip
    return chosen


def tolerance(record: Proposal) -> float:
    """Return the tolerance that the slider stands at."""
    return float(st.session_state.get(_key("tolerance"), record["tolerance"]))


def _begin(run_id: str, record: Proposal) -> None:
    """Start from the proposed ranks whenever another proposal is shown, or the page anew."""
    choice = st.session_state.get("choice")
    if (
        choice is None
        or choice["of"] != (run_id, record["proposal"])
        or not any(_key(name) in st.session_state for name in ("rule", "tolerance"))
    ):
        _start(run_id, record)


def _start(run_id: str, record: Proposal) -> None:
    """Make new sliders, at what is proposed (also a callback)."""
    edition = st.session_state.get("choice", {}).get("edition", 0) + 1
    st.session_state["choice"] = {
        "of": (run_id, record["proposal"]), "edition": edition, "followed": 0, "ranks": record["ranks"]
    }  # fmt: skip


def _follow(record: Proposal) -> None:
    """Make new sliders for the layers, at what the rule gives (a callback); that of the rule stays."""
    choice = st.session_state["choice"]
    st.session_state["choice"] = {**choice, "followed": choice["followed"] + 1, "ranks": _rule_ranks(record)}


def _key(name: str) -> str:
    """Return the key of a widget of the rule."""
    return f"{name}-{st.session_state['choice']['edition']}"


def _rule_ranks(record: Proposal) -> list[int]:
    """Return the ranks that the tolerance, or the budget for all layers, gives."""
    state = st.session_state
    if state.get(_key("rule")) == BUDGET:
        budget, unit = state.get(_key("budget"), 1.0), state.get(_key("budget_unit")) or "states"
        return ranks_within(record, budget, unit)
    return ranks_at(record, tolerance(record))


def _rule_sliders(record: Proposal) -> None:
    """Draw one slider that sets all ranks: by tolerance in each layer, or by a budget for all of them."""
    follow: Mapping[str, Any] = {"on_change": _follow, "args": (record,)}
    rule = TOLERANCE
    if len(record["layers"]) > 1:
        rule = st.segmented_control("All ranks at once, by a", [TOLERANCE, BUDGET], default=TOLERANCE,
                                    key=_key("rule"), required=True, **follow)  # fmt: skip
    if rule == TOLERANCE:
        st.select_slider(
            f"Tolerance: share that each layer may lose of {proposals.importance(record).total}",
            sorted({*TOLERANCES, record["tolerance"]}), value=record["tolerance"], key=_key("tolerance"),
            format_func=lambda value: labels.percent(value, 1), **follow,
        )  # fmt: skip
        return
    st.segmented_control("Budget counted in", ["states", "parameters"], default="states",
                         key=_key("budget_unit"), required=True, **follow)  # fmt: skip
    st.select_slider("Budget: share that all layers together keep", BUDGETS, value=BUDGETS[-1],
                     key=_key("budget"), format_func=lambda value: labels.percent(value, 0),
                     **follow)  # fmt: skip
    bounded = all(layer["error_bound"] for layer in record["layers"])
    least = "the sum of the error bounds" if bounded else "the sum of what all layers discard"
    st.caption(
        f"The weakest states of all layers go first, wherever they are, so that {least} "
        "is as small as it can be for this budget. Layers of very different gain are better cut by tolerance."
    )


def _rank_slider(position: int, layer: ProposalLayer) -> int:
    options = realisable_ranks(layer)
    state_dim = layer["state_dim"]
    if len(options) == 1:
        st.caption(f"Layer {layer['layer']}: only N = {state_dim} can be realised")
        return int(state_dim)
    left_out = state_dim - len(options)
    choice = st.session_state["choice"]
    start = choice["ranks"][position]
    return int(
        st.select_slider(
            f"Layer {layer['layer']}: rank r of N = {state_dim}",
            options,
            value=start if start in options else state_dim,
            key=f"rank_{position}-{choice['edition']}-{choice['followed']}",
            help=f"{left_out} ranks cannot be realised and are skipped" if left_out else None,
        )
    )


def realisable_ranks(layer: ProposalLayer) -> Sequence[int]:
    """Return the ranks to choose from: those that can be written back, and N (no cut)."""
    state_dim = layer["state_dim"]
    return [rank for rank in range(1, state_dim) if layer["realisable"][rank] is True] + [state_dim]
