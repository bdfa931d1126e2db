"""Where no push comes through, as behind some proxies: a quiet word, a slow refresh, and few questions."""

import pytest

from tests.app.synthetic_run import SyntheticRun

pytestmark = pytest.mark.browser

BLOCKED = """
const Real = WebSocket;
window.blocked = true;
window.asked = [];
window.WebSocket = class extends Real {
  constructor(address, protocols) {
    const push = String(address).includes("/api/push");
    if (push) window.asked.push({address: String(address), at: performance.now()});
    super(push && window.blocked ? String(address).replace("/api/push", "/api/nothing") : address, protocols);
  }
};
"""


def test_a_page_without_push_says_so_asks_less_and_less_and_recovers(services, page):
    run = SyntheticRun(services.runs, "pushless", queued=False).start()
    run.train(200)
    page.add_init_script(BLOCKED)
    page.goto(f"{services.url}/spectra?run={run.paths.run_id}")
    word = page.get_by_text("Live updates do not come through")
    word.wait_for()
    asked = page.evaluate("window.asked")
    assert {ask["address"].split("?")[0] for ask in asked} == {f"ws{services.url[4:]}/api/push"}
    by_region = {}
    for ask in asked:
        by_region.setdefault(ask["address"], []).append(ask["at"])
    _, second, third = max(by_region.values(), key=len)[:3]
    assert third - second > 2300, "it waits longer each time: 1.5 s, 3 s and so on"
    page.evaluate("window.blocked = false; window.dispatchEvent(new Event('online'))")
    word.wait_for(state="detached")
    assert page.problems == []
