"""The door: which requests are refused, who is let in, what a token is exchanged for.

Played as the ASGI server would, without a network: end_to_end/test_attacks.py asks the real thing.
"""

import asyncio
import base64
import errno
import hashlib
import tomllib
from pathlib import Path
from urllib.parse import urlencode

import pytest
import streamlit as st

from hankelboard.access import sessions, tokens
from hankelboard.access.entrance import Entrance
from hankelboard.access.roles import Role, Visitor
from hankelboard.app import door
from hankelboard.app.data import visitors
from hankelboard.app.door.guard import Guard
from hankelboard.app.door.sockets import WatchedSocket

HERE = "127.0.0.1:8501"
OWN = f"http://{HERE}"
COOKIE = "hankelboard-8501"


@pytest.fixture(autouse=True)
def options(monkeypatch):
    """What `hankelboard web` says: listen on loopback, and ask for tokens."""
    options = {"server.address": "127.0.0.1", "server.port": 8501}
    monkeypatch.setattr(st, "get_option", options.get)
    monkeypatch.delenv("HANKELBOARD_NO_TOKEN")
    return options


@pytest.fixture
def say(monkeypatch):
    """What else the command line said."""

    def said(**keys):
        for name, value in Entrance(**keys).variables().items():
            monkeypatch.setenv(name, value)

    return said


class Page:
    """Stands for Streamlit: notes what came through."""

    def __init__(self):
        self.scopes = []

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a page"})


class Answer:
    """What came back, and whether Streamlit was asked."""

    def __init__(self, sent, page):
        self.status = sent[0].get(
            "status", {"websocket.accept": 101, "websocket.close": 403}.get(sent[0]["type"])
        )
        self.headers = [(key.decode(), value.decode()) for key, value in sent[0].get("headers", [])]
        self.body = b"".join(message.get("body", b"") for message in sent).decode()
        self.reached = bool(page.scopes)
        self.seen = page.scopes[0] if page.scopes else None

    def header(self, name):
        return next((value for key, value in self.headers if key == name), None)


def ask(path="/", *, method="GET", host=HERE, body=b"", query=b"", **keys):
    """One request: headers by their name with _ for -, and where it came from and arrived."""
    place = {name: keys.pop(name) for name in ("server", "client", "scheme") if name in keys}
    kind = "websocket" if method == "SOCKET" else "http"
    headers = [("host", host), *((name.replace("_", "-"), value) for name, value in keys.items())]
    scope = {
        "type": kind, "path": path, "query_string": query, "http_version": "1.1", "subprotocols": [],
        "server": ("127.0.0.1", 8501), "client": ("127.0.0.1", 40_000),
        "scheme": "ws" if kind == "websocket" else "http",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers if value is not None],
        **({"method": method} if kind == "http" else {}), **place,
    }  # fmt: skip
    sent, page = [], Page()

    async def receive():
        if kind == "websocket":
            return {"type": "websocket.connect"}
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    asyncio.run(Guard(page)(scope, receive, send))
    return Answer(sent, page)


@pytest.fixture
def owner():
    """Headers of a browser that is signed in as the owner."""
    return {"cookie": f"{COOKIE}={sessions.begin(tokens.owner_token())}"}


# Every answer.


@pytest.mark.parametrize("path", ["/", "/no-such-page"])
def test_every_page_carries_a_policy_that_lets_no_foreign_script_run(owner, path):
    answer = ask(path, **owner)
    policy = answer.header("content-security-policy")
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'self'" and directives["object-src"] == "'none'"
    assert "unsafe" not in directives["script-src"] and "*" not in policy
    assert directives["frame-ancestors"] == "'none'" and answer.header("x-frame-options") == "DENY"
    assert directives["connect-src"] == f"'self' ws://{HERE} wss://{HERE}"
    assert answer.header("x-content-type-options") == "nosniff"


def test_what_the_door_answers_itself_loads_nothing_and_is_kept_nowhere():
    answer = ask()
    assert answer.header("content-security-policy").startswith(
        "default-src 'none'; style-src 'unsafe-inline'"
    )
    assert answer.header("cache-control") == "no-store" and answer.header("x-frame-options") == "DENY"
    assert not [part for part in ("http:", "https:", "src=", "url(", "<script") if part in answer.body]


def test_the_inline_scripts_of_streamlits_page_are_let_through_and_no_others(owner):
    page = (Path(st.__file__).parent / "static" / "index.html").read_text()
    inline = [part.split("</script>")[0] for part in page.split("<script>")[1:]]
    expected = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in inline]
    policy = ask(**owner).header("content-security-policy")
    assert policy.count("'sha256-") == len(expected)
    assert all(f"'sha256-{digest}'" in policy for digest in expected)


STATED = {
    "server": {
        "address": "127.0.0.1", "baseUrlPath": "", "enableXsrfProtection": True, "enableCORS": True,
        "corsAllowedOrigins": [], "allowedHosts": [], "trustedUserHeaders": {}, "xsrfCookieSameSite": "Lax",
        "enableAgentApi": False, "scriptHealthCheckEnabled": False, "fileWatcherType": "none",
        "enableWebsocketCompression": False, "maxWidgetStateSize": 1, "maxUploadSize": 1,
        "unsafeMetricsUserAttributes": [], "sslCertFile": "", "sslKeyFile": "",
    },
    "client": {"showErrorDetails": "none", "allowedOrigins": []},
    "secrets": {"files": []},
    "global": {"developmentMode": False},
    "browser": {"gatherUsageStats": False},
}  # fmt: skip


@pytest.mark.parametrize("section", STATED)
def test_the_configuration_says_what_protects_so_that_no_other_one_changes_it(section):
    file = Path(door.__file__).parents[1] / ".streamlit" / "config.toml"
    assert tomllib.loads(file.read_text())[section].items() >= STATED[section].items()


# By which name the server is asked.

FOREIGN = ("evil.example", "evil.example:8501", "localhost.evil.example", "127.0.0.1.evil.example", "", "a b",
           "localhost:8501:1", "localhost; script-src *", "localhost\r\nx: y", "[::1", "127.0.0.2:8501",
           "localhost@evil.example", "lócalhost", "localhost:99999", "0.0.0.0", "[::1]:8501")  # fmt: skip


@pytest.mark.parametrize("host", FOREIGN)
def test_a_foreign_name_is_refused_whoever_asks(owner, host):
    answer = ask(host=host, **owner)
    assert answer.status == 421 and not answer.reached


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8501", "LOCALHOST:8501", "localhost"])
def test_its_own_names_are_served(owner, host):
    assert ask(host=host, **owner).status == 200


def test_on_a_network_it_answers_to_the_address_that_a_request_came_to_and_to_the_names_of_the_machine(
    owner, options, monkeypatch
):
    monkeypatch.setattr("socket.gethostname", lambda: "Lab.example")
    options["server.address"] = "0.0.0.0"
    there = {"server": ("192.0.2.7", 8501), **owner}
    served = ("192.0.2.7:8501", "lab.example:8501", "lab", "lab.local")
    assert [ask(host=host, **there).status for host in served] == [200] * 4
    refused = ("127.0.0.1:8501", "localhost:8501", "192.0.2.8:8501", "evil.example")
    assert [ask(host=host, **there).status for host in refused] == [421] * 4
    options["server.address"] = "127.0.0.1"
    assert ask(host="lab.example", **owner).status == 421


def test_an_address_of_the_newer_protocol_is_the_same_however_it_is_written(owner):
    assert ask(host="[0:0:0:0:0:0:0:1]:8501", server=("::1", 8501), **owner).status == 200
    assert ask(host="127.0.0.1:8501", server=("::ffff:127.0.0.1", 8501), **owner).status == 200


def test_names_that_the_command_line_gave_are_served(owner, say):
    say(allowed_hosts=("board.example",), urls=("https://hub.example/user/ada",))
    assert (
        ask(host="Board.example:80", **owner).status == 200 and ask(host="hub.example", **owner).status == 200
    )
    assert ask(host="evil.example", **owner).status == 421


# From which page.

FOREIGN_ORIGINS = ("http://evil.example", "http://127.0.0.1:3000", "http://127.0.0.1", "null", "",
                   f"https://{HERE}", f"http://evil.example/{HERE}", f"{OWN}.evil.example", f"{OWN}/", "http://localhost:8501",
                   "file://", f"{OWN} http://evil.example", f"ws://{HERE}")  # fmt: skip


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
@pytest.mark.parametrize(
    ("method", "path"),
    [("SOCKET", "/_stcore/stream"), ("SOCKET", "/api/push"), ("POST", "/sign-in"),
     ("PUT", "/_stcore/upload_file/a/b"), ("GET", "/_stcore/health"), ("OPTIONS", "/")],
)  # fmt: skip
def test_other_pages_are_refused_whoever_looks_at_them(owner, origin, method, path):
    answer = ask(path, method=method, origin=origin, **owner)
    assert answer.status == 403 and not answer.reached


@pytest.mark.parametrize("method", ["SOCKET", "POST", "DELETE"])
def test_without_an_origin_a_token_is_needed_and_a_cookie_is_none(owner, method, say):
    assert ask(method=method, **owner).status == 403
    bearer = {"authorization": f"Bearer {tokens.owner_token()}"}
    assert ask(method=method, **bearer).reached and not ask(method=method, authorization="Bearer no").reached
    say(no_token=True)
    assert ask(method=method).status == 403


def test_two_origins_are_none(owner):
    assert ask(method="SOCKET", origin=OWN, **owner).status == 101
    assert ask(method="SOCKET", origin=OWN, Origin=OWN, **owner).status == 403


@pytest.mark.parametrize(
    ("site", "mode", "status"),
    [("cross-site", "no-cors", 403), ("same-site", "no-cors", 403), ("same-site", "cors", 403),
     ("cross-site", "navigate", 200), ("same-origin", "no-cors", 200), ("none", "navigate", 200)],
)  # fmt: skip
def test_a_page_of_another_origin_shows_no_picture_and_runs_no_script_of_ours(owner, site, mode, status):
    assert ask("/media/a.png", sec_fetch_site=site, sec_fetch_mode=mode, **owner).status == status


def test_streamlit_sees_an_origin_that_it_asks_nobody_about(owner, say):
    say(urls=("https://hub.example/user/ada",))
    answer = ask("/_stcore/stream", method="SOCKET", origin="https://hub.example", **owner)
    assert dict(answer.seen["headers"])[b"origin"] == OWN.encode()


# Behind a proxy.


def test_a_proxy_that_rewrites_the_host_needs_its_address_said(owner, say):
    foreign = {"method": "SOCKET", "origin": "https://hub.example", **owner}
    assert ask(**foreign).status == 403
    say(urls=("https://hub.example/user/ada",))
    assert ask(**foreign).status == 101
    assert "wss://hub.example" in ask(**owner).header("content-security-policy")


def test_forwarded_headers_count_from_a_proxy_that_was_named_only(owner, say):
    forwarded = {"x_forwarded_host": "hub.example", "x_forwarded_proto": "https", **owner}
    asked = {"method": "SOCKET", "origin": "https://hub.example", **forwarded}
    say(allowed_hosts=("hub.example",))
    assert ask(client=("192.0.2.1", 1), **asked).status == 403
    say(allowed_hosts=("hub.example",), proxies=("192.0.2.1",))
    assert ask(client=("192.0.2.1", 1), **asked).status == 101
    assert ask(client=("192.0.2.2", 1), **asked).status == 403
    say(allowed_hosts=("other.example",), proxies=("192.0.2.1",))
    assert ask(client=("192.0.2.1", 1), **forwarded).status == 421


@pytest.mark.parametrize(("scheme", "proxies"), [("https", ()), ("http", ("127.0.0.1",))])
def test_the_cookie_is_sent_by_encrypted_connections_only_if_it_came_by_one(say, scheme, proxies):
    say(proxies=proxies)
    query = urlencode({"token": tokens.owner_token()}).encode()
    answer = ask(query=query, scheme=scheme, x_forwarded_proto="https")
    assert "; Secure" in answer.header("set-cookie")


# Who.


@pytest.mark.parametrize(
    "path", ["/", "/run", "/static/js/index.js", "/media/x.png", "/_stcore/metrics", "/_stcore/host-config",
             "/_stcore/agent/openapi.json", "/app/static/logo.svg", "/api/push", "/_stcore/health/", "//"]
)  # fmt: skip
def test_who_comes_without_a_token_gets_one_quiet_page_whatever_is_asked(path):
    answer = ask(path)
    assert answer.status == 401 and not answer.reached and 'name="token"' in answer.body
    assert "hankelboard open --port 8501" in answer.body and str(tokens.owner_file()) in answer.body


def test_the_page_names_a_file_of_somebodys_choice_as_text(say, tmp_path):
    say(token_file=tmp_path / "<b>a file")
    answer = ask()
    assert "<b>" not in answer.body and "--token-file &#x27;" in answer.body


def test_health_alone_is_open():
    assert ask("/_stcore/health").reached and ask("/_stcore/health", method="HEAD").reached
    assert not ask("/_stcore/health", method="POST", origin=OWN).reached
    assert not ask("/_stcore/health", method="SOCKET", origin=OWN).reached


@pytest.mark.parametrize("method", ["SOCKET", "POST", "PUT"])
def test_nobody_acts_without_signing_in(method):
    assert not ask(method=method, origin=OWN).reached


def test_a_token_in_the_address_becomes_a_cookie_and_leaves_the_address():
    token = tokens.owner_token()
    answer = ask("/run", query=urlencode({"run": "a b", "token": token, "x": "&"}).encode())
    assert answer.status == 303 and answer.header("location") == "./run?run=a+b&x=%26"
    assert answer.header("referrer-policy") == "no-referrer" and answer.header("cache-control") == "no-store"
    name, _, rest = answer.header("set-cookie").partition("=")
    value, *attributes = rest.split("; ")
    assert name == COOKIE and set(attributes) == {"HttpOnly", "SameSite=lax"}
    assert token not in rest and sessions.visitor_of(value) == Visitor("ada", Role.OWNER)
    assert ask(cookie=f"{COOKIE}={value}").reached


def test_a_token_that_is_signed_in_already_begins_no_second_session(owner):
    answer = ask(query=urlencode({"token": tokens.owner_token()}).encode(), **owner)
    assert answer.status == 303 and answer.header("location") == "./" and answer.header("set-cookie") is None


def test_who_signs_in_by_another_token_is_that_one_from_then_on(owner):
    answer = ask(query=urlencode({"token": tokens.create("bo", Role.VIEWER)}).encode(), **owner)
    value = answer.header("set-cookie").partition("=")[2].partition(";")[0]
    assert sessions.visitor_of(value) == Visitor("bo", Role.VIEWER)


@pytest.mark.parametrize("how", ["address", "form", "header"])
def test_a_wrong_token_is_refused_and_is_not_shown_again(how):
    tokens.owner_token()
    answer = {
        "address": lambda: ask("/run", query=b"token=wrong-one"),
        "form": lambda: sign_in("wrong-one"),
        "header": lambda: ask(authorization="Bearer wrong-one"),
    }[how]()
    assert answer.status == 403 and not answer.reached and answer.header("set-cookie") is None
    assert "not valid" in answer.body and "wrong-one" not in answer.body


def test_a_folder_of_state_that_takes_nothing_is_named(monkeypatch):
    token = tokens.owner_token()
    monkeypatch.setattr(sessions.private_files, "create_record", full)
    answer = sign_in(token)
    assert answer.status == 503 and "No space left" in answer.body and answer.header("set-cookie") is None


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def sign_in(token, next_="./run?run=x", path="/sign-in"):
    return ask(path, method="POST", origin=OWN, body=urlencode({"token": token, "next": next_}).encode())


def test_the_form_leads_to_where_one_wanted_to_go():
    answer = sign_in(f" {tokens.owner_token()}\n")
    assert answer.status == 303 and answer.header("location") == "./run?run=x"
    assert "HttpOnly" in answer.header("set-cookie")


@pytest.mark.parametrize(
    "next_", ["http://evil.example", "//evil.example", "/\\evil.example", "", "js:x", "./\r\nx: y", "./ü"]
)  # fmt: skip
def test_the_form_leads_nowhere_else(next_):
    assert sign_in(tokens.owner_token(), next_).header("location") == "./"


@pytest.mark.parametrize("body", [b"x" * 100_000, b"token=%ff%fe", b"\xff\xfe", b"", b"next=./"])
def test_a_form_that_is_none_is_refused(body):
    answer = ask("/sign-in", method="POST", origin=OWN, body=body)
    assert answer.status in (400, 403) and not answer.reached


@pytest.mark.parametrize("path", ['/"><script>alert(1)</script>', "/a:b", "/<b>", "/run"])
def test_what_was_asked_for_is_no_part_of_the_page(path):
    answer = ask(path, query=b'run="><script>alert(1)</script>')
    assert "<script" not in answer.body and "<b>" not in answer.body
    assert 'name="next" value="./' in answer.body


def test_sign_out_ends_the_session_in_every_tab(owner):
    assert ask("/sign-out", **owner).status == 200 and ask(**owner).reached
    assert ask("/sign-out", method="POST", **owner).status == 403 and ask(**owner).reached
    answer = ask("/sign-out", method="POST", origin=OWN, **owner)
    assert (
        answer.status == 303
        and answer.header("location") == "./"
        and "Max-Age=0" in answer.header("set-cookie")
    )
    assert ask(**owner).status == 401


def test_a_read_only_dashboard_has_viewers_only(owner, say):
    say(read_only=True)
    cookies = {COOKIE: owner["cookie"].partition("=")[2]}
    assert visitors.visitor_with(cookies, None) == Visitor("ada", Role.VIEWER)
    say(no_token=True)
    assert visitors.visitor_with({}, None) == Visitor("ada", Role.VIEWER)


def test_a_password_that_a_proxy_asks_for_does_not_hide_the_session(owner):
    assert ask(authorization="Basic YTpi", **owner).reached
    assert not ask(authorization="Basic YTpi").reached


# A socket that is open.


def watched(is_welcome, incoming, most_bytes=10):
    """Play messages to a socket; return what the application got, and what the browser."""
    sent, queue = [], list(incoming)

    async def receive():
        return queue.pop(0)

    async def send(message):
        sent.append(message)

    return WatchedSocket(receive, send, is_welcome, most_bytes), sent


def test_a_socket_whose_session_ended_gets_nothing_through_in_either_direction():
    welcome = [True]
    message = {"type": "websocket.receive", "bytes": b"click"}
    socket, sent = watched(lambda: welcome[0], [message, message, message])

    async def use():
        first = await socket.receive()
        await socket.send({"type": "websocket.send", "text": "changed"})
        welcome[0] = False
        second = await socket.receive()
        await socket.send({"type": "websocket.send", "text": "changed"})
        return first, second

    first, second = asyncio.run(use())
    assert first == message and second == {"type": "websocket.disconnect", "code": 1008}
    assert sent == [{"type": "websocket.send", "text": "changed"}, {"type": "websocket.close", "code": 1008}]


def test_a_push_to_who_is_not_welcome_any_more_closes_the_socket():
    socket, sent = watched(lambda: False, [])
    for _ in range(2):
        asyncio.run(socket.send({"type": "websocket.send", "text": "changed"}))
    assert sent == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize("content", [{"bytes": b"x" * 11}, {"text": "x" * 11}, {"text": "王" * 4}])
def test_a_message_that_is_too_large_closes_the_socket(content):
    socket, sent = watched(lambda: True, [{"type": "websocket.receive", **content}])
    assert asyncio.run(socket.receive()) == {"type": "websocket.disconnect", "code": 1009}
    assert sent == [{"type": "websocket.close", "code": 1009}]
