"""Charts in a real Chromium: zoom over refreshes, linked sliders, gaps on log axes, export, the analysis."""

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from hankelboard.storage.journal import Journal
from tests.app.synthetic_run import SyntheticRun
from tests.trainer.small_run import ENDLESS, SmallRun
from tests.waiting import until

pytestmark = pytest.mark.browser

WAITS = {"training": {"steps": ENDLESS}, "reduction": {"policy": "ask", "steps": [20]}}


def ready(page):
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()


def axis_labels(page, chart):
    """Texts of the step axis of a chart."""
    axis = page.locator(f".st-key-{chart} g[aria-label^='X-axis']").first
    return axis.locator(".role-axis-label text").all_text_contents()


def stop(run):
    run.send("stop")
    run.wait(lambda history: history.state == "stopped")


def test_zoom_survives_20_refreshes_with_new_data(services, page):
    run = SyntheticRun(services.runs, "zoomed", queued=False).start()
    run.train(600)
    page.goto(f"{services.url}/run?run={run.id}")
    ready(page)
    chart = page.locator(".st-key-chart_loss svg.marks").first
    chart.wait_for()
    before = axis_labels(page, "chart_loss")
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    lines = page.locator(".st-key-chart_loss .mark-line path").first
    shape = lines.get_attribute("d")
    page.keyboard.down("Control")
    for _ in range(6):
        page.mouse.wheel(0, -240)
        until(lambda shape=shape: lines.get_attribute("d") != shape)
        shape = lines.get_attribute("d")
    page.keyboard.up("Control")
    zoomed = axis_labels(page, "chart_loss")
    assert zoomed != before
    for step in range(610, 810, 10):
        run.train(step)
        run.status("running")
        page.get_by_text(f"step {step} of").first.wait_for()
    until(lambda: lines.get_attribute("d") != shape)  # the new points, beyond what is shown of the axis
    ready(page)
    assert axis_labels(page, "chart_loss") == zoomed
    assert page.problems == []


def test_a_slider_moves_cut_share_bound_size_and_choice_together(services, page):
    run = SmallRun(services.runs, **WAITS)
    try:
        run.wait_pending(1)
        page.goto(f"{services.url}/truncation?run={run.paths.run_id}")
        ready(page)

        def shown():
            charts = [
                page.locator(f".st-key-{key} svg.marks").first.inner_html()
                for key in ("spectrum_0", "curves_0", "measured_accuracy", "measured_loss")
            ]
            figures = page.locator("[data-testid=stMetric]").all_inner_texts()
            return [*charts, "|".join(figures), page.locator("main, [data-testid=stMain]").first.inner_text()]

        page.locator(".st-key-measured_loss svg.marks").first.wait_for()
        before = shown()
        slider = page.locator("[class*=st-key-rank_0]").get_by_role("slider")
        slider.focus()
        slider.press("ArrowLeft")
        page.locator(".st-key-approve_mine button:not([disabled])").wait_for()
        until(lambda: all(one != other for one, other in zip(before, shown(), strict=True)))
        until(lambda: "not measured at these ranks" in shown()[-1])
        # What was not measured is offered, and measured on demand.
        page.locator(".st-key-measure_mine button").first.click()
        page.get_by_text("measured: the ringed point").first.wait_for()
        assert page.problems == []
    finally:
        stop(run)


def test_a_proposal_that_expires_while_it_is_looked_at_closes_its_buttons(services, page):
    """The deadline is one of steps; the run is paused before it until the page was seen with its buttons."""
    reduction = {"policy": "ask", "steps": [20], "waiting": "train", "deadline_steps": 100}
    run = SmallRun(services.runs, training={"steps": ENDLESS}, reduction=reduction)
    run.send("pause", at_step=21)
    try:
        run.wait(lambda history: history.pending() and history.paused)
        page.goto(f"{services.url}/truncation?run={run.paths.run_id}")
        page.locator(".st-key-approve button:not([disabled])").first.wait_for()
        run.send("resume")
        page.locator(".st-key-approve button[disabled]").first.wait_for()
        page.locator(".st-key-reject button[disabled]").first.wait_for()
        page.get_by_text("It expired").first.wait_for()
    finally:
        stop(run)


def test_exact_zeros_are_a_gap_and_a_note(services, page):
    run = SyntheticRun(services.runs, "zeros", queued=False).start()
    run.train(100)
    hsv = [8.0, 4.0, 2.0, 1.0, 0.0, 0.0]
    with Journal(run.paths.spectra) as journal:
        for layer in (0, 1):
            journal.append({"step": 100, "branch": 0, "attempt": 0, "layer": layer, "state_dim": 6,
                            "importance": "hsv", "hsv": hsv, "snapshot": "scheduled"})  # fmt: skip
    page.goto(f"{services.url}/run?run={run.id}")
    ready(page)
    chart = page.locator(".st-key-chart_spectrum svg.marks").first
    chart.wait_for()
    points = page.locator(".st-key-chart_spectrum .role-mark path")
    points.first.wait_for()
    assert points.count() == 2 * 4  # per layer four values, and nothing where there is no logarithm
    page.get_by_text("4 values ≤ 0 have no place on a log axis").wait_for()
    page.goto(f"{services.url}/spectra?run={run.id}")
    ready(page)
    page.get_by_text("are 0 or no numbers").first.wait_for()


def test_charts_are_saved_as_svg_and_png(services, page):
    run = SyntheticRun(services.runs, "exported", queued=False).start()
    run.train(200)
    page.goto(f"{services.url}/run?run={run.id}")
    ready(page)
    page.locator(".st-key-chart_loss svg.marks").first.wait_for()
    page.get_by_text("Save a chart as SVG").click()
    with page.expect_download() as download:
        page.get_by_role(
            "button", name="Loss (cross-entropy, nats) against training step", exact=True
        ).click()
    assert download.value.suggested_filename == "loss-cross-entropy-nats-against-training-step.svg"
    root = ET.parse(download.value.path()).getroot()
    assert root.tag.endswith("svg") and len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 3
    page.locator(".st-key-chart_loss [data-testid=stVegaLiteChart]").first.hover()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as PNG: Loss").click()
    with Image.open(download.value.path()) as image:
        assert image.format == "PNG" and np.asarray(image.convert("L")).std() > 1
    assert page.problems == []


def test_charts_of_a_run_without_interventions_leave_the_browser_s_console_empty(services, page):
    run = SyntheticRun(services.runs, "undisturbed", queued=False).start()
    run.train(200)
    told = []
    page.on("console", lambda message: told.append(message.text))
    page.goto(f"{services.url}/run?run={run.id}")
    page.locator(".st-key-chart_loss svg.marks").wait_for()
    page.wait_for_timeout(500)
    assert [text for text in told if "extent" in text] == []


def test_a_heat_map_that_has_no_svg_says_where_its_picture_is(services, page):
    run = SyntheticRun(services.runs, "pixels", queued=False).start()
    run.train(200)
    page.goto(f"{services.url}/spectra?run={run.id}")
    page.locator(".st-key-heat canvas.marks").wait_for()
    page.locator(".st-key-kept svg.marks").wait_for()
    page.get_by_text("Save a chart as SVG").click()
    page.get_by_text(
        "Hankel singular value σ of layer 0 over steps: as PNG only, from its own toolbar"
    ).wait_for()
    page.locator(".st-key-heat [data-testid=stVegaLiteChart]").hover()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as PNG: Hankel singular value").click()
    with Image.open(download.value.path()) as image:
        assert image.format == "PNG"
    assert page.problems == []


def test_no_chart_of_a_proposal_is_made_anew_when_ranks_are_moved_or_it_is_decided(services, page):
    """A chart that is made anew leaves a hole for a second, and the page jumps."""
    run = SyntheticRun(services.runs, "steady", queued=False).start()
    run.train(200)
    response = {"omega": [0.1, 1.0, 3.0], "full": [3.0, 2.0, 1.0], "reduced": [2.9, 2.0, 1.0]}
    layers = [{**layer, "response": {**response, "error": [0.1] * 3}} for layer in run.evidence()["layers"]]
    number = run.propose(layers=layers)
    page.goto(f"{services.url}/truncation?run={run.id}")
    page.locator(".st-key-response_1 svg.marks").wait_for()
    page.evaluate(
        "document.querySelectorAll('[data-testid=stVegaLiteChart]').forEach(c => c.before_it = true)"
    )
    page.locator("[class*=st-key-rank_0]").get_by_role("slider").press("ArrowLeft")
    page.locator(".st-key-measuring").wait_for()
    run.decide(number)
    run.answer(number)
    page.get_by_text("applied at step 200").first.wait_for()
    page.locator(".st-key-measuring").wait_for(state="detached")
    made = "[...document.querySelectorAll('[data-testid=stVegaLiteChart]')].map(c => c.before_it === true)"
    assert page.evaluate(made)[:8] == [True] * 8
    assert page.problems == []


def test_the_analysis_is_started_on_the_page_and_shows_its_regret(services, page):
    run = SmallRun(services.runs, reduction={"policy": "keep"})
    run.wait(lambda history: history.state == "finished")
    page.goto(f"{services.url}/spectra?run={run.paths.run_id}")
    ready(page)
    page.locator(".st-key-analyse button").first.click()
    page.locator(".st-key-regret svg.marks").first.wait_for()
    page.get_by_text("drawn by lot:").first.wait_for()
    kept = until(lambda: list(run.paths.analyses.glob("[!.]*")))
    record = json.loads(kept[0].read_text())
    assert record["layers"][0]["regret"][0]["regret"][-1] < 1e-9
    assert page.problems == []
