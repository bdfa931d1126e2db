"""Compressed against every baseline: runs suites and writes the tables and figures of docs/RESULTS.md.

    python -m benchmarks.headline                     # both suites on embedded data, two runs at a time
    python -m benchmarks.headline smnist-headline     # needs HANKELBOARD_DATA; hours
    python -m benchmarks.headline --tables            # the tables again from docs/results/*.csv, without runs

Said again, a suite goes on where it was.
"""

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

from hankelboard.comparison import charts, report, tables
from hankelboard.comparison.cells import csv_text
from hankelboard.comparison.reading import read_csv, read_finals
from hankelboard.comparison.series import Series, baseline_of, series_of
from hankelboard.storage import atomic, figures
from hankelboard.storage.runs import list_runs, read_run

DOCS = Path(__file__).parent.parent / "docs"
RESULTS = DOCS / "results"
PAGES = (DOCS / "RESULTS.md", DOCS / "FAMILIES.md", DOCS.parent / "README.md")
EMBEDDED = ("tones-headline", "digits-headline")
COLUMNS = ("series", "runs", "states", "test accuracy, last weights", "Δ test accuracy, last weights, points",
           "training", "training, × baseline", "with what it builds on", "role")  # fmt: skip
CHART_SERIES = ("baseline", "compressed", "scratch", "distilled", "regularised", "post-training")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("suites", nargs="*", default=EMBEDDED)
    parser.add_argument("--runs-dir", default="runs")
    parser.add_argument("--jobs", default="2")
    parser.add_argument("--tables", action="store_true")
    options = parser.parse_args()
    for suite in () if options.tables else options.suites:
        started = time.monotonic()
        command = ["hankelboard", "suite", suite, "--runs-dir", options.runs_dir, "--jobs", options.jobs]
        subprocess.run([sys.executable, "-P", "-m", "hankelboard", *command[1:]], check=True)
        print(f"{suite}: {(time.monotonic() - started) / 60:.1f} minutes", flush=True)
        write_results(suite, Path(options.runs_dir))
    for page in PAGES:
        atomic.replace_bytes(page, with_tables(page.read_text()).encode())


def write_results(suite: str, runs: Path) -> None:
    """docs/results/SUITE.csv, and the accuracy against states as SUITE.svg."""
    listed = [paths for paths in reversed(list_runs(runs)) if read_run(paths).group == suite]
    finals, _ = read_finals(listed)
    RESULTS.mkdir(exist_ok=True)
    series = series_of(finals)
    text = csv_text(tables.run_rows(series))
    atomic.replace_bytes(RESULTS / f"{suite}.csv", text.encode())
    atomic.replace_bytes(RESULTS / f"{suite}.svg", figure(suite).encode())


def figure(suite: str) -> str:
    """Test accuracy against states, without the ablations."""
    series = [one for one in series_of(read_csv(RESULTS / f"{suite}.csv")) if one.role in CHART_SERIES]
    spec = charts.point_spec(
        charts.Palette(series), "test", "states of all layers at the end (log)", log=True
    )
    return report.draw(spec, charts.point_tables(series, "test", "states"), width=640)


def table(suite: str) -> str:
    """The suite's table from its CSV."""
    series = series_of(read_csv(RESULTS / f"{suite}.csv"))
    rows = tables.series_rows(series, baseline_of(series), "test")
    return report.markdown_table([{key: row[key] for key in COLUMNS if key in row} for row in rows])


def pairs(suite: str) -> str:
    """Compressed minus from scratch at the same dimensions, paired by seed."""
    by_label = {one.label: one for one in series_of(read_csv(RESULTS / f"{suite}.csv"))}
    rows = []
    for label, one in by_label.items():
        scratch = by_label.get(label.replace("compressed", "scratch as"))
        if one.role == "compressed" and scratch is not None:
            rows.append({
                "series": label, "states": tables.spread(one.spread("states"), tables.whole),
                "compressed": tables.spread(one.spread("test"), figures.percent),
                "from scratch at these states": tables.spread(scratch.spread("test"), figures.percent),
                "difference, points": tables.difference(one.minus(scratch, "test")),
                "each seed": ", ".join(_each(one, scratch)),
            })  # fmt: skip
    return report.markdown_table(rows)


def _each(one: Series, other: Series) -> list[str]:
    theirs = {run.seed: run.test for run in other.runs if run.test is not None}
    return [
        figures.points(run.test - theirs[run.seed])
        for run in one.runs
        if run.test is not None and run.seed in theirs
    ]


def with_tables(page: str) -> str:
    """The page with every block <!-- table: SUITE --> or <!-- pairs: SUITE --> … <!-- end --> made anew."""
    makers = {"table": table, "pairs": pairs}
    return re.sub(
        r"(<!-- (table|pairs): ([a-z-]+) -->\n).*?(<!-- end -->)",
        lambda match: f"{match[1]}{makers[match[2]](match[3])}\n{match[4]}",
        page,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    main()
