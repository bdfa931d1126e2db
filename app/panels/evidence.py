"""What a proposal shows about the chosen ranks, from recorded arrays: cost, effect, spectra."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from hankelboard.app.charts import evidence
from hankelboard.app.data import proposals
from hankelboard.app.panels import frame
from hankelboard.app.words import labels
from hankelboard.storage.proposals import measured_error
from hankelboard.storage.schema import Point, Proposal, ProposalLayer, Scores, Stability


def advice(record: Proposal) -> None:
    """Show the badge of the ranks as proposed, with its reasons. Advice: no policy looks at it."""
    badge = record.get("badge")
    if not isinstance(badge, dict) or badge.get("color") not in labels.BADGES:
        return
    label, icon, color = labels.BADGES[badge["color"]]
    reasons = [labels.plain(reason) for reason in badge.get("reasons") or []]
    with st.container(border=True, key="advice"):
        st.badge(f"As proposed: {label}", icon=f":material/{icon}:", color=color)
        st.markdown("\n".join(f"- {reason}" for reason in reasons))
        amber, red = badge.get("amber_from"), badge.get("red_above")
        if amber is not None and red is not None:
            st.caption(
                f"By the measured change of a layer's output: green below {labels.percent(amber, 0)}, "
                f"red above {labels.percent(red, 0)}."
            )


def notes(record: Proposal) -> None:
    """Show what the trainer notes on every cut of this kind of layer, once."""
    for note in dict.fromkeys(layer.get("note") for layer in record["layers"]):
        if note:
            st.caption(f":material/info: {labels.plain(note)}")


def consequences(record: Proposal, ranks: Sequence[int]) -> None:
    """Show size, time and accuracy after the cut; time and accuracy only where they were measured."""
    point = proposals.what_if(record, ranks)
    full = [layer["state_dim"] for layer in record["layers"]]
    cost, measured_point = record.get("cost"), point["measured"]
    seconds = cost.get("seconds_per_step") if cost else None
    as_proposed = list(ranks) == list(record["ranks"])
    time_after = measured_point.get("seconds_per_step") if measured_point else None
    if as_proposed:
        time_after = seconds.get("after") if seconds else None
    before = _before(record)
    parameters_now = proposals.what_if(record, full)["parameters"]
    with st.grid("auto", min_column_width=150, gap="small"):
        frame.figure("States, all layers", labels.count(sum(ranks)), f"now {labels.count(sum(full))}")
        frame.figure("Parameters", labels.count(point["parameters"]), f"now {labels.count(parameters_now)}")
        frame.figure(
            "Time per step",
            labels.seconds_per_step(time_after) if time_after else "not measured",
            f"now {labels.seconds_per_step(seconds.get('now') if seconds else None)}",
            help="Forward and backward; measured at the proposed ranks",
        )
        saving = cost.get("projected_saving_s") if cost else None
        if as_proposed and saving is not None:
            frame.figure(
                "Projected saving",
                labels.duration(saving) if saving > 0 else "none",
                "until the last step",
                help="Steps that are left × the difference of the measured times, where that saves time",
            )
        frame.figure(
            "Accuracy after",
            labels.accuracy(measured_point) if measured_point else "not measured",
            _difference(before, measured_point),
            help="On validation, right after the cut, without further training",
        )


def _before(record: Proposal) -> Scores | None:
    """Return validation of the model as it is."""
    facts = record.get("measured")
    return facts.get("before") if facts else None


def _difference(before: Scores | None, after: Point | None) -> str:
    if not after:
        return "not at these ranks"
    now, then = after.get("accuracy"), before.get("accuracy") if before else None
    return "no figure now" if now is None or then is None else labels.points(now - then)


def measured(record: Proposal, ranks: Sequence[int]) -> None:
    """Draw validation against the states kept: the points that were measured, and the choice."""
    facts: Mapping[str, Any] = record.get("measured") or {}
    point = proposals.what_if(record, ranks)
    is_measured = point["measured"] or not point["cuts"]
    choice = "measured: the ringed point." if is_measured else "**not measured at these ranks.**"
    split = {"val": "validation"}.get(facts.get("split", ""), facts.get("split", ""))
    sequences = f"{labels.count(facts.get('samples'))} {labels.plain(split)} sequences"
    st.subheader("Measured: what the cut does to validation", anchor=False)
    st.caption(
        f"Copies of the model, cut and evaluated on {sequences} without further training. "
        f"Points were measured, nothing is drawn between them; bars are 95 % intervals of the change (paired "
        f"bootstrap). The dashed line is your choice, {choice}"
    )
    if facts.get("left_out"):
        st.caption(
            ":material/timer_off: Left out, because measuring may take only a small share of the training "
            f"time: {labels.plain(', '.join(map(left_out_words, facts['left_out'])))}."
        )
    tables = evidence.measured_tables(record, ranks)
    axes = (("accuracy", "accuracy, share correct", ".3~%"), ("loss", "loss, cross-entropy in nats", "~g"))
    with st.grid(2, min_column_width=330, gap="small"):
        for field, title, format in axes:
            with st.container(border=True, key=f"measured_{field}"):
                spec = evidence.measured_spec(field, title, format)
                frame.draw(spec, f"measured-{field}", f"Measured {title} against states kept", **tables)
    with st.expander("The measured points as a table", key="measured_points"):
        st.dataframe(_measured_frame(record), hide_index=True, alt="Measured points")


LEFT_OUT = {
    "responses": "frequency responses",
    "null ranks": "ranks of untrained layers",
    "output errors at further ranks": "how far outputs change at other ranks than those proposed",
}


def left_out_words(item: str) -> str:
    """Return in words what was not measured: validation at tolerance 2.5 %."""
    before, at, tolerance = item.rpartition("tolerance ")
    try:
        return f"{before}{at}{float(tolerance) * 100:g} %" if at else LEFT_OUT.get(item, item)
    except ValueError:
        return item


def _measured_frame(record: Proposal) -> pd.DataFrame:
    facts, before = record.get("measured"), _before(record)
    full = [layer["state_dim"] for layer in record["layers"]]
    rows = [
        {
            "Point": "as proposed" if point.get("rule") else "asked for" if point.get("asked") else "",
            "Tolerance": labels.percent(point.get("tolerance"), 2),
            "States per layer": labels.dims(point["ranks"]),
            "Loss": labels.number(point.get("loss")),
            "Accuracy": labels.accuracy(point),
            "Change, points (95 %)": labels.interval(point.get("accuracy_change"), 100, 2),
            "Change of loss (95 %)": labels.interval(point.get("loss_change"), 1, 4),
            "Divergence of predictions, nats": labels.number(point.get("kl"), 3),
            "Output change per layer": ", ".join(
                labels.percent(e, 1) for e in point.get("output_error") or []
            ),
        }
        for point in (facts.get("points", []) if facts else [])
    ]
    now = {
        "Point": "now, not cut",
        "Tolerance": "",
        "States per layer": labels.dims(full),
        "Loss": labels.number(before.get("loss") if before else None),
        "Accuracy": labels.accuracy(before),
    }
    return pd.DataFrame([now, *rows])


def layers(record: Proposal, ranks: Sequence[int], tolerance: float) -> None:
    """Draw for each layer its spectrum with cut and gate, discarded share and error bound along the rank."""
    for position, (layer, rank) in enumerate(zip(record["layers"], ranks, strict=True)):
        state_dim = layer["state_dim"]
        cut = f"{state_dim} → {rank}" if rank < state_dim else f"stays at {state_dim}"
        st.subheader(labels.plain(f"Layer {layer['layer']} ({layer['name']}): {cut}"), anchor=False)
        st.caption(labels.plain(_layer_figures(layer, rank, proposals.importance(record).total)))
        st.markdown(labels.plain(_output_change(layer, rank)))
        tables = evidence.layer_tables(layer, rank, record["gate"], tolerance)
        with st.grid(2, min_column_width=330, gap="small"):
            _spectrum(position, layer, record, tables)
            _curves(position, layer, record, tables)
            _response(position, layer)


def _output_change(layer: ProposalLayer, rank: int) -> str:
    """Return how far the layer's output changes at a rank, as it was measured: nothing is interpolated."""
    measured, found = layer.get("output_error"), measured_error(layer, rank)
    if rank == layer["state_dim"]:
        return "Its output does not change."
    if measured is None or found is None:
        return "How far its output changes was not measured."
    near, error = found
    amount = f"by {labels.percent(error, 1)}" if error is not None else "by what is no finite number"
    on = f"measured on {labels.count(measured['sequences'])} sequences: {measured['split']}"
    if near == rank:
        return f"Its output changes {amount} ({on})."
    return f"Not measured at this rank; at rank {near} its output changes {amount} ({on})."


def _spectrum(position: int, layer: ProposalLayer, record: Proposal, tables: Mapping[str, Any]) -> None:
    importance = proposals.importance(record).title
    with st.container(border=True, key=f"spectrum_{position}"):
        frame.draw(
            evidence.layer_spectrum_spec(importance),
            f"spectrum-{position}",
            f"{importance} of the states of layer {layer['layer']}, with the cut and the gate",
            states=tables["states"],
            lines=tables["lines"],
        )


def _curves(position: int, layer: ProposalLayer, record: Proposal, tables: Mapping[str, Any]) -> None:
    share = f"discarded share of {proposals.importance(record).short}"
    alone = {} if layer["error_bound"] else {"height": evidence.SPECTRUM_HEIGHT}
    with st.container(border=True, key=f"curves_{position}"):
        frame.draw(
            evidence.rank_curve_spec("share", "discarded share", share, percent=True, limit=True, **alone),
            f"share-{position}",
            f"{share.capitalize()} against rank, layer {layer['layer']}",
            ranks=tables["ranks"],
            limit=tables["limit"],
        )
        if layer["error_bound"]:
            frame.draw(
                evidence.rank_curve_spec(
                    "bound", "error bound", "error bound (H∞)", percent=False, limit=False
                ),
                f"bound-{position}",
                f"Error bound against rank, layer {layer['layer']}",
                ranks=tables["ranks"],
            )


def _response(position: int, layer: ProposalLayer) -> None:
    if not layer.get("response"):
        return
    with st.container(border=True, key=f"response_{position}"):
        frame.draw(
            evidence.response_spec(),
            f"response-{position}",
            f"Frequency response of layer {layer['layer']}, now and cut as proposed",
            curves=evidence.response_table(layer),
        )
    with st.container(border=True, key=f"beside_{position}"):
        st.markdown(f"**As proposed, {layer['state_dim']} → {layer['rank']}**")
        st.markdown("\n".join(f"- {labels.plain(line)}" for line in _as_proposed(layer)))


def _as_proposed(layer: ProposalLayer) -> list[str]:
    """Return what was recorded of a layer at the rank as proposed, one sentence each."""
    lines = []
    gain, interval = layer.get("gain"), layer.get("error_interval")
    low, high = interval if interval and len(interval) == 2 else (None, None)
    if gain and low is not None and high is not None:
        vacuous = "; more than the gain itself, so the bound promises nothing" if high >= gain else ""
        lines.append(
            f"Largest gain of the layer {labels.number(gain, 3)}. The error of the cut lies between "
            f"{labels.number(low, 3)} and {labels.number(high, 3)}, which is {labels.percent(low / gain, 1)} "
            f"to {labels.percent(high / gain, 1)} of it{vacuous}."
        )
    null = layer.get("null_ranks")
    if null:
        lines.append(
            f"Untrained layers keep {labels.count(sorted(null)[len(null) // 2])} states under the same rule "
            f"(median of {len(null)} seeds, {min(null)} to {max(null)})."
        )
    stability = layer.get("stability")
    if stability:
        overlap, weyl = labels.percent(stability["overlap"], 1), labels.number(stability["weyl"], 3)
        lines.append(
            f"Since the last snapshot the kept subspace overlaps by {overlap}{_by_lot(stability)}; no "
            f"singular value can have moved by more than {weyl}."
        )
    return lines


def _by_lot(stability: Stability) -> str:
    chance = stability.get("overlap_random")
    return "" if chance is None else f" (two drawn by lot: {labels.percent(chance, 1)})"


def _layer_figures(layer: ProposalLayer, rank: int, total: str) -> str:
    parts = [f"Discards {labels.percent(layer['discarded_share'][rank])} of {total}"]
    bound, condition = layer["error_bound"], layer.get("condition")
    if bound:
        parts.append(
            f"error bound {labels.number(bound[rank], 3)} (H∞, this layer's linear part, not the loss)"
        )
    if rank < layer["state_dim"] and condition and condition[rank] is not None:
        parts.append(f"condition of the write-back {labels.number(condition[rank], 3)}")
    left_out = sum(not isinstance(value, int | float) or value <= 0 for value in layer["hsv"])
    if left_out:
        parts.append(f"{left_out} values ≤ 0 have no place on a log axis and are left out")
    return ", ".join(parts) + "."
