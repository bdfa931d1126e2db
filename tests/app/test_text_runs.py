"""Runs on a text: bits per character stand beside accuracy, and nowhere else."""

import pytest

from hankelboard.app.data.runs import summary
from tests.app.conftest import SyntheticRun, text_of


def finished(folder, task, seed=0):
    run = SyntheticRun(folder, name=f"On {task}", task=task, seed=seed).start()
    run.train(400)
    return run.finish()


def charts_of(page):
    """Titles of the metric charts of the page Run."""
    return {item.value for item in page.markdown if item.value.startswith("**") and len(item.value) < 40}


def test_the_run_page_shows_bits_per_character_of_a_text(open_page, runs):
    run = finished(runs, "text")
    page = open_page("run", run=run.id)
    assert "**Bits per character**" in charts_of(page)
    (shown,) = (metric for metric in page.metric if metric.label == "Bits per character")
    told = float(shown.value.replace("\\", ""))  # escaped for Markdown
    assert told == pytest.approx(summary(run.id)["test"]["bits_per_character"], abs=5e-4)
    other = open_page("run", run=finished(runs, "digits").id)
    assert "**Bits per character**" not in charts_of(other)
    assert "bits per character" not in text_of(other).lower()


def test_the_list_has_a_column_for_them_only_where_there_is_a_text(open_page, runs):
    finished(runs, "digits")
    assert "Bits/char" not in open_page("runs").dataframe[0].value
    run = finished(runs, "text", seed=1)
    table = open_page("runs").dataframe[0].value.set_index("Task")
    assert table.loc["text", "Bits/char"] == pytest.approx(run.best["bits_per_character"])
    assert table["Bits/char"].isna()["digits"]


def test_compare_offers_them_as_a_metric_and_in_the_table(open_page, runs):
    texts = [finished(runs, "text", seed) for seed in (0, 1)]
    page = open_page("compare", runs=",".join(run.id for run in texts))
    assert "Test bits per character" in page.dataframe[0].value
    page.segmented_control(key="metric").set_value("val/bits_per_character").run()
    assert not page.exception
    other = open_page("compare", runs=finished(runs, "digits").id)
    assert "validation bits per character" not in other.segmented_control(key="metric").options
    assert "Test bits per character" not in other.dataframe[0].value
