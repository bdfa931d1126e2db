"""The page Compare and the way to it: which runs, which baseline, what is said of few seeds and bad links."""

import csv
import io
import json
import sys

import pytest

from hankelboard.app.data import compared_runs
from hankelboard.comparison import report as reports
from hankelboard.comparison.cells import csv_text
from hankelboard.comparison.series import series_of
from hankelboard.comparison.tables import run_rows
from hankelboard.storage import workers
from hankelboard.storage.commands import add_note
from hankelboard.storage.journal import Journal, read_journal
from tests.app.conftest import SyntheticRun, text_of


def finished(folder, name, role, seed, **fields):
    run = SyntheticRun(folder, name=name, role=role, seed=seed, **fields).start()
    run.train(400)
    run.event(
        "run_finished", best=run.best, test={"loss": 0.2, "accuracy": 0.9 + seed / 100}, train_s=run.train_s
    )
    run.status("finished")
    return run


@pytest.fixture
def three_seeds(runs):
    cut = [finished(runs, "Cut", "compressed", seed) for seed in (1, 2, 3)]
    full = [finished(runs, "Full", "baseline", seed, state_dim=128, steps=2400) for seed in (1, 2, 3)]
    return cut, full


def test_runs_of_a_link_beside_their_baseline(open_page, three_seeds):
    cut, full = three_seeds
    page = open_page("compare", runs=",".join(run.id for run in cut + full))
    told = text_of(page)
    assert "6 runs in 2 series" in told and "no claim" not in told
    rows = page.dataframe[0].value.set_index("Series")
    assert rows.loc["Full"].filter(like="Δ").tolist() == ["baseline"]
    delta = rows.loc["Cut"].filter(like="Δ").item()
    assert delta == "+0.00 (n = 3, paired, equal in every seed: no interval)"
    assert rows.loc["Cut", "States"] == "128" and rows.loc["Full", "States"] == "256"
    differences = page.dataframe[-1].value
    assert differences["key"].tolist() == ["training.steps"]
    assert page.query_params["runs"]


def test_few_seeds_claim_nothing(open_page, three_seeds):
    cut, full = three_seeds
    told = text_of(open_page("compare", runs=f"{cut[0].id},{full[0].id}"))
    assert "no claim is made" in told


def test_a_group_with_a_run_that_goes_on_is_provisional(open_page, runs, three_seeds):
    SyntheticRun(runs, name="Going on", role="scratch").start().train(200)
    told = text_of(open_page("compare", group="demo"))
    assert "Provisional: 1 of 7 runs are not finished" in told


def test_an_archived_run_of_a_group_is_left_out_and_said_so(open_page, three_seeds):
    full = three_seeds[1][0]
    add_note(full.paths, "archive", True, by="ada", via="web")
    told = text_of(open_page("compare", group="demo"))
    assert "5 runs in 2 series" in told and "Left out: 1 archived run of this group" in told


def test_a_dead_trainer_and_no_worker_are_told_with_the_command(open_page, runs, three_seeds):
    run = SyntheticRun(runs, name="Gone", role="scratch").start().train(200)
    run.status("running", pid=2**22 + 1, process_started_at="x/1")
    told = text_of(open_page("compare", group="demo"))
    assert "not finished (process gone)" in told and "hankelboard worker" in told
    workers.announce(runs, 1, [], 5.0)
    assert "hankelboard worker" not in text_of(open_page("compare", group="demo"))


def test_names_of_any_kind_do_not_break_the_page(open_page, runs):
    for index, name in enumerate(("key", "a|b", "<script>alert(1)</script>", "series", "Runs")):
        SyntheticRun(runs, name=name, role="scratch", steps=1000 + index).start().train(100)
    page = open_page("compare", group="demo")
    assert "<script>alert(1)</script>" in page.dataframe[0].value["Series"].tolist()
    assert len(page.dataframe[-1].value.columns) == 6


def test_the_best_is_said_to_be_from_before_cuts(open_page, three_seeds):
    page = open_page("compare", group="demo")
    assert "before a cut, with more states" not in text_of(page)
    page.segmented_control(key="figure").set_value("best").run()
    assert "may be from before a cut, with more states than now" in text_of(page)


def test_the_command_of_a_report_compares_what_the_page_does(three_seeds):
    cut, full = three_seeds
    finals, _ = compared_runs.finals([run.id for run in cut + full])
    assert compared_runs.report(series_of(finals), None).command.startswith("hankelboard compare demo --html")
    some = compared_runs.report(series_of(finals[:4]), None, ["20261126-x: damaged"])
    assert some.command.startswith("hankelboard compare ") and " demo " not in some.command
    assert all(final.run in some.command for final in finals[:4])
    assert "Left out: 20261126-x: damaged" in reports.notes(some)


def test_baseline_axis_and_figure_are_chosen(open_page, three_seeds):
    cut, _ = three_seeds
    page = open_page("compare", group="demo")
    page.selectbox(key="baseline").set_value(cut[0].id).run()
    rows = page.dataframe[0].value.set_index("Series")
    assert rows.loc["Cut"].filter(like="Δ").tolist() == ["baseline"]
    for axis in ("step", "samples", "clock_s"):
        page.segmented_control(key="x").set_value(axis).run()
        assert not page.exception
    page.segmented_control(key="metric").set_value("val/loss").run()
    page.select_slider(key="skip").set_value(0.4).run()
    page.segmented_control(key="figure").set_value("best").run()
    assert "Differences are of the best validation accuracy" in text_of(page)
    assert not page.exception


def test_bad_links_are_told_and_the_rest_is_shown(open_page, runs, three_seeds):
    cut, _ = three_seeds
    page = open_page("compare", runs=f"{cut[0].id}, ../../etc ,no-such-run,{cut[0].id}")
    told = text_of(page)
    assert "Not in this folder of runs: ../../etc, no-such-run" in told and "1 run in 1 series" in told
    cut[1].paths.run_json.write_text("{")
    page = open_page("compare", runs=f"{cut[0].id},{cut[1].id}")
    told = text_of(page)
    assert "in 1 series" in told and any(cut[1].id in error.value.replace("\\", "") for error in page.error)


def test_nothing_chosen_says_what_to_do(open_page, runs):
    assert "Nothing to compare yet" in text_of(open_page("compare"))
    SyntheticRun(runs)
    assert "Nothing to compare yet" in text_of(open_page("compare", runs="no-such-run"))


def test_runs_without_any_validation_do_not_break_the_page(open_page, runs):
    SyntheticRun(runs)
    SyntheticRun(runs, name="another").start()
    told = text_of(open_page("compare", group="demo"))
    assert "No run has been validated yet." in told and "No run has a last validation accuracy yet." in told


def test_runs_that_trained_for_a_moment_do_not_break_the_page(open_page, runs):
    run = finished(runs, "Quick", "baseline", 1)
    shorter = [
        {**record, "train_s": record["train_s"] * 1e-4} for record in read_journal(run.paths.metrics)[0]
    ]
    assert 0 < shorter[-1]["train_s"] < 0.05
    run.paths.metrics.unlink()
    with Journal(run.paths.metrics) as journal:
        for record in shorter:
            journal.append(record)
    page = open_page("compare", runs=run.id)
    assert not page.exception and page.slider[0].max == 0.1


def test_the_csv_has_every_run_and_the_seconds_of_a_copied_run(three_seeds):
    cut, full = three_seeds
    full[0].paths.status.unlink()
    finals, problems = compared_runs.finals([run.id for run in cut + full])
    assert not problems and {final.seed for final in finals} == {1, 2, 3}
    rows = list(csv.DictReader(io.StringIO(csv_text(run_rows(series_of(finals))))))
    assert len(rows) == 6 and {row["test"] for row in rows} == {"0.91", "0.92", "0.93"}
    assert all(float(row["train_s"]) > 0 for row in rows)


def test_the_list_is_sorted_grouped_tagged_and_filtered(open_page, runs, three_seeds):
    other = SyntheticRun(runs, name="Lonely", group="other").start().train(100)
    add_note(other.paths, "tag", ["later", "gpu"], by="ada", via="cli")
    page = open_page("runs")
    page.selectbox(key="sort").set_value("name").run()
    names = page.dataframe[0].value["Run"].tolist()
    assert names == sorted(names, key=str.lower) and len(names) == 7
    page.text_input(key="q").set_value("gpu").run()
    assert page.dataframe[0].value["Run"].tolist() == ["Lonely"]
    page.text_input(key="q").set_value("").run()
    page.selectbox(key="group").set_value("demo").run()
    assert len(page.dataframe[0].value) == 6
    page.selectbox(key="group").set_value("").run()
    page.toggle(key="grouped").set_value(True).run()
    assert [item.value for item in page.subheader] == ["demo", "other"]
    assert page.dataframe[0].value["Role"].tolist()[:3] == ["baseline"] * 3


def test_tags_are_set_on_the_page_of_the_run(open_page, three_seeds):
    run = three_seeds[0][0]
    page = open_page("run", run=run.id)
    page.text_input(key="tags").set_value(" later, gpu ,later,").run()
    assert not page.exception
    notes = [json.loads(path.read_text()) for path in sorted(run.paths.notes.iterdir())]
    assert notes[-1]["value"] == ["later", "gpu"]
    assert page.text_input(key="tags").value == "later, gpu"


def test_many_series_begin_without_ablations(open_page, runs):
    for index in range(8):
        role = "ablation" if index > 5 else "scratch"
        SyntheticRun(runs, name=f"S{index}", role=role, steps=1000 + index).start().train(100)
    page = open_page("compare", group="demo")
    assert len(page.dataframe[0].value) == 6
    page = open_page("compare", group="demo", roles="ablation")
    assert page.dataframe[0].value["Series"].tolist() == ["S6", "S7"]
    SyntheticRun(runs, name="Full", role="baseline", steps=900).start().train(100)
    page = open_page("compare", group="demo", roles="ablation")
    assert set(page.dataframe[0].value["Series"]) == {"S6", "S7", "Full"}, "differences are to what is shown"


def test_the_report_of_the_page_is_the_one_of_the_command_line(
    runs, three_seeds, tmp_path, capsys, monkeypatch
):
    from hankelboard.trainer.cli import main

    cut, full = three_seeds
    finals, _ = compared_runs.finals([run.id for run in cut + full])
    series = series_of(finals)
    made = reports.markdown(compared_runs.report(series, series[1]))
    assert main(["compare", "demo", "--baseline", full[0].id, "--markdown", "--runs-dir", str(runs)]) == 0
    table = [line for line in made.splitlines() if line.startswith("|")]
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")] == table
    assert "hankelboard compare demo --baseline" in made


def test_a_report_that_cannot_be_drawn_is_not_offered(open_page, three_seeds, monkeypatch):
    def button():
        return next(one for one in open_page("compare", group="demo").get("download_button")
                    if one.proto.label == "Report (HTML)")  # fmt: skip

    assert not button().proto.disabled
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    assert button().proto.disabled and "pip install 'hankelboard[report]'" in button().proto.help
