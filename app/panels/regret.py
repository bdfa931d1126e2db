"""Is an early choice of states still a good one at the end? The analysis of a run, on the page Spectra."""

import math

import streamlit as st

from hankelboard.access.roles import Action, NotAllowed
from hankelboard.app.charts import analysis
from hankelboard.app.data import analyses, runs
from hankelboard.app.data.run_cache import RunRow
from hankelboard.app.panels import frame, rights
from hankelboard.app.words import labels
from hankelboard.storage.schema import AnalysedLayer, Analysis, Regret
from hankelboard.storage.spectrum import SMALL_REGRET

LIVE_S = 1.0


def show(row: RunRow, layer: int) -> None:
    """Show regret, overlap, order and drift as far as they were computed, and what starts the computation."""
    run_id = row["run"]
    st.subheader("Would an early cut have kept the right states?", anchor=False)
    st.caption(
        "Regret: what a cut made at an earlier step would lose of the final layer beyond what the best cut "
        "to as many states loses, as a share of the sum of σ. A cut projects obliquely (V Wᴴ): the solid "
        "line. The dashed one projects orthogonally onto the same subspace. Compare with a cut at the start "
        "and with states drawn by lot. The knee is the first step from which on the solid line stays below "
        "a tenth of the tolerance."
    )
    job = analyses.progress(run_id)
    if job and job["running"]:
        _progress(run_id)
        return
    record = analyses.latest(run_id)
    if record is None and not analyses.possible(run_id):
        st.caption(
            ":material/info: Nothing to analyse: this run keeps no systems (λ, B, C). Only layers that are "
            "linear time-invariant systems have them, where output.systems is on."
        )
        return
    _start_button(row, record)
    problem = st.session_state.get("analysis_error") or (job and job["problem"])
    if problem:
        st.error(labels.plain(problem), icon=":material/error:")
    layers = record["layers"] if record else []
    analysed = next((item for item in layers if item["layer"] == layer), None)
    if record is not None and analysed is not None:
        _figures(row, record, analysed)


@st.fragment(run_every=LIVE_S)
def _progress(run_id: str) -> None:
    job = analyses.progress(run_id)
    if job is None or not job["running"]:
        runs.forget(run_id)
        st.rerun()
    st.progress(
        job["share"], text=f"Analysing the systems that the run kept: {labels.percent(job['share'], 0)}"
    )


def _start_button(row: RunRow, record: Analysis | None) -> None:
    stale = record is not None and record.get("until_step", 0) < row["step"]
    label = "Analyse" if record is None else "Analyse again"
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="analyse_row"):
        if rights.offered(Action.COMMAND):
            _button(row["run"], label)
        else:
            rights.say_why_not()
        if record is None:
            st.caption("Not computed yet. It takes seconds for small layers, minutes for many large ones.")
        elif record.get("provisional") or stale:
            st.caption(
                f":orange[:material/pending:] Provisional: compared with the layer at step "
                f"{labels.count(record.get('until_step'))}, not with the end of training."
            )


def _button(run_id: str, label: str) -> None:
    closed = ""
    if not runs.is_writable(run_id):
        closed = "This directory is read-only here: `hankelboard analyse RUN --no-save` prints the figures."
    st.button(label, key="analyse", icon=":material/query_stats:", on_click=_start, args=(run_id,),
              disabled=bool(closed),
              help=closed or "Computes from the systems (λ, B, C) that the run kept")  # fmt: skip


def _start(run_id: str) -> None:
    """Begin the analysis (a callback)."""
    st.session_state.pop("analysis_error", None)
    try:
        analyses.start(run_id)
    except (NotAllowed, OSError) as error:
        st.session_state["analysis_error"] = str(error)


def _figures(row: RunRow, record: Analysis, layer: AnalysedLayer) -> None:
    if record.get("left_out_before_cut"):
        st.caption(
            f"Since the last cut, at step {labels.count(layer['steps'][0])}: {record['left_out_before_cut']} "
            "snapshots from before it have other coordinates. Only an uncut run shows the whole training."
        )
    rows = {item["tolerance"]: item for item in layer["regret"]}
    tolerance = st.segmented_control(
        "Ranks that the last spectrum leaves at tolerance", list(rows), key="regret_tolerance",
        default=0.05 if 0.05 in rows else next(iter(rows)), required=True,
        format_func=lambda value: f"{labels.percent(value, 0)}: r = {rows[value]['rank']}",
    )  # fmt: skip
    chosen = rows[tolerance]
    st.markdown(labels.plain(_knee(record, row, layer, chosen)))
    st.caption(labels.plain(_baselines(layer, chosen)))
    run_id = row["run"]
    with st.container(border=True, key="regret"):
        frame.draw(
            analysis.regret_spec(), f"regret-{run_id}", "Regret of the choice over steps",
            **analysis.regret_tables(layer, chosen),
        )  # fmt: skip
    _between(run_id, layer)


def _knee(record: Analysis, row: RunRow, layer: AnalysedLayer, chosen: Regret) -> str:
    """Return what the knee means, or that there is none."""
    if "knee" not in chosen:
        return "This analysis is of an older version and knows no knee: analyse again."
    small = labels.percent(SMALL_REGRET * chosen["tolerance"], 1)
    what = f"to {chosen['rank']} of {layer['state_dim']} states"
    knee = chosen["knee"]
    if knee is None:
        return (
            f"No knee: regret of a cut {what} does not stay below {small}, a tenth of the tolerance, "
            "from any snapshot before the last one on."
        )
    place = f"{labels.percent(knee / layer['steps'][-1], 0)} of the {labels.count(layer['steps'][-1])} steps"
    return (
        f"Knee at step {labels.count(knee)}, {place}: cuts {what} made from there on lose less "
        f"than {small} of the sum of σ beyond the best one's loss.{_about_the_window(record, row, knee)}"
    )


def _about_the_window(record: Analysis, row: RunRow, knee: int) -> str:
    """Return what the knee of a whole, uncut run says about the window of the attempts."""
    window = _window(row["run"])
    if record["provisional"] or record["left_out_before_cut"] or window is None:
        return ""
    needed = math.ceil(100 * knee / record["until_step"]) / 100
    if knee <= window * record["until_step"]:
        return f" The window of this run, reduction.window = {window:g}, reaches it."
    return (
        f" The window of this run, reduction.window = {window:g}, ends before it: in a run like this one, "
        f"{needed:g} puts the last attempt there."
    )


def _window(run_id: str) -> float | None:
    """Return the window of a run's attempts; None where it names their steps instead."""
    reduction = runs.config(run_id).get("reduction", {})
    named = "steps" in reduction and reduction["steps"]
    window = reduction["window"] if "window" in reduction and not named else None
    return window if isinstance(window, int | float) else None


def _baselines(layer: AnalysedLayer, chosen: Regret) -> str:
    """Return the regret at 10 % of the run, the window that was published, beside the baselines."""
    last, regret = layer["steps"][-1], analysis.regret_of(chosen)
    place = next(i for i, step in enumerate(layer["steps"]) if step >= 0.1 * last)
    return (
        f"Regret of a choice at step {labels.count(layer['steps'][place])}: {labels.percent(regret[place])}; "
        f"at the first snapshot, step {labels.count(layer['steps'][0])}: {labels.percent(regret[0])}; "
        f"of states drawn by lot: {labels.percent(analysis.chance_of(chosen))}. "
        "The last snapshot has 0 by definition, which a log axis leaves out."
    )


def _between(run_id: str, layer: AnalysedLayer) -> None:
    with st.grid(2, min_column_width=330, gap="small"):
        with st.container(border=True, key="stability"):
            st.markdown("**Do the same states stay on top?**")
            st.caption(
                "Solid, from one snapshot to the next: overlap of the subspaces kept at 5 % (1: the same), "
                "and Kendall's τ of the order of directions that were matched with their successors (1: none "
                "changed places). Dashed: the same between the first snapshot and this one. Dotted: the "
                "overlap of two subspaces drawn by lot; an order drawn by lot has τ = 0."
            )
            frame.draw(
                analysis.stability_spec(), f"stability-{run_id}", "Overlap and order over steps",
                curves=analysis.stability_table(layer),
            )  # fmt: skip
        with st.container(border=True, key="drift"):
            st.markdown("**How far can a singular value have moved?**")
            st.caption(
                "Weyl's bound, the largest Hankel singular value of the difference of two snapshots, limits "
                "the change of every σ; below it the largest change that was measured. Log axis."
            )
            frame.draw(
                analysis.drift_spec(), f"drift-{run_id}", "Drift and its bound over steps",
                curves=analysis.drift_table(layer),
            )  # fmt: skip
