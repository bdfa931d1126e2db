"""Commands and options of the door: what is refused, what is handed on, which tokens are made."""

import http.server
import os
import stat
import threading
import webbrowser

import pytest

from hankelboard.access import tokens
from hankelboard.access.entrance import Entrance, entrance
from hankelboard.access.roles import Role, Visitor
from hankelboard.storage import lifeline
from hankelboard.trainer.cli import build_parser, entering, main, serving


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("HANKELBOARD_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("HANKELBOARD_USER", "ada")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "state"


def asked(*arguments):
    return build_parser().parse_args(["web", *arguments])


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--host", "0.0.0.0"], "--allow-network"),
        (["--host", "::"], "--allow-network"),
        (["--host", "192.0.2.1"], "--allow-network"),
        (["--host", "lab"], "--allow-network"),
        (["--host", "0.0.0.0", "--allow-network", "--no-token"], "demands a token"),
        (["--allow-host", "http://lab"], "--allow-host"),
        (["--allow-host", "a b"], "--allow-host"),
        (["--url", "hub.example"], "--url"),
        (["--url", "ftp://hub.example"], "--url"),
        (["--proxy", "hub.example"], "--proxy"),
    ],
)
@pytest.mark.parametrize("command", ["web", "up", "demo"])
def test_what_lets_in_people_who_are_not_meant_is_refused_before_anything_starts(
    command, arguments, why, capsys, tmp_path
):
    assert main([command, "--port", "1", *arguments]) == 2
    assert why in capsys.readouterr().err and not (tmp_path / "runs").exists()


def test_without_a_token_is_said_aloud(capsys):
    entering.check(asked("--no-token"))
    assert "everybody who reaches this port acts as you" in capsys.readouterr().err
    entering.check(asked())
    assert capsys.readouterr().err == ""


def test_web_says_its_address_and_that_nobody_is_asked_unless_up_has_said_it(capsys, monkeypatch):
    monkeypatch.setattr(os, "execve", lambda *_: None)
    monkeypatch.setattr(os, "chdir", lambda folder: None)
    serving.web(asked("--port", "0", "--no-token"))
    said = capsys.readouterr()
    assert "the dashboard: http://127.0.0.1:0/" in said.out and "acts as you" in said.err
    monkeypatch.setenv(lifeline.VARIABLE, "3")
    serving.web(asked("--port", "0", "--no-token"))
    assert capsys.readouterr() == ("", "")


def test_up_hands_on_all_that_it_was_asked_and_no_token():
    arguments = [
        "--host=0.0.0.0", "--port=1234", "--token-file=-t", "--read-only", "--allow-network",
        "--allow-host=lab", "--allow-host=lab.example", "--url=https://a/b", "--proxy=::1",
    ]  # fmt: skip
    options = asked(*arguments)
    passed_on = entering.as_arguments(options)
    assert vars(asked(*passed_on)) == vars(options) and passed_on == arguments


def test_the_environment_says_what_was_asked_and_nothing_that_weakens(tmp_path, monkeypatch):
    monkeypatch.setenv("STREAMLIT_SERVER_ENABLE_XSRF_PROTECTION", "false")
    monkeypatch.setenv("HANKELBOARD_NO_TOKEN", "1")
    monkeypatch.setenv("HANKELBOARD_ALLOWED_HOSTS", "evil.example")
    handed_on = entering.environment(asked("--token-file", "mine", "--proxy", "0:0::1"))
    assert entrance(handed_on) == Entrance(token_file=tmp_path / "mine", proxies=("::1",))
    assert not [name for name in handed_on if name.startswith("STREAMLIT_")] and "PATH" in handed_on


def test_read_only_stays_when_it_was_said_further_out(monkeypatch):
    monkeypatch.setenv("HANKELBOARD_READ_ONLY", "1")
    assert entrance(entering.environment(asked())).read_only


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        ([], "http://127.0.0.1:8501/"),
        (["--host", "::1", "--port", "80"], "http://[::1]:80/"),
        (["--host", "0.0.0.0"], "http://127.0.0.1:8501/"),
        (["--url", "https://hub.example/user/ada"], "https://hub.example/user/ada/"),
    ],
)
def test_the_address_bears_the_token(state, arguments, address):
    printed = entering.address_with_token(asked(*arguments))
    assert printed == f"{address}?token={(state / 'token').read_text().strip()}"
    assert entering.address_with_token(asked("--no-token", *arguments)) == address


def test_tokens_are_made_listed_and_revoked(capsys):
    assert main(["token", "create", "bo", "--role", "viewer", "--days", "3"]) == 0
    token = capsys.readouterr().out.strip()
    assert tokens.verify(token) == Visitor("bo", Role.VIEWER)
    assert main(["token", "create", "cy", "--role", "operator"]) == 0
    assert main(["token", "create", "cy", "--role", "operator"]) == 1
    capsys.readouterr()
    assert main(["token", "list"]) == 0
    listed = capsys.readouterr().out
    assert "bo  viewer  until 2" in listed and "cy  operator  until revoked" in listed and token not in listed
    assert main(["token", "revoke", "bo"]) == 0 and tokens.verify(token) is None
    assert main(["token", "revoke", "bo"]) == 1


@pytest.mark.parametrize("role", ["owner", "god", ""])
def test_no_other_token_is_the_owners(role, capsys):
    with pytest.raises(SystemExit):
        main(["token", "create", "bo", "--role", role])
    assert main(["token", "create", "bo", "--role", "viewer", "--days", "0"]) == 2


def test_rotate_makes_a_new_one_and_does_not_print_it(capsys, tmp_path):
    old, mine = tokens.owner_token(), tokens.owner_token(tmp_path / "mine")
    assert main(["token", "rotate"]) == 0
    assert tokens.verify(old) is None and tokens.owner_token() not in capsys.readouterr().out
    assert tokens.owner_token(tmp_path / "mine") == mine
    assert main(["token", "rotate", "--token-file", "mine"]) == 0
    assert tokens.owner_token(tmp_path / "mine") != mine


@pytest.fixture
def answering():
    """A port that answers, as a dashboard that lives."""
    handler = type("Health", (http.server.BaseHTTPRequestHandler,), {
        "do_GET": lambda self: (self.send_response(200), self.end_headers()), "log_message": lambda *_: None,
    })  # fmt: skip
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield str(server.server_address[1])
        server.shutdown()


def test_open_shows_the_address_where_there_is_no_browser(answering, monkeypatch, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert main(["open", "--port", answering]) == 0
    assert capsys.readouterr().out == f"http://127.0.0.1:{answering}/?token={tokens.owner_token()}\n"


def test_open_starts_a_browser_with_a_file_that_only_its_owner_can_read(answering, monkeypatch, state):
    opened = []
    monkeypatch.setenv("BROWSER", "any")
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    assert main(["open", "--port", answering]) == 0
    page = state / "open.html"
    assert opened == [page.as_uri()] and tokens.owner_token() not in opened[0]
    assert tokens.owner_token() in page.read_text() and stat.S_IMODE(page.stat().st_mode) == 0o600


def test_open_says_when_nothing_is_served(capsys):
    assert main(["open", "--port", "1"]) == 1
    assert "hankelboard up" in capsys.readouterr().err


def test_a_token_that_others_can_read_starts_nothing(state, capsys, monkeypatch):
    tokens.owner_token()
    os.chmod(state / "token", 0o644)  # noqa: PTH101
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("the server was started"))
    assert main(["web", "--port", "0"]) == 1
    assert "chmod 600" in capsys.readouterr().err
