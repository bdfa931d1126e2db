"""Two people at one proposal, a policy changed in the browser, and a copy that can only be read."""

import shutil
import stat

import pytest

from hankelboard.app.pages import of_one_run
from hankelboard.storage.history import read_history
from hankelboard.storage.layout import STRAY_PREFIX, run_paths
from hankelboard.storage.runs import list_runs
from tests.end_to_end.conftest import new_context
from tests.trainer.small_run import ENDLESS, SmallRun

pytestmark = pytest.mark.browser

LONG = {"training": {"steps": ENDLESS}, "reduction": {"policy": "ask", "steps": [20, 60]}}


def ready(page):
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()


def open_dialog(page, services, run, button):
    page.goto(f"{services.url}/truncation?run={run.paths.run_id}")
    ready(page)
    page.locator(f".st-key-{button} button").first.click()
    page.locator(".st-key-confirm button").wait_for()


def test_two_tabs_decide_at_once_one_wins_and_the_other_is_told(services, browser):
    run = SmallRun(services.runs, **LONG)
    run.wait_pending(1)
    contexts = [services.sign_in(new_context(browser)) for _ in range(2)]
    try:
        first, second = (context.new_page() for context in contexts)
        open_dialog(first, services, run, "approve")
        open_dialog(second, services, run, "reject")
        for page in (first, second):
            page.locator(".st-key-confirm button").click(no_wait_after=True)
        history = run.wait(lambda history: history.proposals[1].state in ("applied", "rejected"))
        approved = history.proposals[1].state == "applied"
        loser, winner = (second, first) if approved else (first, second)
        word = "approved" if approved else "rejected"
        loser.get_by_text(f"proposal 1 was already {word} by ada").first.wait_for()
        winner.get_by_role("dialog").wait_for(state="hidden")
        assert len(run.events("decision_accepted")) == 1
        assert len(list(run.paths.decisions.iterdir())) == 1
    finally:
        for context in contexts:
            context.close()
        run.send("stop")
        run.wait(lambda history: history.state == "stopped")


def test_the_policy_is_changed_on_the_page_and_the_answer_is_shown(services, page):
    run = SmallRun(services.runs, **LONG)
    run.wait_pending(1)
    page.goto(f"{services.url}/run?run={run.paths.run_id}")
    ready(page)
    page.locator(".st-key-more button").first.click()
    page.locator(".st-key-new_policy").get_by_text("keep", exact=True).click()
    change = page.locator(".st-key-policy button")
    change.and_(page.locator("button:not([disabled])")).wait_for()
    change.click()
    page.get_by_text("Change the policy to keep").first.wait_for()
    page.get_by_text("applied at step 20").first.wait_for()
    history = run.wait(lambda history: history.step >= 60)
    assert history.policy == "keep" and history.state_dims == [12, 12]
    assert page.problems == []
    run.send("stop")
    run.wait(lambda history: history.state == "stopped")


def test_a_read_only_copy_without_a_trainer_opens_and_nothing_is_written(services, page):
    run = SmallRun(services.runs, **LONG)
    run.wait_pending(1)
    copy = services.runs / f"copied-{run.paths.run_id}"
    # While the trainer is at work: what it is just building has another name a moment later.
    shutil.copytree(run.paths.root, copy, ignore=shutil.ignore_patterns(f"{STRAY_PREFIX}*"))
    run.send("stop")
    before = contents(copy)
    lock(copy, True)
    try:
        for one in of_one_run():
            page.goto(f"{services.url}/{one.name}?run={copy.name}")
            ready(page)
            page.get_by_text("copied-").first.wait_for()
            assert page.locator("[data-testid=stException]").count() == 0
        page.goto(services.url)
        ready(page)
        assert contents(copy) == before
        assert read_history(run_paths(services.runs, copy.name)).pending().number == 1
        assert page.problems == []
    finally:
        lock(copy, False)
        shutil.rmtree(copy)
    run.wait(lambda history: history.state == "stopped")


def contents(folder):
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


def lock(folder, on):
    """Take the right to write from the whole folder. Root may write all the same, and must not."""
    bits = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
    for path in [folder, *folder.rglob("*")]:
        mode = path.stat().st_mode
        path.chmod(mode & ~bits if on else mode | stat.S_IWUSR)


def test_a_click_after_the_token_was_revoked_does_nothing_and_asks_for_a_token(services, browser):
    token = services.command("token", "create", "bob", "--role", "operator").split()[-1]
    context = services.sign_in(new_context(browser), token)
    page = context.new_page()
    page.goto(f"{services.url}/new_run")
    queue = page.get_by_role("button", name="Queue the run")
    queue.wait_for()
    services.command("token", "revoke", "bob")
    before = list_runs(services.runs)
    queue.click()
    page.locator("input[name=token]").wait_for()
    assert list_runs(services.runs) == before
    context.close()
