"""The whole loop in a real browser: wait for the proposal, decide, see the cut, roll back."""

import json

import pytest

from hankelboard.storage.layout import RunPaths
from hankelboard.storage.proposals import read_proposal
from tests.waiting import until

pytestmark = pytest.mark.browser

SMALL = (
    "model.width=16", "model.state_dim=24", "training.steps=10000000", "training.threads=1",
    "training.evaluate_every=20", "reduction.steps=[40]",
)  # fmt: skip
FAMILIES = {"lru": 0.1, "mamba": 1e-4, "attention": 1e-3}
"""A linear, a selective and a matrix-valued family, each with a tolerance that leaves some of 24 states."""


def ready(page):
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()


def show(services, run):
    return json.loads(services.command("show", run, "--json"))


@pytest.mark.parametrize("family", FAMILIES)
def test_wait_move_the_slider_approve_roll_back(services, page, family):
    chosen = (*SMALL, f"model.family={family}", f"reduction.tolerance={FAMILIES[family]}")
    keys = [part for key in chosen for part in ("--set", key)]
    run = json.loads(services.command("new", "--preset", "digits-lru", *keys, "--json"))["run"]

    page.goto(services.url)
    # The proposal appears by itself, without a reload.
    page.get_by_text("Look at the evidence and decide").first.wait_for()
    until(lambda: show(services, run)["state"] == "waiting_for_decision")

    page.goto(f"{services.url}/truncation?run={run}")
    ready(page)
    proposed = read_proposal(RunPaths(services.runs / run), 1)["ranks"][0]
    page.locator(f"[class*=st-key-rank_0] input[aria-valuetext='{proposed}']").wait_for(state="attached")
    slider = page.locator("[class*=st-key-rank_0]").get_by_role("slider")
    mine = page.locator(".st-key-approve_mine button")
    usable = mine.and_(page.locator("button:not([disabled])"))
    slider.press("ArrowLeft" if proposed > 1 else "ArrowRight")
    usable.click()
    page.get_by_role("dialog").get_by_text("24 → ").first.wait_for()
    page.locator(".st-key-confirm button").click()
    page.get_by_text("It is applied").first.wait_for()

    after = show(services, run)
    assert proposed != after["state_dims"][0] < 24 and after["state"] == "running"

    page.goto(f"{services.url}/run?run={run}")
    page.locator(".st-key-state_dims").get_by_text("from 24, 24").first.wait_for()
    first = show(services, run)["step"]
    until(lambda: show(services, run)["step"] > first)  # training goes on

    page.goto(f"{services.url}/checkpoints?run={run}")
    ready(page)
    page.locator(".st-key-rollback button").first.click()
    page.locator(".st-key-confirm_rollback button").click()
    page.get_by_text("branch 1").first.wait_for()
    page.get_by_text("applied at step").first.wait_for()
    back = show(services, run)
    assert back["branch"] == 1 and back["state_dims"] == [24, 24]
    assert {branch["number"] for branch in back["branches"]} == {0, 1}

    page.goto(f"{services.url}/run?run={run}")
    page.locator(".st-key-state_dims").get_by_text("24, 24").first.wait_for()
    page.locator(".st-key-stop button").click()
    page.get_by_text("stopped", exact=False).first.wait_for()
    assert page.problems == []
    services.command("verify", run)
