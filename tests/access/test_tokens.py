"""Tokens: whom they stand for, how long, and which files are not believed."""

import os
import stat
import threading

import pytest

from hankelboard.access import private_files, tokens
from hankelboard.access.private_files import NotPrivate
from hankelboard.access.roles import Role, Visitor
from hankelboard.storage.errors import CommandRefused

OWNER = Visitor("ada", Role.OWNER)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_the_owners_token_is_made_once_for_this_account_alone(state):
    token = tokens.owner_token()
    assert tokens.owner_token() == token and tokens.verify(token) == OWNER
    assert mode(state / "token") == 0o600 and mode(state) == 0o700


def test_a_file_with_a_byte_order_mark_holds_the_token_behind_it(state):
    token = tokens.owner_token()
    (state / "token").write_bytes(b"\xef\xbb\xbf" + token.encode() + b"\r\n")
    assert tokens.owner_token() == token


def test_of_many_who_make_it_at_once_all_get_the_same(state):
    made = []
    threads = [threading.Thread(target=lambda: made.append(tokens.owner_token())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8 and len(set(made)) == 1
    assert [path.name for path in state.iterdir()] == ["token"]


@pytest.mark.parametrize("wrong", ["", "x", "0" * 43, "ümlaut" * 8, "a\udcffb"])
def test_a_wrong_token_stands_for_nobody(wrong):
    tokens.owner_token()
    tokens.create("bo", Role.VIEWER)
    assert tokens.verify(wrong) is None


def test_before_any_token_is_made_nothing_opens():
    assert tokens.verify("") is None and tokens.verify("anything at all") is None


def test_rotate_shuts_the_old_one_out():
    old = tokens.owner_token()
    new = tokens.rotate()
    assert tokens.verify(old) is None and tokens.verify(new) == OWNER and tokens.owner_token() == new


def test_of_a_named_token_only_a_hash_is_kept(state):
    token = tokens.create("Bo / 王", Role.OPERATOR)
    assert tokens.verify(token) == Visitor("Bo / 王", Role.OPERATOR)
    (file,) = (state / "tokens").iterdir()
    assert token not in file.read_text() and mode(file) == 0o600
    assert [(each.name, each.role) for each in tokens.named()] == [("Bo / 王", Role.OPERATOR)]


def test_a_revoked_token_opens_nothing_and_its_name_is_free_again():
    token = tokens.create("bo", Role.VIEWER)
    tokens.revoke("bo")
    assert tokens.verify(token) is None and tokens.named() == []
    assert tokens.verify(tokens.create("bo", Role.VIEWER)) and tokens.verify(token) is None


def test_an_expired_token_opens_nothing(monkeypatch):
    token = tokens.create("bo", Role.VIEWER, days=1)
    assert tokens.verify(token)
    now = tokens.time.time()
    monkeypatch.setattr(tokens.time, "time", lambda: now + 86_401)
    assert tokens.verify(token) is None and tokens.named()[0].is_expired


@pytest.mark.parametrize("name", ["", " bo", "a\nb", "x" * 201, "\x00"])
def test_what_cannot_be_a_name_is_refused(name):
    with pytest.raises(CommandRefused, match="cannot be a name"):
        tokens.create(name, Role.VIEWER)


@pytest.mark.parametrize("name", ["..", "../../token", "a/b", ".", "%2e"])
def test_a_name_leads_nowhere_else(state, name):
    tokens.create(name, Role.VIEWER)
    assert len(list((state / "tokens").iterdir())) == 1 and {path.name for path in state.iterdir()} == {
        "tokens"
    }
    assert [each.name for each in tokens.named()] == [name]


def test_a_name_is_taken_once_and_the_owners_role_never():
    tokens.create("bo", Role.VIEWER)
    with pytest.raises(CommandRefused, match="there is a token for bo"):
        tokens.create("bo", Role.OPERATOR)
    with pytest.raises(CommandRefused, match="owner"):
        tokens.create("cy", Role.OWNER)
    with pytest.raises(CommandRefused, match="no token for cy"):
        tokens.revoke("cy")


def open_to_others(path):
    path.chmod(0o640)


def of_another(path):
    os.chown(path, 12345, -1)


def linked(path):
    moved = path.with_name("moved")
    path.rename(moved)
    path.symlink_to(moved)


def piped(path):
    path.unlink()
    os.mkfifo(path, 0o600)


def emptied(path):
    path.write_bytes(b"")


def a_folder(path):
    path.unlink()
    path.mkdir()


SPOILED = [open_to_others, linked, piped, emptied, a_folder]


@pytest.mark.parametrize("spoil", SPOILED)
def test_a_file_of_the_owner_that_cannot_be_believed_opens_nothing_and_says_why(state, spoil):
    token = tokens.owner_token()
    spoil(state / "token")
    assert tokens.verify(token) is None and tokens.verify("") is None
    with pytest.raises(NotPrivate, match="token"):
        tokens.owner_token()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_account_is_not_believed(state):
    token = tokens.owner_token()
    of_another(state / "token")
    assert tokens.verify(token) is None


@pytest.mark.parametrize("spoil", SPOILED)
def test_a_damaged_file_of_one_token_shuts_out_that_one_only(state, spoil):
    token, other = tokens.create("bo", Role.VIEWER), tokens.create("cy", Role.VIEWER)
    spoil(state / "tokens" / "bo.json")
    assert tokens.verify(token) is None and tokens.verify(other) == Visitor("cy", Role.VIEWER)
    with pytest.raises(NotPrivate, match=r"bo\.json"):
        tokens.named()


@pytest.mark.parametrize(
    "record",
    [{}, {"name": "bo", "role": "owner"}, {"name": "cy", "role": "operator"}, {"name": "bo", "role": "god"},
     {"name": "bo", "role": "viewer", "expires_at": "never"}],
)  # fmt: skip
def test_a_record_that_says_what_it_cannot_opens_nothing(state, record):
    token = tokens.create("bo", Role.VIEWER)
    whole = {"digest": tokens.digest(token), "created_at": 0.0, "expires_at": None, **record}
    (state / "tokens" / "bo.json").unlink()
    private_files.create_record(state / "tokens" / "bo.json", whole)
    assert tokens.verify(token) is None


def test_a_token_of_somebodys_choice_lies_where_it_was_said(tmp_path, monkeypatch):
    file = tmp_path / "mine"
    monkeypatch.setenv("HANKELBOARD_TOKEN_FILE", str(file))
    file.write_text("correct horse battery staple\n")
    with pytest.raises(NotPrivate, match="chmod 600"):
        tokens.owner_token()
    file.chmod(0o600)
    assert tokens.owner_token() == "correct horse battery staple" and tokens.verify(
        "correct horse battery staple"
    )
    file.write_text("short")
    with pytest.raises(NotPrivate, match="16 to"):
        tokens.owner_token()
