"""The dashboard behind nginx, in Chromium: every page, live updates, sign-in. Run: make integrations"""

import contextlib
import os
import subprocess
import sys
import urllib.request
from urllib.parse import urlencode, urlsplit

import pytest

from hankelboard.app.pages import PAGES
from tests.app.synthetic_run import SyntheticRun
from tests.end_to_end.conftest import browser as browser  # a fixture
from tests.end_to_end.conftest import new_context
from tests.integrations.proxy import PATHS, Nginx, free_ports
from tests.waiting import PATIENCE_S, until

TOKEN = "a token that the tests chose"


def entrance(addresses, token_file):
    """What the server is told about its proxies and its owner's token."""
    urls = [f"--url={addresses[way]}" for way in PATHS]
    return [f"--token-file={token_file}", "--proxy=127.0.0.1", *urls]


def signed_in(address):
    return f"{address}?{urlencode({'token': TOKEN})}"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def addresses(runs, tmp_path_factory):
    """Each way to one dashboard."""
    folder = tmp_path_factory.mktemp("nginx")
    (upstream,) = free_ports(1)
    proxy = Nginx(folder, upstream)
    (folder / "token").touch(0o600)
    (folder / "token").write_text(TOKEN, encoding="utf-8")
    command = [sys.executable, "-P", "-m", "hankelboard", "web", "--port", str(upstream)]
    environment = {**os.environ, "HANKELBOARD_RUNS": str(runs), "HANKELBOARD_STATE": str(folder / "state")}
    with (folder / "web.log").open("wb") as log:
        web = subprocess.Popen(
            [*command, *entrance(proxy.addresses, folder / "token")], env=environment, stdout=log, stderr=log
        )
    try:
        until(lambda: answers(web, upstream, folder / "web.log"), every_s=0.2)
        proxy.start()
        yield proxy.addresses
        proxy.stop()
    finally:
        web.terminate()
        web.wait(PATIENCE_S)


def answers(web, port, log):
    assert web.poll() is None, log.read_text(encoding="utf-8")
    with contextlib.suppress(OSError):
        address = f"http://127.0.0.1:{port}/_stcore/health"
        return urllib.request.urlopen(address, timeout=PATIENCE_S).status == 200
    return False


@pytest.fixture(params=PATHS)
def way(request):
    return request.param


class Pushes:
    """The push sockets of a tab: where they were opened, and what came through them."""

    def __init__(self, page):
        self.addresses, self.heard = [], []
        page.on("websocket", self._opened)

    def _opened(self, socket):
        if "/api/push" in socket.url:
            self.addresses.append(socket.url)
            socket.on("framereceived", lambda frame: self.heard.append(frame))


@pytest.fixture
def tab(browser, addresses, way):
    """A tab that came in by one way and is signed in; the address of its root."""
    context = new_context(browser, ignore_https_errors=True, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.goto(signed_in(addresses[way]))
    page.get_by_test_id("stAppViewContainer").wait_for()
    yield page, addresses[way]
    context.close()


def shown(page, name):
    """Wait until a page of the dashboard stands there whole, without an error on it."""
    page.get_by_test_id("stAppViewContainer").wait_for()
    page.locator("[data-test-script-state=notRunning]").wait_for(state="attached")
    page.locator("h1, h2, h3").first.wait_for()
    assert page.locator("[data-testid=stException]").count() == 0, name


def test_every_page_is_shown_from_its_address_and_from_the_side_bar(tab, runs):
    page, root = tab
    run = SyntheticRun(runs, "behind a proxy", queued=False).start()
    run.train(100)
    for row in PAGES:
        name = "" if row.default else row.name
        page.goto(f"{root}{name}?run={run.id}" if row.of_one_run else f"{root}{name}")
        shown(page, row.name)
        assert page.url.startswith(root)
    page.get_by_role("link", name="Glossary").first.click()
    page.wait_for_url(f"{root}glossary*")
    shown(page, "glossary")
    assert page.problems == []


def test_live_updates_arrive_by_push(tab, way, runs):
    page, root = tab
    if way == "without push":
        pytest.skip("there is none")
    pushes = Pushes(page)
    run = SyntheticRun(runs, "live", queued=False).start()
    run.train(100)
    page.goto(f"{root}run?run={run.id}")
    page.get_by_text("step 100 of").wait_for()
    until(lambda: page.wait_for_timeout(50) or pushes.addresses)
    assert {address.split("?")[0] for address in pushes.addresses} == {f"ws{root[4:]}api/push"}
    run.train(900)
    page.get_by_text("step 900 of").wait_for()
    until(lambda: page.wait_for_timeout(50) or pushes.heard)
    assert page.get_by_text("Live updates do not come through").count() == 0


def test_a_proxy_that_refuses_push_is_said_and_the_page_goes_on(tab, way, runs):
    page, root = tab
    if way != "without push":
        pytest.skip("push comes through")
    run = SyntheticRun(runs, "slow", queued=False).start()
    run.train(100)
    page.goto(f"{root}run?run={run.id}")
    page.get_by_text("Live updates do not come through").wait_for()
    run.train(900)
    page.get_by_text("step 900 of").wait_for()


def test_the_cookie_is_of_this_place_and_signing_out_ends_the_session(tab, way):
    page, root = tab
    (cookie,) = [each for each in page.context.cookies() if each["name"].startswith("hankelboard-")]
    assert cookie["secure"] == root.startswith("https://")
    assert cookie["path"].rstrip("/") == urlsplit(root).path.rstrip("/")
    page.goto(f"{root}sign-out")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Token").wait_for()
    assert page.url == root
