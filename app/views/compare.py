"""Runs side by side against a baseline: curves, accuracy against states and seconds, tables, differences."""

import hashlib
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec

import pandas as pd
import streamlit as st

from hankelboard.app.charts import metric_tables
from hankelboard.app.charts.export import svg_export
from hankelboard.app.data import compared_runs
from hankelboard.app.data import runs as data
from hankelboard.app.live.pulse import live_region
from hankelboard.app.live.watch import HEARTBEAT, LOG
from hankelboard.app.panels import frame
from hankelboard.app.words import labels as words
from hankelboard.comparison import charts, tables
from hankelboard.comparison import report as reports
from hankelboard.comparison.cells import csv_text
from hankelboard.comparison.curves import AXES, METRICS
from hankelboard.comparison.reading import ARCHIVED
from hankelboard.comparison.series import ENOUGH, FIGURES, Series, baseline_of, series_of
from hankelboard.storage.scores import BITS_METRIC, PRIMARY_METRIC
from hankelboard.storage.vocabulary import Role, RunState

SKIPS = [0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8]
WANT_WORKER: set[str] = {RunState.QUEUED, RunState.DEAD, RunState.INTERRUPTED}
"""States in which nothing goes on before a worker comes."""
SPREAD = f"from {ENOUGH} seeds on ± sample standard deviation"
FORMATS = {PRIMARY_METRIC: ".3~%", "val/loss": ".3~g", BITS_METRIC: ".3~f"}


def choose() -> tuple[list[str], list[str]]:
    """Return the runs of this page, of a group or picked, and the archived runs of the group."""
    rows = data.summaries()
    names = {row["run"]: row["name"] for row in rows}
    groups = sorted({row["group"] for row in rows if row["group"]})
    if "compare_runs" not in st.session_state:
        asked = compared_runs.wanted_ids(st.query_params.get("runs", ""))
        good, absent = compared_runs.present(asked, list(names))
        st.session_state["compare_runs"], st.session_state["compare_absent"] = good, absent
    with st.container(horizontal=True, vertical_alignment="bottom"):
        group = ""
        if groups:
            group = st.selectbox("All runs of a group", ["", *groups], key="group", bind="query-params",
                                 width=260, format_func=lambda name: name or "no: pick runs")  # fmt: skip
        if not group:
            st.multiselect(
                "Runs", list(names), key="compare_runs", on_change=_remember, width="stretch",
                format_func=lambda run: f"{names.get(run, run)} · {run[-4:]}",
                placeholder="Pick two or more", max_selections=compared_runs.MOST,
            )  # fmt: skip
    absent = st.session_state["compare_absent"]
    if absent and not group:
        st.warning(words.plain(f"Not in this folder of runs: {', '.join(absent)[:400]}."))
    if group:
        return compared_runs.members(rows, group)
    return list(st.session_state["compare_runs"]), []


def _remember() -> None:
    st.query_params["runs"] = ",".join(st.session_state["compare_runs"])
    st.session_state["compare_absent"] = []


@live_region(min_ms=2000, ignore=(HEARTBEAT, LOG))
def live() -> None:
    ids, archived = choose()
    if archived:
        st.caption(f"Left out: {tables.counted(len(archived), 'archived run')} of this group.")
    if not ids:
        explain_empty()
    else:
        compare(ids, [ARCHIVED.format(run) for run in archived])


def explain_empty() -> None:
    with st.container(border=True, key="empty"):
        st.subheader("Nothing to compare yet", anchor=False)
        st.markdown("Pick runs above, choose a group, or tick rows on the page Runs and follow its link.")
        st.page_link("views/runs.py", label="Runs", icon=":material/list:")


def compare(ids: Sequence[str], left_out: Sequence[str]) -> None:
    finals, problems = compared_runs.finals(ids[-compared_runs.MOST :])
    for problem in problems:
        st.error(words.plain(problem), icon=":material/broken_image:")
    if len(ids) > compared_runs.MOST:
        problems.append(
            f"{len(ids) - compared_runs.MOST} older runs: more than {compared_runs.MOST} are too many"
        )
        st.warning(f"Of {len(ids)} runs the newest {compared_runs.MOST} are shown.")
    series = series_of(finals)
    if not series:
        return
    baseline = choose_baseline(series)
    series = of_roles(series, baseline)
    say_what_is_open(series)
    palette = charts.Palette(series)
    key = hashlib.blake2s("".join(one.key for one in series).encode(), digest_size=8).hexdigest()
    curves_section(series, palette, key)
    points_section(series, palette, key)
    table_section(series, baseline)
    take_away(series, baseline, [*left_out, *problems])
    budget_section(series, key)
    differences_section(series)


def choose_baseline(series: Sequence[Series]) -> Series | None:
    """Return the baseline by the id of one of its runs, so that a link keeps it."""
    marked = baseline_of(series)
    options = [one.runs[0].run for one in series]
    labels = {one.runs[0].run: one.label for one in series}
    chosen = st.selectbox(
        "Baseline", options, index=options.index(marked.runs[0].run) if marked else None, key="baseline",
        bind="query-params", format_func=lambda run: labels.get(run, run), width=360,
        placeholder="none: no deltas", help="Differences are to these runs, paired where seeds match",
    )  # fmt: skip
    return baseline_of(series, chosen) if chosen else None


def of_roles(series: list[Series], baseline: Series | None) -> list[Series]:
    """Return the series of the chosen roles, and the baseline, which differences need.

    Without a choice ablations are left out where there are many series.
    """
    roles = list(dict.fromkeys(one.role for one in series))
    if len(series) <= charts.FEW or len(roles) < 2:
        return series
    shown = [role for role in roles if role != Role.ABLATION] or roles
    chosen = st.pills("Roles", roles, selection_mode="multi", default=shown, key="roles", bind="query-params")
    return [one for one in series if one.role in chosen or one is baseline] if chosen else series


def say_what_is_open(series: Sequence[Series]) -> None:
    runs = sum(len(one.runs) for one in series)
    fewest = min(len(one.seeds) for one in series)
    facts = [f"{tables.counted(runs, 'run')} in {len(series)} series: those that differ in their seed alone."]
    if fewest < ENOUGH:
        facts.append(f"Below {ENOUGH} seeds values are shown as they are and no claim is made.")
    st.caption(words.plain(" ".join(facts)))
    open_ = tables.unfinished(series)
    if open_:
        states = ", ".join(dict.fromkeys(words.state_word(run.state) for run in open_))
        hint = "" if data.workers() or not {run.state for run in open_} & WANT_WORKER else words.WORKER_HINT
        st.info(f"Provisional: {len(open_)} of {runs} runs are not finished ({words.plain(states)}). {hint}",
                icon=":material/hourglass_top:")  # fmt: skip
    for sentence in tables.mixtures(series):
        st.warning(words.plain(sentence), icon=":material/warning:")


def curves_section(series: Sequence[Series], palette: charts.Palette, key: str) -> None:
    st.subheader("Curves", anchor=False)
    axis = st.segmented_control(  # alone in its row: it wraps where that is narrow
        "Against",
        list(AXES),
        default="train_s",
        key="x",
        required=True,
        bind="query-params",
        format_func=lambda name: AXES[name].title,
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        metric = st.segmented_control(
            "Metric", metrics_of(series), default=PRIMARY_METRIC, key="metric", required=True,
            bind="query-params", format_func=lambda name: METRICS[name],
        )  # fmt: skip
        skip = st.select_slider("Leave out the start", SKIPS, value=0.0, key="skip", width=200,
                                format_func=lambda share: f"{share:.0%}" if share else "nothing")  # fmt: skip
    drawn = compared_runs.curves([run for one in series for run in one.runs], metric)
    if not drawn:
        st.caption("No run has been validated yet.")
        return
    several = any(len(one.runs) > 1 for one in series)
    means = f"Every seed is drawn faint under the mean, {SPREAD}. " if several else ""
    st.caption(words.plain(f"{AXES[axis].help}. {means}The live path of each run; cuts show as dents."))
    with st.container(border=True, key="chart_curves"):
        spec = charts.curve_spec(palette, axis, METRICS[metric], FORMATS[metric], height=260)
        frame.draw(spec, f"curves-{key}-{axis}-{metric}", f"{METRICS[metric]} against {AXES[axis].title}",
                   **frames(charts.curve_tables(series, drawn, axis, skip)))  # fmt: skip


def metrics_of(series: Sequence[Series]) -> list[str]:
    """Return the metrics that these runs may have: bits per character only of texts."""
    texts = any(metric_tables.has_metric(run.run, "bits") for one in series for run in one.runs)
    return [metric for metric in METRICS if metric != BITS_METRIC or texts]


def frames(rows: dict[str, charts.Rows]) -> dict[str, pd.DataFrame]:
    return {name: pd.DataFrame(of_name) for name, of_name in rows.items()}


def points_section(series: Sequence[Series], palette: charts.Palette, key: str) -> None:
    st.subheader("Accuracy against size and cost", anchor=False)
    figure = st.segmented_control(
        "Accuracy", list(FIGURES), default=_known_figure(series), key="figure", required=True,
        format_func=lambda name: FIGURES[name],
    )  # fmt: skip
    st.caption(
        f"Large: a run alone, or the mean of its seeds, {SPREAD}; small and faint: every seed. Dashed: means "
        "that no other series beats in both."
        + (" The best may be from before a cut, with more states than now." if figure == "best" else "")
    )
    few = len(series) <= charts.FEW
    left, right = st.columns(2) if few else (st.container(), st.container())
    height = 200 if few else 260
    for place, against, title, log in (
        (left, "states", "states of all layers now (log)", True),
        (right, "total_s", "seconds of training, with what it builds on", False),
    ):
        with place, st.container(border=True, key=f"chart_{against}"):
            rows = charts.point_tables(series, figure, against)
            if not rows["points"]:
                st.caption(f"No run has a {FIGURES[figure]} yet.")
                continue
            spec = charts.point_spec(palette, figure, title, log=log, height=height)
            frame.draw(spec, f"points-{key}-{figure}-{against}", f"{FIGURES[figure]} against {title}",
                       **frames(rows))  # fmt: skip


def _known_figure(series: Sequence[Series]) -> str:
    """Return test accuracy once all runs have it; before that what every run has."""
    runs = [run for one in series for run in one.runs]
    return "test" if all(run.test is not None for run in runs) else "last"


def table_section(series: Sequence[Series], baseline: Series | None) -> None:
    st.subheader("Final figures", anchor=False)
    figure = st.session_state.get("figure") or _known_figure(series)
    st.caption(words.plain(
        f"Differences are of the {FIGURES[figure]}, in percentage points, with a 95 % interval (Student's t) "
        f"from {ENOUGH} seeds on. Test accuracy is measured once, with the last weights; no run or model is "
        "chosen by it. Seconds compare only on one machine with the same number of runs at a time."
    ))  # fmt: skip
    rows = tables.series_rows(series, baseline, figure)
    st.dataframe(
        pd.DataFrame(rows).rename(columns=str.capitalize), hide_index=True, key="final_figures",
        height="content",
        alt="Figures of each series with differences to the baseline",
        column_config={"Series": st.column_config.TextColumn(pinned=True, width=220),
                       "Runs": st.column_config.TextColumn(width=90)},
    )  # fmt: skip
    runs = tables.run_rows(series)
    with st.expander(f"All {len(runs)} runs", key="all_runs"):
        bits = ["bits"] if any(row["bits"] is not None for row in runs) else []
        columns = ("series", "seed", "states", "test", *bits, "last", "best", "best_step", "train_s", "state",
                   "run")  # fmt: skip
        shown = [{key: row[key] for key in columns} for row in runs]
        percent = st.column_config.NumberColumn(format="percent")
        st.dataframe(pd.DataFrame(shown), hide_index=True, alt="Figures of each run",
                     column_config=dict.fromkeys(("test", "last", "best"), percent))  # fmt: skip


def take_away(series: Sequence[Series], baseline: Series | None, left_out: Sequence[str]) -> None:
    """Offer the comparison as files. The report is made on demand, not at every refresh."""
    report = partial(compared_runs.report, list(series), baseline, left_out)
    drawable = find_spec("vl_convert") is not None
    with st.container(horizontal=True):
        st.download_button(
            "Report (HTML)", lambda: reports.as_html(report()), "comparison.html", "text/html", key="html",
            icon=":material/article:", on_click="ignore", disabled=not drawable,
            help="One file with the charts as vectors, all tables and where the figures come from; "
            "it needs no network" if drawable else "Needs vl_convert: `pip install 'hankelboard[report]'`",
        )  # fmt: skip
        st.download_button(
            "Markdown", lambda: reports.markdown(report()), "comparison.md", "text/markdown", key="markdown",
            icon=":material/text_snippet:", on_click="ignore",
        )  # fmt: skip
        st.download_button(
            "CSV", csv_text(tables.run_rows(series)), "comparison.csv", "text/csv", key="csv",
            icon=":material/download:", on_click="ignore",
        )  # fmt: skip


def budget_section(series: Sequence[Series], key: str) -> None:
    st.subheader("Same budget", anchor=False)
    drawn = compared_runs.curves([run for one in series for run in one.runs], PRIMARY_METRIC)
    ends = tables.budgets(drawn)
    if not ends or ends[-1] <= 0:
        st.caption("No run has been validated yet.")
        return
    first, last = (max(0.1, round(end, 1)) for end in (ends[0], ends[-1]))  # a slider needs some length
    end = st.slider("Seconds of training", 0.0, last, value=first, format="%.1f s", key=f"budget-{key}")
    st.caption(
        "Best validation accuracy up to there. A cut run counts with what it reached before its cuts, too."
    )
    st.dataframe(pd.DataFrame(tables.budget_rows(series, drawn, "train_s", end)), hide_index=True,
                 height="content", alt="Accuracy within the same seconds of training")  # fmt: skip


def differences_section(series: Sequence[Series]) -> None:
    st.subheader("What differs in the configuration", anchor=False)
    rows = tables.difference_rows(series)
    if len(series) < 2 or not rows:
        st.caption("Nothing." if len(series) > 1 else "One series: its runs differ in their seed alone.")
        return
    st.dataframe(pd.DataFrame(rows), hide_index=True, height="content", alt="Configuration keys that differ")


frame.say_now()
st.title("Compare", anchor=False)
svg_export()
live()
