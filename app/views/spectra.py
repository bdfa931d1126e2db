"""How the spectrum of each layer changes while the run trains, and whether an early choice holds."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from hankelboard.app.charts import metrics, spectra, spectra_tables
from hankelboard.app.data import proposals
from hankelboard.app.data.run_cache import RunRow, SpectrumRow
from hankelboard.app.live.pulse import RARELY_MS, live_region
from hankelboard.app.live.watch import HEARTBEAT, LOG, METRICS, SPECTRA
from hankelboard.app.panels import frame, regret
from hankelboard.app.words import labels
from hankelboard.settings.families import importance_of
from hankelboard.settings.importances import Importance


@live_region(ignore=(HEARTBEAT, METRICS, LOG, SPECTRA))
def notes(run_id: str) -> None:
    row = frame.still_there(run_id)
    if row is not None:
        frame.notes_on(row)


@live_region(ignore=(HEARTBEAT, METRICS, LOG), fallback_ms=RARELY_MS)
def live(run_id: str) -> int | None:
    row = frame.still_there(run_id, quietly=True)
    if row is None:
        return None
    layers = spectra_tables.by_layer(run_id)
    if layers:
        show(row, choose_layer(layers), layers)
    else:
        st.markdown(":material/hourglass_empty: **No spectrum yet.**")
        st.caption("The trainer records one at the start and every training.spectra_every steps.")
    return metrics.refresh_ms(row["train_s"])


def choose_layer(layers: Mapping[int, Sequence[SpectrumRow]]) -> int:
    """Return the layer of the URL, else the first one."""
    if len(layers) == 1:
        return min(layers)
    chosen_layer: int = st.segmented_control(
        "Layer", sorted(layers), key="layer", default=min(layers), required=True, bind="query-params"
    )
    return chosen_layer


def show(row: RunRow, layer: int, layers: Mapping[int, Sequence[SpectrumRow]]) -> None:
    snapshots = layers[layer]
    importance = importance_of(snapshots[0].get("importance", "hsv"))
    tables = spectra_tables.tables(row["run"], layer, row["step"])
    first, last = snapshots[0], snapshots[-1]
    st.caption(
        labels.plain(
            f"Layer {layer}, live path, {_snapshots(snapshots)}, "
            f"N {labels.change([first['state_dim']], [last['state_dim']])}.{_since(row, last)}"
        )
    )
    heat_map(row, layer, importance, tables)
    trajectories(row, layer, importance, tables)
    regret.show(row, layer)


def _snapshots(snapshots: Sequence[SpectrumRow]) -> str:
    first, last = (labels.count(snapshot["step"]) for snapshot in (snapshots[0], snapshots[-1]))
    if len(snapshots) == 1:
        return f"one snapshot at step {first}"
    return f"{labels.count(len(snapshots))} snapshots from step {first} to {last}"


def _since(row: RunRow, last: SpectrumRow) -> str:
    """Return a note when the last column of the heat map stands for steps without a snapshot."""
    if row["step"] <= last["step"]:
        return ""
    return f" The run is at step {labels.count(row['step'])}: up to there the last one is drawn."


def heat_map(row: RunRow, layer: int, importance: Importance, tables: Mapping[str, Any]) -> None:
    st.subheader("The spectrum over training", anchor=False)
    what = f"{importance.title[0].upper()}{importance.title[1:]}. {importance.meaning}"
    st.caption(
        f"{labels.plain(what)} The strongest state is at the bottom; colour is on a log scale. A step in the "
        "upper edge is a cut."
    )
    _other_importance(row["run"], importance)
    if tables["not_drawable"]:
        st.caption(
            f":material/grid_off: {labels.count(tables['not_drawable'])} values are 0 or no numbers: they "
            "have no colour on a log scale and are left blank."
        )
    with st.container(border=True, key="heat"):
        frame.draw(
            spectra.heat_spec(importance.title),
            f"heat-{row['run']}",
            f"{importance.title} of layer {layer} over steps",
            columns=tables["heat"],
        )


def _other_importance(run_id: str, drawn: Importance) -> None:
    """Say so where cuts go by another importance than the one drawn."""
    name = proposals.cut_by(run_id)
    if name is not None and importance_of(name) != drawn:
        other = labels.plain(importance_of(name).short)
        st.caption(
            f":material/info: Cuts of this model go by {other}, which is measured when a cut is proposed. "
            "This is a picture of the layer; the ranks below are not those of a proposal."
        )


def trajectories(row: RunRow, layer: int, importance: Importance, tables: Mapping[str, Any]) -> None:
    st.subheader("Rank trajectories", anchor=False)
    st.caption(
        "The rank that a cut would have left, had it been made at that step and might discard this share of "
        f"{labels.plain(importance.short)}. Lines that are flat early say that an early cut removes as many "
        "states as a late one; they do not say that it removes the same states."
    )
    with st.container(border=True, key="ranks"):
        frame.draw(
            spectra.rank_spec(),
            f"ranks-{row['run']}",
            f"Ranks of layer {layer} at several tolerances over steps",
            ranks=tables["ranks"],
        )
    st.subheader("Share kept", anchor=False)
    st.caption(
        "The ranks that the newest spectrum leaves at these tolerances, held fixed: the share of "
        f"{labels.plain(importance.short)} at that step that this many states carried. Rising lines say that "
        "training concentrates the layer."
    )
    with st.container(border=True, key="kept"):
        frame.draw(
            spectra.kept_spec(), f"kept-{row['run']}", f"Share kept by fixed ranks of layer {layer}",
            kept=tables["kept"],
        )  # fmt: skip


frame.say_now()
chosen = frame.choose_run()
with st.container(gap=None):  # mostly there is nothing to note: no gap for it
    with st.container():
        frame.title(chosen, "spectra")
    notes(chosen)
live(chosen)
