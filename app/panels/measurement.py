"""Asking the trainer to measure more: ranks that a person chose, or what the time limit left out."""

from collections.abc import Sequence

import streamlit as st

from hankelboard.access.roles import Action
from hankelboard.app.data import proposals, runs
from hankelboard.app.data.proposals import ProposalRow
from hankelboard.app.data.run_cache import RunRow
from hankelboard.app.panels import controls, rights
from hankelboard.app.words import labels
from hankelboard.storage.schema import Proposal
from hankelboard.storage.vocabulary import CommandKind, ProposalState


def offer(row: RunRow, shown: ProposalRow, record: Proposal, ranks: Sequence[int]) -> None:
    """Draw buttons for what was not measured, where a trainer holds this proposal; else say why not."""
    point = proposals.what_if(record, ranks)
    mine = point["cuts"] and not point["measured"]
    left_out = record["measured"].get("left_out") if "measured" in record else None
    if shown["state"] != ProposalState.PENDING or not (mine or left_out):
        return
    number = shown["number"]
    if rights.offered(Action.COMMAND):
        _buttons(row, record, number, ranks if mine else None, bool(left_out))
        controls.say_error()
    asked = [command for command in runs.commands(row["run"]) if command.get("kind") == CommandKind.MEASURE]
    if asked and asked[0].get("proposal") == number:
        st.markdown(controls.answer_line(asked[0]))


def _buttons(row: RunRow, record: Proposal, number: int, ranks: Sequence[int] | None, left_out: bool) -> None:
    closed = why_not(row, record)
    with st.container(horizontal=True, gap="small", key="measuring"):
        if ranks is not None:
            st.button(f"Measure {labels.dims(list(ranks))}", key="measure_mine", icon=":material/straighten:",
                      disabled=bool(closed), help=closed or "On a copy of the model; training is not touched",
                      on_click=controls.request, args=(row["run"], CommandKind.MEASURE),
                      kwargs={"proposal": number, "ranks": list(ranks)})  # fmt: skip
        if left_out:
            st.button("Measure what was left out", key="measure_rest", icon=":material/timer:",
                      disabled=bool(closed), help=closed or None, on_click=controls.request,
                      args=(row["run"], CommandKind.MEASURE), kwargs={"proposal": number})  # fmt: skip


def why_not(row: RunRow, record: Proposal) -> str:
    """Return why nothing can be measured now; empty when it can."""
    if not row["living"]:
        return "No trainer is at this run: resume it first."
    if row["step"] != record.get("step"):
        return "Training went on since: the weights are no longer those of this proposal."
    return "" if runs.is_writable(row["run"]) else "This directory is read-only here."
