"""One run, live: what it does now, its charts with every intervention, its events, configuration, log."""

import streamlit as st

from hankelboard.app.charts import (
    evidence,
    metric_tables,
    metrics,
    spectra_tables,
)
from hankelboard.app.data import runs
from hankelboard.app.data.run_cache import RunRow
from hankelboard.app.data.runs import TimelineEvent
from hankelboard.app.live.pulse import RARELY_MS, live_region
from hankelboard.app.live.watch import HEARTBEAT, LOG, METRICS, SPECTRA
from hankelboard.app.panels import baseline, controls, frame
from hankelboard.app.words import events as event_words
from hankelboard.app.words import labels
from hankelboard.settings.families import importance_of
from hankelboard.storage import savings
from hankelboard.storage.savings import Savings
from hankelboard.storage.scores import bits
from hankelboard.storage.vocabulary import RunState, Waiting

SMOOTHING = [0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99]


@live_region(ignore=(HEARTBEAT, LOG, SPECTRA))
def now(run_id: str) -> None:
    if st.session_state.pop("renamed", False):
        st.rerun()  # the title and the side bar are not of this region
    row = frame.still_there(run_id)
    if row is not None:
        header(row)
        frame.notes_on(row)
        frame.pending_banner(row)
        controls.buttons(row)
        controls.answers(run_id)


@live_region(ignore=(HEARTBEAT, LOG, SPECTRA), fallback_ms=RARELY_MS)
def curves(run_id: str) -> int | None:
    row = frame.still_there(run_id, quietly=True)
    if row is None:
        return None
    metric_charts(row)
    baseline.show(row)
    return metrics.refresh_ms(row["train_s"])


@live_region(ignore=(HEARTBEAT, METRICS, LOG), fallback_ms=RARELY_MS)
def newest(run_id: str) -> None:
    row = frame.still_there(run_id, quietly=True)
    if row is not None:
        spectrum(row)


@live_region(ignore=(HEARTBEAT, METRICS, LOG, SPECTRA), fallback_ms=RARELY_MS)
def happened(run_id: str) -> None:
    if frame.still_there(run_id, quietly=True) is not None:
        timeline(run_id)


@live_region(ignore=(HEARTBEAT, METRICS, SPECTRA), fallback_ms=RARELY_MS)
def files(run_id: str) -> int | None:
    row = frame.still_there(run_id, quietly=True)
    return None if row is None or details(row) else RARELY_MS


def header(row: RunRow) -> None:
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="state"):
        frame.badge(row)
        held = row["state"] == RunState.WAITING_FOR_DECISION and row["waiting"] == Waiting.PAUSE
        doing = labels.PHASES.get(row["phase"], row["phase"]) if row["living"] and not held else ""
        has_notice = row["state"] in (RunState.QUEUED, RunState.FAILED)  # frame.notes_on gives the reason
        reason = f"because: {row['reason']}" if row["reason"] and not has_notice else ""
        policy = f"policy {row['policy']}" if row["policy"] else ""
        what = [row["task"], row["family"], row["role"], f"seed {row['seed']}", policy]
        st.caption(labels.plain(" · ".join(part for part in (doing, reason, *what) if part)))
    if row["total_steps"]:
        share = min(1.0, row["step"] / row["total_steps"])
        eta = (
            f" · about {labels.duration(row['eta_s'])} of training left"
            if row["eta_s"] and row["living"]
            else ""
        )
        text = f"step {labels.count(row['step'])} of {labels.count(row['total_steps'])}"
        st.progress(share, text=labels.plain(f"{text} · {labels.percent(share, 0)}{eta}"))
    figures(row)


def figures(row: RunRow) -> None:
    best, test = row["best"], row["test"]
    start, dims = labels.dims(row["initial_state_dims"]), labels.dims(row["state_dims"])
    with st.grid("auto", min_column_width=150, gap="small"):
        with st.container(key="state_dims", height="stretch"):
            note = f"from {start}" if start != dims else "as at the start" if row["state_dims"] else ""
            frame.figure("States per layer, N", dims, note, help="State dimension of each layer now")
        best_figure(row)
        if test:
            frame.figure("Test accuracy", labels.percent(test.get("accuracy")), "once, at the end")
        if bits(test or best) is not None:
            frame.figure("Bits per character", f"{bits(test or best):.3f}",
                         "test" if test else "at the best step")  # fmt: skip
        frame.figure("Training", labels.duration(row["train_s"]),
                     help="Seconds spent training: waiting, pausing and measuring excluded")  # fmt: skip
        frame.figure("Waiting", labels.duration(row["waiting_s"]),
                     help="Seconds spent paused or waiting for a decision")  # fmt: skip
        if row["savings"]:
            saved_figure(row["savings"])
        if row["energy_j"]:
            said = savings.energy_in_words(row["energy_j"], row["train_s"], row["savings"])
            frame.figure("Energy", *said.split(", "), help="Of training, of the whole processor and GPU")
        if row["steps_per_s"] and row["living"]:
            frame.figure("Speed", f"{labels.number(row['steps_per_s'], 3)} steps/s")


def saved_figure(saved: Savings) -> None:
    """Draw what the cuts saved against the same training without them; negative where they cost more."""
    frame.figure(
        "Saved by cuts",
        *savings.signed(saved),
        help=f"Cuts {savings.in_words(saved)}. Net: {savings.parts_in_words(saved)}. Seconds per step were "
        "measured before and after each cut, in turns; the speed of the uncut model is what they say of the "
        "training since",
    )


def best_figure(row: RunRow) -> None:
    """Draw the best value, its step, and whether the model was larger then."""
    best = row["best"]
    step = best.get("step") if best else None
    larger = isinstance(step, int) and runs.was_cut_after(row["run"], step)
    frame.figure(
        "Best, before a cut" if larger else "Best on validation",
        labels.best(best),
        f"at step {labels.count(step)}" if best else "",
        help="On validation; a later cut made the model smaller, so this is not what it reaches now"
        if larger
        else None,
    )


def metric_charts(row: RunRow) -> None:
    run_id = row["run"]
    st.subheader("Metrics", anchor=False)
    if not any(metric_tables.has_metric(run_id, name) for name in metrics.METRIC_CHARTS):
        st.caption("Nothing was recorded yet.")
        return
    st.caption(
        "Every intervention stands on the step axis: **?** proposed, **▼** cut, **×** rejected or refused, "
        "**↺** rolled back to here, **II** paused, **!** not finite; hover over one to read it. "
        "Faint and dashed: left by a rollback. Drag to pan, Ctrl + wheel to zoom, double click to reset."
    )
    smoothing = st.select_slider(
        "Smoothing of the training loss", SMOOTHING, value=0.0, key="smoothing", width=330,
        format_func=lambda weight: f"{weight:g}" if weight else "off",
        help="Weight of the past in a moving average over all records; the raw line stays, faint",
    )  # fmt: skip
    shown = {
        name: chart
        for name, chart in metrics.METRIC_CHARTS.items()
        if not chart.optional or metric_tables.has_metric(run_id, name)
    }
    with st.grid(2, min_column_width=330, gap="small"):
        for name, chart in shown.items():
            with st.container(border=True, key=f"chart_{name}"):
                st.markdown(f"**{chart.title}**")
                frame.draw(
                    metrics.metric_spec(chart, len(row["initial_state_dims"])),
                    key=f"{name}-{run_id}",
                    alt=f"{chart.title} ({chart.unit}) against training step",
                    lines=metric_tables.chart_table(run_id, name, smoothing),
                    marks=metric_tables.marks_table(run_id, name),
                )


def spectrum(row: RunRow) -> None:
    run_id = row["run"]
    spectra = spectra_tables.latest(run_id)
    st.subheader("Latest spectrum", anchor=False)
    if not spectra:
        st.caption("No spectrum was recorded yet.")
        return
    importance = importance_of(spectra[0].get("importance", "hsv")).title
    steps = sorted({record["step"] for record in spectra})
    table, left_out = evidence.spectra_table(spectra)
    note = f" {left_out} values ≤ 0 have no place on a log axis and are left out." if left_out else ""
    st.caption(labels.plain(f"At step {', '.join(map(labels.count, steps))}, all layers, log axis.{note}"))
    with st.container(border=True, key="chart_spectrum"):
        frame.draw(
            evidence.spectra_spec(max(1, len(row["initial_state_dims"])), importance),
            key=f"spectrum-{run_id}",
            alt=f"{importance} of every state, per layer, log axis",
            points=table,
        )


def timeline(run_id: str) -> None:
    st.subheader("Events", anchor=False)
    events = runs.timeline(run_id)
    if not events:
        st.caption("Nothing happened yet.")
        return
    lines = [event_line(event) for event in events]
    with st.container(height=320 if len(lines) > 8 else "content", border=True, key="timeline"):
        st.markdown("\n\n".join(lines))


def event_line(event: TimelineEvent) -> str:
    left = "" if event["live"] else f" · branch {event.get('branch')}, left"
    where = labels.plain(
        f"{labels.moment(event.get('t'), frame.zone())} · step {event.get('step', 0):,}{left}"
    )
    return (
        f":material/{event_words.icon(event['kind'])}: {labels.plain(event['words'])} :small[:gray[{where}]]"
    )


def details(row: RunRow) -> bool:
    """Draw configuration and log; return whether the log is open, the only part that changes."""
    run_id = row["run"]
    with st.expander("Configuration", icon=":material/tune:", key="configuration"):
        st.caption(
            labels.plain(
                f"Preset {row['preset'] or '–'}, seed {row['seed']}, group {row['group'] or '–'}, "
                f"created {labels.moment(row['created'], frame.zone())}"
            )
        )
        st.json(runs.config(run_id), expanded=2)
    with st.expander("Log", icon=":material/article:", key="log", on_change="rerun") as log:
        if log.open:
            st.code(runs.log_ends(run_id) or "The log is empty.", language=None, wrap_lines=True, height=320)
    return bool(log.open)


frame.say_now()
chosen = frame.choose_run()
frame.title(chosen, "run")
now(chosen)
curves(chosen)
newest(chosen)
happened(chosen)
files(chosen)
