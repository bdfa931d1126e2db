"""The server from outside: who is let in, by which address, what is sent along, what is closed again."""

import contextlib
import functools
import http.server
import re
import threading
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.end_to_end import attack_table
from tests.end_to_end.conftest import Services, new_context
from tests.waiting import PATIENCE_S, until

HOSTILE = """
<!doctype html><title>another page</title><script>
async function takeover(host) {
  const opened = {};
  for (const path of ["_stcore/stream", "api/push"])
    opened[path] = await new Promise((resolve) => {
      const socket = new WebSocket(`ws://${host}/${path}`);
      socket.onopen = () => resolve(true);
      socket.onclose = () => resolve(false);
    });
  opened.picture = await new Promise((resolve) => {
    const image = new Image();
    image.onload = () => resolve(true);
    image.onerror = () => resolve(false);
    image.src = `http://${host}/app/static/logo.svg`;
  });
  opened.read = await fetch(`http://${host}/_stcore/host-config`, {credentials: "include"})
    .then(() => true, () => false);
  await fetch(`http://${host}/sign-out`, {method: "POST", mode: "no-cors", credentials: "include"})
    .catch(() => null);
  return opened;
}
</script>
"""


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    """The dashboard alone."""
    running = Services(tmp_path_factory.mktemp("runs"))
    running.start(worker=False)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def visitors(services):
    """Headers of each kind of visitor."""
    return attack_table.headers_of(services)


@pytest.mark.parametrize("surface", attack_table.SURFACES)
def test_each_surface_gives_each_visitor_what_is_meant(services, visitors, surface):
    found = {
        (visitor, origin): str(attack_table.attack(services.port, surface, origin, visitors[visitor]))
        for visitor in attack_table.VISITORS
        for origin in attack_table.ORIGINS
    }
    assert found == {key: attack_table.expected(surface, *key) for key in found}
    assert services.outside.asked == [], "somebody outside of this machine was asked"


def test_settings_of_elsewhere_weaken_nothing(services, visitors):
    """Services starts with variables and files that switch off all that Streamlit protects by."""
    owner = visitors["owner's token"]
    agent = attack_table.ask(
        services.port, "POST", "/_stcore/agent/interact", {"Host": services.host, **owner}
    )
    assert agent.is_in and agent.status in (403, 404)
    upload = attack_table.ask(
        services.port, "PUT", "/_stcore/upload_file/a/b", {"Host": services.host, **owner}
    )
    assert upload.is_in and upload.status == 403


def listening(services, headers, path="/_stcore/stream"):
    address = f"ws://{services.host}{path}"
    return connect(address, origin=services.url, additional_headers=headers, proxy=None, compression=None)


@pytest.mark.parametrize("path", ["/_stcore/stream", "/api/push"])
def test_a_frame_that_is_too_large_closes_the_socket(services, visitors, path):
    with listening(services, visitors["owner"], path) as socket:
        with contextlib.suppress(ConnectionClosed):
            socket.send(b"x" * (2 * 1024 * 1024))
        with pytest.raises(ConnectionClosed) as caught:
            read_on(socket)
        assert caught.value.rcvd.code == 1009


def read_on(socket):
    while True:
        socket.recv(PATIENCE_S)


@pytest.mark.parametrize("end", ["revoke", "sign out"])
def test_an_open_socket_ends_with_its_session(services, end):
    token = services.command("token", "create", "cy", "--role", "operator").strip()
    headers = {"Cookie": f"hankelboard-{services.port}={services.session(token)}"}
    with (
        listening(services, headers) as mine,
        listening(services, {"Authorization": f"Bearer {services.token}"}),
    ):
        if end == "revoke":
            services.command("token", "revoke", "cy")
        else:
            out = {"Host": services.host, "Origin": services.url, **headers}
            assert attack_table.ask(services.port, "POST", "/sign-out", out).status == 303
            services.command("token", "revoke", "cy")
        mine.send(b"")
        with pytest.raises(ConnectionClosed) as caught:
            read_on(mine)
        assert caught.value.rcvd.code == 1008
        assert not attack_table.ask(services.port, "GET", "/", {"Host": services.host, **headers}).is_in


def test_the_token_is_in_no_command_line(services):
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert any(b"hankelboard.app" in line for line in lines), "the web process was not seen"
    assert not [line for line in lines if services.token.encode() in line]


@pytest.fixture(scope="module")
def another_port(tmp_path_factory):
    """The address of a page that somebody else serves on this machine."""
    folder = tmp_path_factory.mktemp("another")
    (folder / "index.html").write_text(HOSTILE)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.browser
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_page_of_another_port_gets_nothing_from_a_browser_that_is_signed_in(
    services, page, another_port, name
):
    page.goto(f"http://{name}:{another_port}/")
    got = page.evaluate("host => takeover(host)", services.host)
    assert got == {"_stcore/stream": False, "api/push": False, "picture": False, "read": False}
    page.goto(services.url)
    page.get_by_text("Runs").first.wait_for()  # and the owner is still signed in


@pytest.mark.browser
def test_the_printed_address_opens_the_dashboard_and_the_token_leaves_the_address_bar(services, browser):
    printed = services.url + re.search(r"/\?token=\S+", (services.runs / "web.log").read_text())[0]
    mine, other = new_context(browser), new_context(browser)
    try:
        page = mine.new_page()
        page.goto(printed)
        page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        assert page.url == f"{services.url}/" and services.token not in page.content()
        (cookie,) = [each for each in mine.cookies() if each["name"].startswith("hankelboard-")]
        assert (
            cookie["httpOnly"] and cookie["sameSite"] == "Lax" and cookie["name"].endswith(str(services.port))
        )
        assert page.evaluate("document.cookie").count("hankelboard") == 0
        stranger = other.new_page()
        assert stranger.goto(f"{services.url}/run?run=x").status == 401
        stranger.get_by_label("Token").fill("a wrong one that is long enough")
        stranger.get_by_role("button", name="Sign in").click()
        stranger.get_by_role("alert").wait_for()
        stranger.get_by_label("Token").fill(services.token)
        stranger.get_by_role("button", name="Sign in").click()
        stranger.locator("[data-testid=stApp]").wait_for()
        assert stranger.url == f"{services.url}/run?run=x"
    finally:
        mine.close()
        other.close()


@pytest.mark.browser
def test_an_open_tab_ends_with_its_token(services, browser):
    token = services.command("token", "create", "di", "--role", "viewer").strip()
    context = services.sign_in(new_context(browser), token)
    try:
        page = context.new_page()
        page.goto(services.url)
        page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        services.command("token", "revoke", "di")
        (services.runs / "something-new").mkdir()
        until(lambda: page.evaluate("fetch('/_stcore/host-config').then(answer => answer.status)") == 401)
        assert page.reload().status == 401
        page.get_by_label("Token").wait_for()
    finally:
        context.close()


def test_health_says_that_it_lives_and_nothing_else(services):
    answer = attack_table.ask(services.port, "GET", "/_stcore/health", {"Host": services.host})
    assert answer.status == 200
