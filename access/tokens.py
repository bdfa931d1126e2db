"""Tokens: the owner's, which starts with the dashboard, and named ones for viewers and operators.

The owner's lies in a file of its own, so that its address can be printed again. Of a named one only a hash is
kept, in a file each, so that two who make one at once lose none. Files are read each time: what is revoked is
revoked at once, in every process.
"""

import contextlib
import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from hankelboard.access import private_files
from hankelboard.access.account import account_name
from hankelboard.access.entrance import entrance
from hankelboard.access.private_files import NotPrivate
from hankelboard.access.roles import Role, Visitor
from hankelboard.access.state_folder import state_folder
from hankelboard.storage.errors import CommandRefused

LEAST_CHARACTERS = 16
"""Of a token that somebody wrote into a file: shorter ones can be guessed."""
MOST_CHARACTERS = 200
OWNER = ""
"""The name of the owner's token, which nobody can give to another."""
_DAY_S = 86_400


@dataclass(frozen=True)
class NamedToken:
    """What is kept of a token that was made for somebody."""

    name: str
    role: Role
    digest: str
    created_at: float
    expires_at: float | None
    """By the clock, seconds; None is never."""

    @property
    def is_expired(self) -> bool:
        return self.expires_at is not None and time.time() >= self.expires_at


def owner_file() -> Path:
    """Return where the owner's token lies or will lie."""
    return entrance().token_file or state_folder() / "token"


def owner_token(file: Path | None = None) -> str:
    """Return the owner's token, made if there was none; of this file instead of the usual one.

    Raises
    ------
    NotPrivate
        If others could read its file, or it holds no token.
    """
    path = file or owner_file()
    try:
        return _read_owner(path)
    except FileNotFoundError:
        pass
    with contextlib.suppress(FileExistsError):  # made by another process just now
        private_files.create(path, f"{new_token()}\n".encode())
    return _read_owner(path)


def rotate(file: Path | None = None) -> str:
    """Put a new token of the owner in place of the old one, which opens nothing any more. Return it."""
    token = new_token()
    private_files.replace(file or owner_file(), f"{token}\n".encode())
    return token


def create(name: str, role: Role, days: int | None = None) -> str:
    """Make a token for somebody. Return it: it can never be read again.

    Raises
    ------
    CommandRefused
        If the name is taken or cannot be one, or the role is the owner's.
    """
    if role == Role.OWNER:
        raise CommandRefused("there is one owner's token, which `hankelboard open` uses; others are for less")
    token, now = new_token(), time.time()
    record = {"name": name, "role": role, "digest": digest(token), "created_at": now,
              "expires_at": None if days is None else now + days * _DAY_S}  # fmt: skip
    try:
        private_files.create_record(_file_of(name), record)
    except FileExistsError:
        raise CommandRefused(f"there is a token for {name}; revoke it first") from None
    return token


def named() -> list[NamedToken]:
    """Return the tokens that were made for others, by name; raise NotPrivate for a damaged file."""
    return sorted(map(_read_named, _files()), key=lambda token: token.name)


def revoke(name: str) -> None:
    """Let a token open nothing any more, open tabs included; raise CommandRefused if it is not there."""
    try:
        _file_of(name).unlink()
    except FileNotFoundError:
        raise CommandRefused(f"there is no token for {name}") from None


def verify(token: str) -> Visitor | None:
    """Return whom a token stands for now; None if it is wrong, expired or revoked."""
    name = name_of(token)
    return None if name is None else holder(name, digest(token))


def name_of(token: str) -> str | None:
    """Return the name of a token that is valid now: OWNER, or somebody's."""
    wanted = digest(token)
    found = [name for name, known in _digests() if hmac.compare_digest(known, wanted)]
    return found[0] if found else None


def holder(name: str, wanted: str) -> Visitor | None:
    """Return whom the token of this name and digest stands for now; None if it is not the valid one."""
    known, visitor = _known(name)
    return visitor if hmac.compare_digest(known, wanted) else None


def digest(token: str) -> str:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def new_token() -> str:
    """Return 256 random bits, as text that fits into an address."""
    return secrets.token_urlsafe(32)


def _known(name: str) -> tuple[str, Visitor | None]:
    """Return the digest of a valid token and whom it stands for; an empty one if there is none."""
    try:
        if name == OWNER:
            return digest(_read_owner(owner_file())), Visitor(account_name(), Role.OWNER)
        token = _read_named(_file_of(name))
    except (OSError, NotPrivate, CommandRefused):
        return "", None
    return ("", None) if token.is_expired else (token.digest, Visitor(token.name, token.role))


def _digests() -> list[tuple[str, str]]:
    """Return name and digest of each valid token. A file that is damaged opens nothing."""
    names = [OWNER]
    for path in _files():
        with contextlib.suppress(OSError, NotPrivate):
            names.append(_read_named(path).name)
    return [(name, _known(name)[0]) for name in names]


def _read_owner(path: Path) -> str:
    text = private_files.read(path).decode("utf-8-sig", "replace").strip()
    if not LEAST_CHARACTERS <= len(text) <= MOST_CHARACTERS or not text.isascii() or not text.isprintable():
        raise NotPrivate(
            f"{path} holds no token of {LEAST_CHARACTERS} to {MOST_CHARACTERS} plain characters; "
            "remove it, and a new one is made"
        )
    return text


def _read_named(path: Path) -> NamedToken:
    record = private_files.read_record(path)
    try:
        token = NamedToken(
            name=str(record["name"]),
            role=Role(record["role"]),
            digest=str(record["digest"]),
            created_at=float(record["created_at"]),
            expires_at=None if record["expires_at"] is None else float(record["expires_at"]),
        )
    except (KeyError, TypeError, ValueError):
        raise NotPrivate(f"{path} is damaged; remove it") from None
    if token.role == Role.OWNER or _file_of(token.name) != path:
        raise NotPrivate(f"{path} is damaged; remove it")
    return token


def _files() -> list[Path]:
    return sorted(_folder().glob("*.json"))


def _folder() -> Path:
    return state_folder() / "tokens"


def _file_of(name: str) -> Path:
    if not name.strip() or name != name.strip() or not name.isprintable() or len(quote(name, safe="")) > 200:
        raise CommandRefused(f"{name!r} cannot be a name: printable, and not longer than 200 letters")
    return _folder() / f"{quote(name, safe='')}.json"
