"""Sessions: what a browser holds instead of a token, and when it ends."""

import stat

import pytest

from hankelboard.access import sessions, tokens
from hankelboard.access.entrance import VARIABLES, Entrance, entrance
from hankelboard.access.roles import Role, Visitor

OWNER = Visitor("ada", Role.OWNER)


def test_a_session_stands_for_its_token_and_says_nothing_of_it(state):
    token = tokens.owner_token()
    value = sessions.begin(token)
    assert sessions.visitor_of(value) == OWNER and value != token
    (file,) = (state / "sessions").iterdir()
    assert value not in file.read_text() + file.name and token not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("value", ["", "x", "../token", "a" * 10_000])
def test_a_session_that_never_began_is_nobodys(value):
    sessions.begin(tokens.owner_token())
    assert sessions.visitor_of(value) is None


def test_no_session_begins_without_a_valid_token():
    assert sessions.begin("wrong") is None


def test_a_session_ends_when_its_browser_signs_out():
    token = tokens.owner_token()
    mine, other = sessions.begin(token), sessions.begin(token)
    sessions.end(mine)
    sessions.end(mine)
    assert sessions.visitor_of(mine) is None and sessions.visitor_of(other) == OWNER


@pytest.mark.parametrize("end", ["revoke", "expire", "rotate", "again"])
def test_a_session_ends_with_its_token(end, monkeypatch):
    token = tokens.owner_token() if end == "rotate" else tokens.create("bo", Role.OPERATOR, days=1)
    value = sessions.begin(token)
    assert sessions.visitor_of(value)
    if end == "rotate":
        tokens.rotate()
    elif end == "expire":
        now = tokens.time.time()
        monkeypatch.setattr(tokens.time, "time", lambda: now + 86_401)
    else:
        tokens.revoke("bo")
    if end == "again":
        tokens.create("bo", Role.OPERATOR)
    assert sessions.visitor_of(value) is None


def test_a_session_does_not_last_for_ever(monkeypatch):
    value = sessions.begin(tokens.owner_token())
    monkeypatch.setattr(sessions, "LONGEST_S", -1.0)
    assert sessions.visitor_of(value) is None


def test_sessions_are_bounded_and_one_token_ends_none_of_another(state, monkeypatch):
    monkeypatch.setattr(sessions, "MOST_PER_TOKEN", 3)
    first = sessions.begin(tokens.owner_token())
    bos = tokens.create("bo", Role.VIEWER)
    values = [sessions.begin(bos) for _ in range(5)]
    assert [sessions.visitor_of(value) is not None for value in values] == [False, False, True, True, True]
    assert sessions.visitor_of(first) == OWNER
    (state / "sessions" / "damaged.json").write_text("{")
    sessions.begin(bos)
    assert len(list((state / "sessions").iterdir())) == 4


def test_what_the_command_line_says_arrives_whole(tmp_path):
    said = Entrance(
        token_file=tmp_path, no_token=True, read_only=True, allowed_hosts=("a", "b"),
        urls=("https://a/b",), proxies=("::1",),
    )  # fmt: skip
    assert entrance(said.variables()) == said and set(said.variables()) == set(VARIABLES)
    assert entrance({}) == Entrance() and Entrance().variables() == {}
