"""Reports: one file that says everything, from runs on disk, from a page, or from a table alone."""

import dataclasses
import re

import pytest

from hankelboard.comparison import report as reports
from hankelboard.comparison import tables
from hankelboard.comparison.cells import csv_text
from hankelboard.comparison.reading import count_origins, origin_of, read_csv
from hankelboard.comparison.series import series_of
from hankelboard.storage.errors import ConfigError
from tests.comparison.test_curves import curve
from tests.comparison.test_series import final

ORIGIN = {
    "versions": {"torch": "2.13.0"}, "machine": {"processor": "EPYC", "cores": 2},
    "device": "cpu", "threads": 1,
}  # fmt: skip


def report(finals, **fields):
    curves = {one.run: curve([0.1, 0.5, one.best]) for one in finals}
    given = {
        "title": "t", "curves": curves, "origins": [(ORIGIN, len(finals))], "command": "hankelboard compare",
        "made": "2026-11-24T05:00:00Z", "version": "0.1.0",
    }  # fmt: skip
    return reports.make(finals, **(given | fields))


def four():
    base = [final("full", "baseline", seed=seed, config={"model": {"state_dim": 64}}) for seed in (0, 1)]
    return [final(seed=0), final(seed=1), *base]


def test_a_report_is_one_page_that_asks_for_nothing():
    page = reports.as_html(report(four()))
    assert page.count("<svg") == 4
    outside = re.findall(r"""(?:src|href|url\()=?["']?\s*(https?:[^"')\s]+)""", page)
    assert not [address for address in outside if "w3.org" not in address]
    assert "<script" not in page and "@import" not in page
    for told in ("EPYC", "torch 2.13.0", "2 cores", "hankelboard compare", "no claim", "model.state_dim"):
        assert told in page, told


def test_names_are_text_and_not_markup():
    page = reports.as_html(report([final("<script>alert(1)</script>"), final("b")], title="<b>"))
    assert "<script>alert" not in page and "<title>&lt;b&gt;</title>" in page
    series = [final(name, role=name) for name in ("a|b\nc", "<img src=x>", "[x](javascript:1)", "`d`", "key")]
    told = reports.markdown(report(series, title="<script>"))
    for shown in (
        "| a\\|b c |",
        "| \\<img src=x> |",
        "| [x]\\(javascript:1) |",
        "| \\`d\\` |",
        "## \\<script>",
    ):
        assert shown in told, shown
    rows = [line for line in told.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(series)


def test_a_series_called_key_has_its_column_among_the_differences():
    series = series_of(
        [final("key", config={"model": {"width": 1}}), final("b", config={"model": {"width": 2}})]
    )
    assert tables.difference_rows(series) == [{"key ": "model.width", "key": "1", "b": "2"}]


def test_figures_say_of_how_many_seeds_they_are():
    scored = [0.91, 0.92, 0.93, None, None]
    series = series_of([final(seed=seed, test=value) for seed, value in enumerate(scored)])
    row = tables.series_rows(series, None, "test")[0]
    assert row["runs"] == "5" and row["test accuracy, last weights"] == "92.00 ± 1.00 % (n = 3)"
    assert row["last validation accuracy"] == "90.00 %"
    again = series_of([final(seed=1), final(seed=1), final(seed=2)])
    assert tables.series_rows(again, None, "test")[0]["runs"] == "3 of 2 seeds"
    assert tables.series_rows(again, None, "test")[0]["seeds"] == "1, 2"


def test_notes_tell_states_and_series_of_several_versions():
    runs = [
        dataclasses.replace(final(seed=seed), state=state) for seed, state in enumerate(("failed", "queued"))
    ]
    longer = final("s", series="s", seed=3, config={"training": {"steps": 5}})
    shorter = final("s", series="s", seed=4, config={"training": {"steps": 4}})
    told = "\n".join(reports.notes(report([*runs, longer, shorter])))
    assert "Provisional: 2 of 4 runs are not finished (1 failed, 1 queued)" in told
    assert "The runs of s differ in training.steps, too" in told


def test_a_report_says_what_is_open_and_what_it_builds_on():
    open_run = final("scratch", test=None, prior_s=12.0)
    told = "\n".join(reports.notes(report([*four(), open_run], problems=["20261124-x: damaged"])))
    assert "What it builds on" in told and "Left out: 20261124-x: damaged" in told
    assert report([*four(), open_run]).figure == "last"
    assert "with what it builds on" in reports.markdown(report([*four(), open_run]))


def test_a_report_has_the_accuracy_at_equal_seconds_of_training():
    page = reports.as_html(report(four()))
    assert "<h2>Best validation accuracy within 10.0 s of training</h2>" in page
    assert "within" not in reports.as_html(report(four(), curves={}))


def test_what_is_not_known_of_a_machine_is_not_told():
    lines = reports.provenance(report(four(), origins=[(origin_of([]), 4)]))
    assert lines[-1] == "4 runs"


def test_the_seconds_of_other_runs_count_where_a_curve_begins():
    later = curve([0.1, 0.5]).after(100.0)
    assert later.train_s[0] == curve([0.1, 0.5]).train_s[0] + 100.0
    assert final(prior_s=5.0).total_s == 15.0


def test_a_table_of_runs_is_enough_to_make_the_tables_again(tmp_path):
    file = tmp_path / "runs.csv"
    chained = final("distilled", "distilled", prior_s=7.5, test=None, config={"training": {"steps": 3}})
    series = series_of([*four(), chained])
    file.write_text(csv_text(tables.run_rows(series)))
    again = series_of(read_csv(file))
    assert [one.label for one in again] == [one.label for one in series]
    rows = [tables.series_rows(found, found[1], "test") for found in (series, again)]
    assert rows[0] == rows[1]


def test_what_is_no_such_table_is_refused(tmp_path):
    file = tmp_path / "other.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match="is no table of runs"):
        read_csv(file)
    file.write_text(csv_text(tables.run_rows(series_of([final()]))).replace("0.9", "nan"))
    assert read_csv(file)[0].test is None
    with pytest.raises(ConfigError, match="No such file"):
        read_csv(tmp_path / "none.csv")


def test_equal_origins_are_told_once():
    started = {"kind": "attempt_started", **ORIGIN, "step": 3}
    origins = [origin_of([started]), origin_of([started]), origin_of([])]
    assert count_origins(origins)[0] == (ORIGIN, 2)
    assert "2 runs, torch 2.13.0, EPYC, 2 cores, device cpu, 1 thread" in reports.provenance(
        report(four(), origins=count_origins(origins))
    )


def test_runs_of_a_suite_are_one_series_whatever_they_took_from_others():
    config = [{"model": {"state_dim_as": f"run-{seed}"}} for seed in (0, 1)]
    found = series_of([final("s", series="s", seed=seed, config=config[seed]) for seed in (0, 1)])
    assert [len(one.runs) for one in found] == [2]


def test_bits_per_character_of_texts_are_a_column_and_survive_the_table(tmp_path):
    assert "bits" not in str(tables.series_rows(series_of(four()), None, "test"))
    series = series_of([*four(), final("text", bits=1.25, config={"data": {"task": "text"}})])
    rows = {row["series"]: row for row in tables.series_rows(series, None, "test")}
    assert (rows["text"]["test bits per character"], rows["a"]["test bits per character"]) == ("1.250", "–")
    file = tmp_path / "runs.csv"
    file.write_text(csv_text(tables.run_rows(series)))
    assert [run.bits for run in read_csv(file)][-1] == 1.25
    older = [{k: v for k, v in row.items() if k != "bits"} for row in tables.run_rows(series)]
    file.write_text(csv_text(older))
    assert {run.bits for run in read_csv(file)} == {None}
