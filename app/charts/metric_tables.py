"""Metrics of a run as the tables of its charts: lines, and interventions on the step axis."""

from collections.abc import Mapping
from typing import Any

from hankelboard.app.charts import metrics
from hankelboard.app.data import columns, runs
from hankelboard.app.data.interventions import intervention_marks
from hankelboard.app.data.run_cache import RunCache


def chart_table(run_id: str, chart: str, smoothing: float = 0.0) -> Any:
    """Return the Arrow table of one of charts.METRIC_CHARTS, its noisy series smoothed."""
    cache, shown = runs.cache_of(run_id), metrics.METRIC_CHARTS[chart]
    smooth = dict.fromkeys(shown.noisy, smoothing)
    compute = lambda: _chart_table(cache, shown, smooth)  # noqa: E731
    return cache.derived(f"chart {chart}", compute, "metrics", "events", variant=smoothing)


def has_metric(run_id: str, chart: str) -> bool:
    """Return whether the run recorded a metric that this chart shows."""
    return any(map(metrics.METRIC_CHARTS[chart].shows, runs.cache_of(run_id).columns.metrics()))


def _chart_table(cache: RunCache, chart: metrics.MetricChart, smooth: Mapping[str, float]) -> Any:
    lines = {
        metrics.series_name(key, chart): cache.columns.lines(key, cache.history.on_path)
        for key in cache.columns.metrics()
        if chart.shows(key)
    }
    return metrics.lines_table(lines, chart, smooth)


def marks_table(run_id: str, chart: str) -> Any:
    """Return the Arrow table of interventions on the step axis, the same for all charts of a run."""
    cache = runs.cache_of(run_id)

    def compute() -> Any:
        shown = metrics.METRIC_CHARTS[chart]
        lines = [
            line
            for key in cache.columns.metrics()
            if shown.shows(key)
            for line in cache.columns.lines(key, cache.history.on_path)
        ]
        marks = cache.derived("interventions", lambda: intervention_marks(cache.history), "events")
        holes = [
            {"step": step, "kind": "not finite", "text": f"not a finite number at step {step}", "live": True}
            for step in columns.not_finite_steps(lines)
        ]
        return metrics.marks_table(marks + holes, last_step=cache.history.step)

    return cache.derived(f"marks {chart}", compute, "metrics", "events")
