"""The tables of docs/RESULTS.md and README.md are those that the committed CSV files give."""

import re

import pytest

from benchmarks import families, headline, worth
from hankelboard.settings.families import FAMILIES
from hankelboard.settings.preset import find_preset
from hankelboard.settings.suite import load_suite
from hankelboard.settings.tasks import TASKS

NAMES = sorted(path.stem for path in headline.RESULTS.glob("*.csv"))


def test_there_are_results():
    assert {"tones-headline", "digits-headline"} <= set(NAMES)


def test_every_table_is_made_from_the_committed_runs():
    shown = set()
    for path in headline.PAGES:
        page = path.read_text()
        assert headline.with_tables(page) == page, "run: python -m benchmarks.headline --tables"
        shown |= set(re.findall(r"<!-- (?:table|cuts): ([a-z-]+) -->", page))
    assert shown == set(NAMES)


def test_every_table_of_output_errors_is_made_from_the_committed_measurements():
    page = families.PAGE.read_text()
    assert families.with_tables(page) == page, "run: python -m benchmarks.families --tables"
    shown = set(re.findall(r"<!-- errors: ([a-z0-9]+) -->", page))
    assert shown == {row["series"] for row in families.read_rows()}


def test_the_table_of_answers_is_made_from_the_committed_ones():
    page = worth.PAGE.read_text()
    assert worth.with_table(page) == page, "run: python -m benchmarks.worth --table"


@pytest.mark.parametrize("name", NAMES)
def test_every_run_of_a_table_is_finished_or_said_to_be_open(name):
    finals = headline.read_csv(headline.RESULTS / f"{name}.csv")
    assert len({final.run for final in finals}) == len(finals)
    assert all(final.test is not None for final in finals if final.state == "finished")


@pytest.mark.parametrize("name", NAMES)
def test_every_row_names_the_family_and_task_that_ran(name):
    for final in headline.read_csv(headline.RESULTS / f"{name}.csv"):
        assert final.family in FAMILIES and final.task in TASKS
        if final.preset:
            preset = find_preset(final.preset)
            assert (preset.family, preset.task) == (final.family, final.task), final.run


def test_rows_of_a_suite_say_what_its_series_run():
    rows = {name: headline.read_csv(headline.RESULTS / f"{name}.csv") for name in NAMES}
    for name, finals in rows.items():
        suite = {one.name: one for one in load_suite(name).series}
        for final in finals:
            config = suite[final.series].config(final.seed, dict.fromkeys(suite, "a run"))
            assert (final.family, final.task) == (config.model.family, config.data.task), final.run
            assert final.preset == suite[final.series].preset_of(config), final.run
