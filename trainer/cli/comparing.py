"""The command compare: runs or a suite as tables and as a report in one file."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hankelboard.storage import atomic
from hankelboard.storage.errors import ConfigError, RunError
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.records import now
from hankelboard.storage.runs import find_run
from hankelboard.trainer.cli.arguments import add_command, need, runs_of


def add_commands(commands: Any) -> None:
    parser = add_command(
        commands, "compare", compare, json=True,
        example="hankelboard compare digits-headline --html report.html",
        more="without --html, --csv or --markdown: the table here",
    )  # fmt: skip
    parser.add_argument("what", metavar="SUITE|GROUP|RUN|CSV", nargs="+",
                        help="groups of runs, single runs, or tables that --csv wrote")  # fmt: skip
    parser.add_argument("--baseline", default="", metavar="RUN|SERIES", help="default: role baseline")
    parser.add_argument("--html", type=Path, metavar="FILE", help="a page that needs no network")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="every run with plain numbers")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--title", default="")


def compare(options: argparse.Namespace) -> int:
    from importlib import metadata

    from hankelboard.comparison import report as reports  # scipy: only where it is wanted
    from hankelboard.comparison import tables
    from hankelboard.comparison.cells import csv_text
    from hankelboard.comparison.reading import read_csv, read_curves, read_finals, read_origins
    from hankelboard.comparison.series import baseline_named

    if options.html:
        need("--html", "altair", "vl_convert", install="'hankelboard[report]'")
    tabled = [Path(name) for name in options.what if name.endswith(".csv")]
    listed, left_out = chosen(runs_of(options), [name for name in options.what if not name.endswith(".csv")])
    finals, problems = read_finals(listed)
    found = {final.run: final for final in finals}
    listed = [paths for paths in listed if paths.run_id in found]
    for final in (final for file in tabled for final in read_csv(file)):
        found.setdefault(final.run, final)  # each run once, however often it is named
    finals = list(found.values())
    report = reports.make(
        finals, title=options.title or ", ".join(options.what),
        baseline=baseline_named(finals, options.baseline) if options.baseline else "",
        curves=read_curves(listed), origins=read_origins(listed), made=now(), problems=left_out + problems,
        command=f"hankelboard {shlex.join(sys.argv[1:])}", version=metadata.version("hankelboard"),
    )  # fmt: skip
    if options.html:
        _write(options.html, reports.as_html(report))
    if options.csv:
        _write(options.csv, csv_text(tables.run_rows(report.series)))
    if options.json:
        from hankelboard.trainer.cli.reading import print_json

        print_json(tables.run_rows(report.series))
    elif options.markdown:
        print(reports.markdown(report), end="")
    elif not (options.html or options.csv):
        _print(tables.series_rows(report.series, report.baseline, report.figure), reports.notes(report))
    return 0


def _write(file: Path, text: str) -> None:
    try:
        atomic.replace_bytes(file.parent.resolve() / file.name, text.encode())
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror}") from None


def _print(rows: Sequence[dict[str, str]], notes: Sequence[str]) -> None:
    from hankelboard.trainer.cli.reading import print_table

    if rows:
        print_table(list(rows[0]), [list(row.values()) for row in rows])
    for line in notes:
        print(line)


def chosen(runs: Path, names: Sequence[str]) -> tuple[list[RunPaths], list[str]]:
    """Return runs by group or id, each once, oldest first, and notes about runs of a group left out.

    Raises ConfigError when a name matches nothing.
    """
    from hankelboard.comparison.reading import ARCHIVED, groups_of

    groups = groups_of(runs)
    runs_by_id: dict[str, RunPaths] = {}
    left_out: dict[str, str] = {}
    for name in names:
        try:
            members, archived = groups[name] if name in groups else ([find_run(runs, name)], [])
        except RunError as error:
            names_of_groups = ", ".join(sorted(groups)) or "none"
            raise ConfigError(
                f"{error}; nor is it a group of runs here (groups: {names_of_groups})"
            ) from None
        runs_by_id |= {paths.run_id: paths for paths in members}
        left_out |= {paths.run_id: ARCHIVED.format(paths.run_id) for paths in archived}
    return list(runs_by_id.values()), [note for run, note in left_out.items() if run not in runs_by_id]
