"""Suites from the page New run, and runs that wait for other runs."""

from hankelboard.access import tickets
from hankelboard.storage.layout import run_paths
from hankelboard.storage.runs import create_run, list_runs, read_run
from tests.app.conftest import SyntheticRun, text_of


def test_a_suite_is_queued_and_said_again_adds_what_is_missing(open_page, runs):
    page = open_page("new_run", kind="A suite", suite="smnist-wide")
    assert "hankelboard suite smnist-wide" in page.code[0].value
    series = page.dataframe[0].value
    assert series.loc[series["Series"] == "scratch as .05", "Needs"].item() == "compressed .05"
    page.text_input(key="suite_seeds").set_value("7").run()
    assert page.code[0].value == "hankelboard suite smnist-wide --seeds=7"
    page.button(key="create_suite").click().run()
    assert "5 of 5 runs queued now" in text_of(page)
    made = [read_run(paths) for paths in list_runs(runs)]
    assert {run.seed for run in made} == {7} and {run.group for run in made} == {"smnist-wide"}
    page.button(key="create_suite").click().run()
    assert "0 of 5 runs queued now, the others were there" in text_of(page)
    assert len(list_runs(runs)) == 5


def test_runs_of_the_group_with_other_settings_are_told(open_page, runs):
    page = open_page("new_run", kind="A suite", suite="smnist-wide")
    page.text_input(key="suite_seeds").set_value("7").run()
    page.button(key="create_suite").click().run()
    assert "other settings" not in text_of(page)
    file = list_runs(runs)[0].run_json
    file.write_text(file.read_text().replace('"steps":10000', '"steps":5'))
    page.button(key="create_suite").click().run()
    assert "1 run of this group had other settings when created; nothing is changed there." in text_of(page)


def test_seeds_that_are_none_are_refused_beside_the_field(open_page):
    page = open_page("new_run", kind="A suite", suite="smnist-wide")
    page.text_input(key="suite_seeds").set_value("1; 2").run()
    assert "must be whole numbers with commas" in text_of(page)
    assert page.button(key="create_suite").disabled


def test_a_run_that_waits_for_another_says_for_what(open_page, runs):
    other = SyntheticRun(runs, name="Other").start()
    other.train(100)
    config = {"model": {"state_dim_as": other.id}, "training": {"steps": 10}}
    waiting = create_run(runs, name="Small", config=config)
    tickets.issue(run_paths(runs, waiting.id))
    told = f"waits for the final state dimensions of {other.id}, which is running"
    assert told in text_of(open_page("run", run=waiting.id))
    table = open_page("runs").dataframe[0].value
    assert table.loc[table["Run"] == "Small", "State"].item() == "queued, needs another run"
