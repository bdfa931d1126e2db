"""A comparison as one file: HTML with its charts as vectors, or Markdown. Nothing in it asks a network."""

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hankelboard.comparison import tables
from hankelboard.comparison.cells import for_markdown
from hankelboard.comparison.curves import AXES, METRICS, Curve
from hankelboard.comparison.reading import Origin
from hankelboard.comparison.series import ENOUGH, FIGURES, Final, Series, baseline_of, series_of
from hankelboard.storage import figures
from hankelboard.storage.records import Record
from hankelboard.storage.scores import PRIMARY_METRIC

COLOURS = ["#0063B2", "#C24E00", "#007A5E", "#A33C83", "#8A6900", "#3187B5", "#555B66", "#6F42C1"]
"""Of the dashboard's light theme, so that a series has its colour here, too."""
CONFIG = {
    "range": {"category": COLOURS},
    "font": "Helvetica, Arial, Liberation Sans, sans-serif",
    "background": "white",
    "view": {"stroke": None},
    "axis": {"labelColor": "#334155", "titleColor": "#334155", "titleFontWeight": "normal",
             "gridColor": "#E2E8F0", "domainColor": "#94A3B8", "tickColor": "#94A3B8",
             "labelFontSize": 11, "titleFontSize": 12},
    "legend": {"labelFontSize": 11, "columnPadding": 24},
}  # fmt: skip
CURVE_AXES = ("train_s", "step")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a report shows. `baseline` is the series that differences refer to."""

    title: str
    series: list[Series]
    baseline: Series | None
    curves: Mapping[str, Curve]
    origins: Sequence[tuple[Origin, int]]
    command: str
    made: str
    """When, ISO 8601."""
    version: str
    problems: Sequence[str] = field(default_factory=list)

    @property
    def figure(self) -> str:
        """Test accuracy once every run has it; before that what every run has."""
        runs = [run for one in self.series for run in one.runs]
        return "test" if all(run.test is not None for run in runs) else "last"


def make(
    finals: Sequence[Final], *, title: str, baseline: str = "", curves: Mapping[str, Curve],
    origins: Sequence[tuple[Origin, int]], command: str, made: str, version: str,
    problems: Sequence[str] = (),
) -> Report:  # fmt: skip
    """Return a report on runs; `baseline` is the id of one of the baseline's runs."""
    series = series_of(finals)
    return Report(
        title=title, series=series, baseline=baseline_of(series, baseline), curves=curves, origins=origins,
        command=command, made=made, version=version, problems=problems,
    )  # fmt: skip


def notes(report: Report) -> list[str]:
    """Return what a reader must know to read the figures, in sentences."""
    runs = [run for one in report.series for run in one.runs]
    sentences = [
        f"{tables.counted(len(runs), 'run')} in {len(report.series)} series; every seed is reported.",
        f"Accuracy is {FIGURES[report.figure]}, mean ± sample standard deviation over seeds; "
        "no run or model is chosen by test accuracy. The best on validation may be from before a cut, with "
        "more states than at the end.",
        "Differences are to the baseline, in percentage points, with a 95 % interval (Student's t): of "
        f"differences paired by seed where seeds match. Below {ENOUGH} seeds no claim is made.",
        "Seconds are those spent training; validation and waiting are not in them. They compare on one "
        "machine with the same number of runs at a time.",
    ]
    if any(run.prior_s for run in runs):
        sentences.append(
            "What it builds on: the training of the run whose weights a run starts from, or of its teacher."
        )
    open_ = tables.unfinished(report.series)
    if open_:
        counts = Counter(run.state.replace("_", " ") for run in open_)
        states = ", ".join(f"{count} {state}" for state, count in counts.items())
        sentences.append(f"Provisional: {len(open_)} of {len(runs)} runs are not finished ({states}).")
    sentences += tables.mixtures(report.series)
    return sentences + [f"Left out: {problem}" for problem in report.problems]


def provenance(report: Report) -> list[str]:
    """Return versions, machines and command, in lines."""
    lines = [f"Hankelboard {report.version}, {report.made}", f"Command: {report.command}"]
    for origin, count in report.origins:
        versions, machine = origin.get("versions") or {}, origin.get("machine") or {}
        parts = [
            tables.counted(count, "run"),
            *(f"{name} {number}" for name, number in versions.items()),
            str(machine.get("processor") or ""), str(machine.get("system") or ""),
            f"{machine['cores']} cores" if machine.get("cores") else "", str(machine.get("gpu") or ""),
            f"device {origin['device']}" if origin.get("device") else "",
            tables.counted(threads, "thread") if (threads := origin.get("threads")) else "",
        ]  # fmt: skip
        lines.append(", ".join(part for part in parts if part))
    return lines


def markdown(report: Report) -> str:
    """Return the figures as a Markdown table, with notes and provenance."""
    rows = tables.series_rows(report.series, report.baseline, report.figure)
    parts = [f"## {for_markdown(report.title)}", markdown_table(rows)]
    parts += ["\n".join(f"- {for_markdown(line)}" for line in notes(report))]
    parts += ["\n".join(f"- {for_markdown(line)}" for line in provenance(report))]
    return "\n\n".join(parts) + "\n"


def markdown_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Return rows with the same keys as a Markdown table."""
    if not rows:
        return "No run."
    head = list(rows[0])
    first, *lines = [_markdown_row(line) for line in (head, *([row[key] for key in head] for row in rows))]
    return "\n".join([first, "| --- " * len(head) + "|", *lines])


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(for_markdown, cells)) + " |"


def as_html(report: Report) -> str:
    """Return one self-contained page: charts as SVG, all tables, provenance."""
    escape = html.escape
    rows = tables.series_rows(report.series, report.baseline, report.figure)
    sections = [
        f"<h1>{escape(report.title)}</h1>",
        _list(notes(report)),
        "<h2>Final figures</h2>",
        _table(rows),
        *(
            f"<h2>{escape(title)}</h2><figure>{svg}</figure>"
            for title, svg in drawings(report)
        ),
        *_same_budget(report),
        "<h2>What differs in the configuration</h2>",
        _table(tables.difference_rows(report.series)),
        "<h2>Every run</h2>",
        _table(_cells(tables.run_rows(report.series))),
        "<h2>Where these figures come from</h2>",
        _list(provenance(report)),
    ]  # fmt: skip
    return PAGE.format(title=escape(report.title), body="\n".join(sections))


def _same_budget(report: Report) -> list[str]:
    """Return accuracy within the training seconds that every run has."""
    ends = tables.budgets(report.curves)
    if not ends or ends[0] <= 0:
        return []
    rows = tables.budget_rows(report.series, report.curves, "train_s", ends[0])
    return [f"<h2>Best validation accuracy within {figures.seconds(ends[0])} of training</h2>", _table(rows)]


def drawings(report: Report) -> list[tuple[str, str]]:
    """Return title and SVG of each chart."""
    from hankelboard.comparison import charts  # Altair: only where charts are drawn

    palette, metric = charts.Palette(report.series), PRIMARY_METRIC
    drawn = []
    for axis in CURVE_AXES:
        if report.curves:
            spec = charts.curve_spec(palette, axis, METRICS[metric], ".3~%", height=300)
            rows = charts.curve_tables(report.series, report.curves, axis)
            drawn.append((f"{METRICS[metric].capitalize()} against {AXES[axis].title}", draw(spec, rows)))
    for against, title, log in (
        ("states", "states of all layers at the end (log)", True),
        ("total_s", "seconds of training, with what it builds on", False),
    ):
        rows = charts.point_tables(report.series, report.figure, against)
        if rows["points"]:
            spec = charts.point_spec(palette, report.figure, title, log=log, height=260)
            drawn.append((f"{FIGURES[report.figure].capitalize()} against {title}", draw(spec, rows)))
    return drawn


def draw(spec: Mapping[str, Any], rows: Mapping[str, Sequence[Record]], width: int = 860) -> str:
    """Return a chart as SVG. Raise ModuleNotFoundError without the extra `report`."""
    import vl_convert

    whole = {**spec, "width": width, "datasets": dict(rows), "config": CONFIG, "usermeta": {}}
    return str(vl_convert.vegalite_to_svg(whole))


def _cells(rows: Sequence[Mapping[str, object]]) -> list[dict[str, str]]:
    return [{key: tables.cell(value) for key, value in row.items()} for row in rows]


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    if not rows:
        return "<p>Nothing.</p>"
    head = "".join(f"<th>{html.escape(key)}</th>" for key in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row.values()) + "</tr>" for row in rows
    )
    return f"<div class=table><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light; }}
body {{ font: 14px/1.5 Inter, system-ui, sans-serif; color: #0F172A; max-width: 1100px; margin: 2rem auto;
  padding: 0 1rem; }}
h1 {{ font-size: 26px; }} h2 {{ font-size: 18px; margin-top: 2.2rem; }}
figure {{ margin: 0; overflow-x: auto; }} svg {{ max-width: 100%; height: auto; }}
.table {{ overflow-x: auto; }} table {{ border-collapse: collapse; font-size: 13px; }}
th, td {{ text-align: left; padding: .3rem .7rem; border-bottom: 1px solid #CBD5E1; white-space: nowrap; }}
th {{ font-weight: 600; }} li {{ margin: .15rem 0; }}
</style></head><body>
{body}
</body></html>
"""
