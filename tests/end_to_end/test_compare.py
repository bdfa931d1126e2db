"""From ticked rows to the comparison and away with it, in a real browser."""

import re

import pytest

from tests.app.synthetic_run import SyntheticRun
from tests.end_to_end.conftest import new_context

pytestmark = pytest.mark.browser
ROW, HEAD = 31, 32


@pytest.fixture
def five_runs(services):
    """Three seeds that were cut and two of a baseline, finished."""
    kinds = [("Cut", "compressed", seed) for seed in (1, 2, 3)] + [
        ("Full", "baseline", seed) for seed in (1, 2)
    ]
    for name, role, seed in kinds:
        run = SyntheticRun(services.runs, name=name, role=role, seed=seed, queued=False).start().train(600)
        test = {"loss": 0.2, "accuracy": 0.9 + seed / 100}
        run.event("run_finished", best=run.best, test=test, train_s=run.train_s)
        run.status("finished")


def figures(page):
    """The rows of the report's first table, by series."""
    rows = page.locator("table").first.locator("tbody tr")
    return {cells[0]: cells[1:] for cells in (row.locator("td").all_text_contents() for row in rows.all())}


def test_five_ticked_runs_are_compared_and_taken_away(services, five_runs, page, browser, tmp_path):
    page.goto(services.url)
    table = page.locator("[data-testid=stDataFrame]").first
    for row in range(5):
        table.get_by_test_id(f"glide-cell-1-{row}").wait_for(state="attached")
        table.click(position={"x": 16, "y": HEAD + ROW * row + ROW // 2})
        table.locator(f"tr[aria-selected=true][aria-rowindex='{row + 2}']").wait_for(state="attached")
    page.get_by_text("Compare 5 runs").first.click()
    page.get_by_text("5 runs in 2 series").wait_for()
    assert "runs=" in page.url
    chart = page.locator(".st-key-chart_curves svg.marks")
    chart.get_by_text("training seconds").wait_for()
    page.get_by_role("radio", name="samples").click()
    chart.get_by_text("samples").wait_for()

    page.get_by_role("combobox", name="Baseline").click()
    page.get_by_role("option", name="Cut").click()
    page.wait_for_url(re.compile("baseline="))
    # The URL changes first, then the page is made anew: until its table says so.
    cut = page.locator("[data-testid=stDataFrame] tr", has=page.locator("td", has_text=re.compile("^Cut$")))
    cut.locator("td", has_text=re.compile("^baseline$")).wait_for(state="attached")
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    report, table_csv = tmp_path / "comparison.html", tmp_path / "comparison.csv"
    for label, file in (("Report (HTML)", report), ("CSV", table_csv)):
        with page.expect_download() as download:
            page.get_by_role("button", name=label, exact=True).click()
        download.value.save_as(file)
    assert not page.problems

    offline = new_context(browser, offline=True).new_page()
    asked = []
    offline.on("request", lambda request: asked.append(request.url))
    offline.goto(report.as_uri())
    assert asked == [report.as_uri()], "the report asked for something besides itself"
    shown = figures(offline)
    assert set(shown) == {"Cut", "Full"}
    assert "baseline" in shown["Cut"] and shown["Cut"][0] == "3"
    assert "92.00 ± 1.00 %" in shown["Cut"]
    assert "91.00 % / 92.00 %" in shown["Full"]
    assert offline.locator("figure svg").count() == 4
    assert "0.93" in table_csv.read_text()
