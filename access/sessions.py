"""Sessions: what a browser holds instead of a token.

The value in the cookie is random and says nothing; its hash names a file that says which token it came from.
That token is looked at each time, so that a session ends with it. Tabs outlive the web process.
"""

import secrets
import time
from pathlib import Path

from hankelboard.access import private_files, tokens
from hankelboard.access.private_files import NotPrivate
from hankelboard.access.roles import Visitor
from hankelboard.access.state_folder import state_folder

MOST_PER_TOKEN = 50
"""Browsers that are signed in by one token at once; the one that came first goes."""
LONGEST_S = 30 * 86_400.0


def begin(token: str) -> str | None:
    """Return the value of a new session for whom the token stands; None if it is not valid."""
    name = tokens.name_of(token)
    if name is None:
        return None
    value, digest = secrets.token_urlsafe(32), tokens.digest(token)
    _make_room(digest)
    record = {"token": name, "digest": digest, "since": time.time()}
    private_files.create_record(_file_of(value), record)
    return value


def visitor_of(value: str) -> Visitor | None:
    """Return who holds a session; None if it ended, or its token is not valid any more."""
    return _visitor_in(_file_of(value))


def end(value: str) -> None:
    """Let a session open nothing any more, in any tab."""
    _file_of(value).unlink(missing_ok=True)


def _visitor_in(path: Path) -> Visitor | None:
    try:
        record = private_files.read_record(path)
        if time.time() - float(record["since"]) > LONGEST_S:
            return None
        return tokens.holder(str(record["token"]), str(record["digest"]))
    except (OSError, NotPrivate, KeyError, TypeError, ValueError):
        return None


def _make_room(digest: str) -> None:
    """Remove sessions that are too old or damaged, and the first ones of a token that has too many."""
    of_token = []
    for path in _folder().glob("*.json"):
        try:
            record = private_files.read_record(path)
            since = float(record["since"])
        except (OSError, NotPrivate, KeyError, TypeError, ValueError):
            since, record = 0.0, {}
        if time.time() - since > LONGEST_S:
            path.unlink(missing_ok=True)
        elif record.get("digest") == digest:
            of_token.append((since, path))
    for _, path in sorted(of_token)[: max(0, len(of_token) + 1 - MOST_PER_TOKEN)]:
        path.unlink(missing_ok=True)


def _folder() -> Path:
    return state_folder() / "sessions"


def _file_of(value: str) -> Path:
    return _folder() / f"{tokens.digest(value)}.json"
