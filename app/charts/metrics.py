"""Charts of a run's metrics, and the tables that they draw: lines, and interventions on the step axis."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import altair as alt
import numpy as np
import pyarrow as pa

from hankelboard.app.charts.parts import DASH, FAINT, STEPS, ZOOM, kinds
from hankelboard.app.data import columns
from hankelboard.app.data.interventions import MARKS
from hankelboard.comparison.specification import Spec, specification, table
from hankelboard.storage.scores import BITS_METRIC, PRIMARY_METRIC

SPOTS = 100
PIXELS, SOONEST_MS, LATEST_MS = 500, 1_000, 5_000
"""Width of a chart of the run page; how often charts are drawn anew at most, and in a long run at least."""


def refresh_ms(train_s: float | None) -> int:
    """Return the refresh interval of a chart along the steps, ms: until its last point moves by a pixel."""
    return round(min(LATEST_MS, max(SOONEST_MS, 1e3 * (train_s or 0.0) / PIXELS)))


@dataclass(frozen=True, kw_only=True)
class MetricChart:
    """A chart of the run page: which metrics it shows and how."""

    title: str
    unit: str
    keys: tuple[str, ...] = ()
    prefix: str = ""
    """Instead of keys: one series per metric with this prefix (state_dim/0, state_dim/1, …)."""
    names: tuple[str, ...] = ()
    format: str = ".4~g"
    stepped: bool = False
    dots: bool = False
    """A dot at each value: for values measured now and then."""
    noisy: tuple[str, ...] = ()
    """Names of series that may be smoothed; the raw line then stays, faint."""
    optional: bool = False
    """Only shown where there are such metrics."""

    def shows(self, key: str) -> bool:
        return key.startswith(self.prefix) if self.prefix else key in self.keys


METRIC_CHARTS = {
    "loss": MetricChart(
        title="Loss", unit="cross-entropy, nats", keys=("train/loss", "val/loss"),
        names=("training", "validation"), noisy=("training",),
    ),
    "accuracy": MetricChart(
        title="Accuracy", unit="share correct", keys=(PRIMARY_METRIC,), names=("validation",),
        format=".3~%", dots=True,
    ),
    "bits": MetricChart(
        title="Bits per character", unit="bits per character", keys=(BITS_METRIC,), names=("validation",),
        format=".3~f", dots=True, optional=True,
    ),
    "state_dim": MetricChart(
        title="State dimension", unit="states N per layer", prefix="state_dim/", format=".0f", stepped=True
    ),
    "lr": MetricChart(title="Learning rate", unit="learning rate", keys=("lr",), names=("learning rate",)),
    "speed": MetricChart(
        title="Throughput", unit="steps per second", keys=("steps_per_s",), names=("steps per second",),
        format=".3~s",
    ),
    "memory": MetricChart(
        title="Memory", unit="MB, peak of the process", keys=("memory_mb",), names=("memory",), format=",.0f"
    ),
    "gpu_memory": MetricChart(
        title="GPU memory", unit="MB, peak allocated", keys=("gpu_memory_mb",), names=("memory",),
        format=",.0f", optional=True,
    ),
}  # fmt: skip


def layer_name(layer: int) -> str:
    return f"layer {layer}"


def series_name(key: str, chart: MetricChart) -> str:
    if chart.prefix:
        return f"layer {key.removeprefix(chart.prefix)}"
    return chart.names[chart.keys.index(key)]


FEW = 60
"""Up to this number of rows, names take less than a dictionary of them (300 bytes) and its codes."""


def names_column(names: Sequence[str], counts: Sequence[int] | None = None) -> pa.Array:
    """Return names as a column, each repeated by its count.

    Of many rows each name is sent once, and a byte per row that refers to it.
    """
    distinct = list(dict.fromkeys(names))
    places = np.array([distinct.index(name) for name in names], np.int8 if len(distinct) < 128 else np.int32)
    codes = places if counts is None else np.repeat(places, counts)
    if len(codes) <= FEW:
        return pa.array([distinct[code] for code in codes], pa.string())
    return pa.DictionaryArray.from_arrays(codes, pa.array(distinct, pa.string()))


def _drawn(line: columns.Line, smoothing: float) -> Iterable[tuple[str, np.ndarray, np.ndarray]]:
    """Yield path, steps and values of what is drawn of a line: raw values are faint below smoothed ones."""
    path = "live" if line.live else "left"
    if smoothing and line.live:
        yield "raw", *columns.decimate(line.steps, line.values)
        yield path, *columns.decimate(line.steps, columns.smoothed(line.values, smoothing))
    else:
        yield path, *columns.decimate(line.steps, line.values)


def _single(values: np.ndarray) -> np.ndarray:
    """Return values in single precision; those beyond it at its ends, where a chart has no room for them."""
    most = np.finfo(np.float32).max
    return values.clip(-most, most).astype(np.float32)


def lines_table(
    lines: Mapping[str, Iterable[columns.Line]],
    chart: MetricChart,
    smooth: Mapping[str, float] | None = None,
) -> pa.Table:
    """Return polylines of a chart, decimated: step, value, series, line, path, spot.

    `line` numbers the polylines of a series. `smooth` says for names of series how much they are smoothed,
    over all values, before they are reduced.
    """
    drawn: list[tuple[str, str, int]] = []
    steps, values, spots = [np.zeros(0)], [np.zeros(0)], [np.zeros(0, bool)]
    for name, polylines in lines.items():
        for number, line in enumerate(polylines):
            for path, all_steps, all_values in _drawn(line, (smooth or {}).get(name, 0.0)):
                marked = _spots(len(all_steps), chart.dots)
                kept = columns.needed(all_steps, all_values, marked, stepped=chart.stepped)
                drawn.append((name, path, number))
                steps.append(all_steps[kept])
                values.append(all_values[kept])
                spots.append(marked[kept])
    names, paths, numbers = zip(*drawn, strict=True) if drawn else ((), (), ())
    counts = [len(part) for part in steps[1:]]
    return pa.table(
        {
            "step": pa.array(np.concatenate(steps).astype(np.int32)),
            "value": pa.array(_single(np.concatenate(values)), from_pandas=True),
            "series": names_column(names, counts),
            "line": pa.array(np.repeat(np.array(numbers, np.int16), counts)),
            "path": names_column(paths, counts),
            "spot": pa.array(np.concatenate(spots)),
        }
    )


def _spots(count: int, dots: bool) -> np.ndarray:
    """Return which points carry a dot or an invisible tooltip: all of them, or SPOTS with the last."""
    spots = np.full(count, dots or count <= SPOTS)
    spots[np.linspace(0, count - 1, min(count, SPOTS)).astype(np.intp)] = True
    return spots


def marks_table(marks: Iterable[Mapping[str, Any]], last_step: int) -> pa.Table:
    """Return interventions, one row per step: kind, sign, text, path. Two invisible rows span the axis."""
    rows: dict[tuple[int, bool], dict[str, Any]] = {}
    for mark in marks:
        key = (mark["step"], mark["live"])
        row = rows.setdefault(key, {"kinds": [], "texts": []})
        row["kinds"].append(mark["kind"])
        row["texts"].append(mark["text"])
    strength = list(MARKS).index
    kinds = [max(row["kinds"], key=strength) for row in rows.values()]
    signs = [_signs(sorted(set(row["kinds"]), key=strength)) for row in rows.values()]
    ends = [0, max(1, last_step)]
    return pa.table(
        {
            "step": pa.array([step for step, _ in rows] + ends, pa.int32()),
            "kind": names_column([*kinds, "axis", "axis"]),
            "sign": names_column([*signs, "", ""]),
            "text": names_column([*(" · ".join(row["texts"]) for row in rows.values()), "", ""]),
            "path": names_column([*("live" if live else "left" for _, live in rows), "live", "live"]),
        }
    )


def _signs(kinds: Sequence[str]) -> str:
    """Return the signs of one step side by side; the outcome of a proposal replaces its own sign."""
    shown = [kind for kind in kinds if kind != "proposal"] or kinds
    return "".join(MARKS[kind][0] for kind in shown)


def metric_spec(chart: MetricChart, layers: int) -> Spec:
    """Return the specification of one chart of the run page; constant for a run."""
    return _chart_of(chart, tuple(map(layer_name, range(layers))) if chart.prefix else chart.names)


def make_ahead() -> None:
    """Make the charts that every run shows: 50 ms each, which the first page would wait for."""
    for chart in METRIC_CHARTS.values():
        if not (chart.prefix or chart.optional):
            metric_spec(chart, 0)


@cache
def _chart_of(chart: MetricChart, names: tuple[str, ...]) -> Spec:
    """Return the chart of these series; it travels with every refresh: what layers share stands once."""
    y = alt.Y("value:Q", title=chart.unit, scale=alt.Scale(zero=chart.stepped),
              axis=alt.Axis(format=chart.format, tickCount=5))  # fmt: skip
    legend = alt.Legend(orient="top", title=None, offset=16) if len(names) > 1 else None
    color = alt.Color(field="series", scale=alt.Scale(domain=list(names)), legend=legend)
    line = (
        table("lines")
        .mark_line(clip=True, strokeWidth=1.8, interpolate="step-after" if chart.stepped else alt.Undefined)
        .encode(
            y,
            color,
            alt.Detail(field="line"),
            alt.StrokeDash("path:O", scale=DASH, legend=None),
            *([_widths(names)] if chart.stepped else []),
        )
        .add_params(ZOOM)
    )
    dots = (
        table("lines")
        .mark_point(filled=True, clip=True, size=26 if chart.dots else 40)
        .encode(
            y,
            color.legend(None),
            *([] if chart.dots else [alt.OpacityValue(0)]),
            tooltip=_tooltip(chart),
        )
        .transform_filter("datum.spot")
    )
    layered = (
        alt.layer(_mark_layers(), line, dots)
        .encode(
            alt.X("step:Q", title="step", axis=STEPS),
            alt.Opacity("path:O", scale=FAINT, legend=None),
        )
        .resolve_scale(color="independent", strokeDash="independent")
    )
    return specification(layered, 230)


def _tooltip(chart: MetricChart) -> list[alt.Tooltip]:
    return [
        alt.Tooltip(field="series", title=chart.title),
        alt.Tooltip("step:Q", title="step", format=","),
        alt.Tooltip("value:Q", title=chart.unit, format=chart.format),
        alt.Tooltip(field="path", title="path"),
    ]


def _widths(names: Sequence[str]) -> alt.Size:
    """Return widths, of the first series the widest: where series coincide, each can still be seen."""
    widest = 6.5 if len(names) > 1 else 2.0
    widths = [widest - (widest - 1.5) * i / max(1, len(names) - 1) for i in range(len(names))]
    return alt.Size("series:O", scale=kinds(list(names), widths), legend=None)


@cache
def _mark_layers() -> alt.LayerChart | alt.FacetChart:
    """Return interventions: a line, a wider one that cannot be seen and is easier to hover over, a sign."""
    marks = [*MARKS, "axis"]
    hues = kinds(marks, [*(color for _, color, _ in MARKS.values()), "transparent"])
    dashes = kinds(marks, [*(dash for _, _, dash in MARKS.values()), [1, 0]])
    rule = (
        alt.Chart()
        .mark_rule(strokeWidth=1.4, clip=True)
        .encode(alt.StrokeDash(field="kind", scale=dashes, legend=None))
    )
    touch = (
        alt.Chart()
        .mark_rule(strokeWidth=alt.expr("datum.kind == 'axis' ? 0 : 12"), clip=True)
        .encode(opacity=alt.OpacityValue(0))
    )
    sign = (
        alt.Chart()
        .mark_text(fontSize=13, fontWeight=700, clip=False, dy=-6)
        .encode(y=alt.value(0), text=alt.Text(field="sign"))
    )
    return alt.layer(rule, touch, sign, data=alt.NamedData("marks")).encode(
        alt.Color(field="kind", scale=hues, legend=None),
        tooltip=[
            alt.Tooltip(field="step", format=",", title="step"),
            alt.Tooltip(field="text", title="what"),
        ],
    )
