"""From ticked rows to the comparison, in a real browser."""

import pytest

from tests.app.synthetic_run import SyntheticRun

pytestmark = pytest.mark.browser
ROW, HEAD = 35, 35


def test_ticked_runs_are_compared_and_the_axis_changes(services, page):
    for role in ("baseline", "compressed"):
        run = SyntheticRun(services.runs, name=role.title(), role=role, queued=False).start().train(600)
        run.event("run_finished", best=run.best, test={"loss": 0.2, "accuracy": 0.9}, train_s=run.train_s)
        run.status("finished")
    page.goto(services.url)
    table = page.locator("[data-testid=stDataFrame]").first
    table.wait_for()
    page.wait_for_timeout(1500)
    for row in range(2):
        table.click(position={"x": 16, "y": HEAD + ROW * row + ROW // 2})
    page.get_by_text("Compare 2 runs").first.click()
    page.get_by_text("2 runs in 2 series").wait_for()
    assert "runs=" in page.url
    chart = page.locator(".st-key-chart_curves svg.marks")
    chart.get_by_text("training seconds").wait_for()
    page.get_by_role("radio", name="samples").click()
    chart.get_by_text("samples").wait_for()
    assert not page.problems
