"""What a person does is never lost to a refresh of the page (app/live/pulse.py says why it could be)."""

import contextlib
import itertools
import threading

import pytest

from tests.app.synthetic_run import SyntheticRun
from tests.end_to_end.test_traffic import ONLY_WHEN_TOLD
from tests.waiting import until

pytestmark = pytest.mark.browser


@contextlib.contextmanager
def always_changing(run):
    """A run that writes something every 30 ms: the pages about it are told so without end."""
    ending = threading.Event()

    def write():
        for step in itertools.count(210, 10):
            if ending.wait(0.03):
                return
            run.train(step)
            run.status("waiting_for_decision")

    writing = threading.Thread(target=write)
    writing.start()
    try:
        yield
    finally:
        ending.set()
        writing.join()


def test_no_key_and_no_click_is_lost_while_a_run_changes_all_the_time(services, page):
    run = SyntheticRun(services.runs, "restless", queued=False).start()
    run.train(200)
    run.propose()
    run.status("waiting_for_decision")
    with always_changing(run):
        page.goto(f"{services.url}/truncation?run={run.id}")
        slider = page.locator("[class*=st-key-rank_0]").get_by_role("slider")
        slider.wait_for()
        value = page.locator("[class*=st-key-rank_0] input")
        proposed = rank = int(value.get_attribute("aria-valuetext"))
        dialog = page.get_by_role("dialog")
        for _ in range(6):
            slider.press("ArrowLeft")
            rank -= 1
            page.locator(".st-key-approve_mine").get_by_text(f"→ {rank},").wait_for()
            page.wait_for_timeout(300)
            assert value.get_attribute("aria-valuetext") == str(rank)
            page.locator(".st-key-approve_mine button").click()
            dialog.get_by_text(f"→ {rank}").first.wait_for()
            page.locator(".st-key-cancel button").click()
            dialog.wait_for(state="hidden")
        page.locator(".st-key-reset_ranks button").click()
        page.locator(f"[class*=st-key-rank_0] input[aria-valuetext='{proposed}']").wait_for(state="attached")
        assert page.problems == []
        # And the page is still live when nobody acts.
        page.goto(f"{services.url}/run?run={run.id}")
        told = page.locator("[data-testid=stProgress]").first
        before = told.inner_text()
        until(lambda: told.inner_text() != before)


def test_a_log_that_is_opened_is_live_at_once_whatever_was_written_while_it_was_closed(services, page):
    run = SyntheticRun(services.runs, "talks", queued=False).start()
    log = services.runs / run.id / "log.txt"
    log.write_text("one\n")
    page.add_init_script(ONLY_WHEN_TOLD)
    page.goto(f"{services.url}/run?run={run.id}")
    page.get_by_text("Training started").wait_for()
    page.wait_for_timeout(1500)
    log.write_text("one\ntwo\n")  # the closed log waits long before it looks again
    page.wait_for_timeout(1500)
    page.locator(".st-key-log summary").click()
    page.get_by_text("two", exact=True).wait_for()
    page.wait_for_timeout(1500)
    log.write_text("one\ntwo\nthree\n")
    page.get_by_text("three").wait_for(timeout=30_000)
    assert page.problems == []


def test_a_run_that_is_renamed_has_its_new_name_in_the_title_at_once(services, page):
    run = SyntheticRun(services.runs, "old name", queued=False).start()
    page.goto(f"{services.url}/run?run={run.id}")
    page.get_by_role("heading", name="old name").wait_for()
    page.get_by_role("button", name="More").first.click()
    name = page.locator(".st-key-rename input")
    name.fill("new name")
    name.press("Enter")
    page.get_by_role("heading", name="new name").wait_for(timeout=30_000)
    assert page.problems == []
