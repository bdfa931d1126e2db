"""Tickets: what may be started is said outside of a run's directory, which is data.

A folder that is copied among the runs must not start code. So a worker starts a run only for which
this account made a ticket: a record in the folder of state with the real path of the directory, its id, the
SHA-256 of its run.json and an HMAC of all that, by a key that lies beside it. A directory that was copied,
moved or reached by another path has none; one whose run.json was changed has none for what it says now.
One file per ticket: of many writers none undoes what another wrote.
"""

import contextlib
import errno
import hashlib
import hmac
import json
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from hankelboard.access import private_files
from hankelboard.access.private_files import NotPrivate
from hankelboard.access.state_folder import state_folder
from hankelboard.storage.errors import HankelboardError
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.opening import open_regular
from hankelboard.storage.records import MAX_FILE_BYTES, decode, encode, now
from hankelboard.storage.summary import SummaryRow
from hankelboard.storage.vocabulary import RunState

MOST_REMEMBERED = 50_000


class Validity(StrEnum):
    """Whether a run may be started by a worker."""

    VALID = "adopted"
    NONE = "not adopted"
    CHANGED = "changed"
    """Since it was adopted."""
    UNKNOWN = "unknown"
    """Tickets cannot be read."""


FROM_ELSEWHERE = "it came from elsewhere, or was moved"
CHANGED_SINCE = "its run.json was changed since"
OTHER_KEY = "its ticket was made with another key"
UNREADABLE = "its run.json cannot be read"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a run that was queued in a browser may start and read."""

    code: tuple[str, ...] = ()
    """Packages, modules, or exact names `package.module:Name`, which the owner of the server allowed."""
    folders: tuple[str, ...] = ()
    """In which the paths that it names must lie."""


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """What is known of the right to start a run."""

    validity: Validity
    reason: str = ""
    """Why there is none, in words."""
    limits: Limits | None = None
    """None: it was asked for at the command line, whose owner may start anything."""

    @property
    def is_valid(self) -> bool:
        return self.validity == Validity.VALID


class NoTicket(HankelboardError):
    """A ticket cannot be written, or a run has none."""


def issue(paths: RunPaths, limits: Limits | None = None) -> None:
    """Let workers of this account start a run as its run.json is now.

    Durability: on disk when this returns. Concurrency: any number of writers; of one run the last one counts.

    Raises
    ------
    NoTicket
        If it cannot be written; says where it would lie.
    """
    try:
        record: dict[str, Any] = {**_facts(paths, _content(paths)), "t": now(), "limits": _as_record(limits)}
        signed = {**record, "mac": _mac(_key_or_new(paths), record)}
        private_files.replace(_file(paths), encode(signed).encode() + b"\n")
    except (OSError, NotPrivate) as error:
        raise NoTicket(
            f"{paths.run_id}: no ticket could be written, so no worker starts it: {error}"
        ) from None


def prepare(runs: Path) -> None:
    """Raise NoTicket where tickets for runs of this folder cannot be written: before anything is created."""
    folder = _folder()
    try:
        _key_or_new(RunPaths(runs / "any"))
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(f"{folder} cannot be written")
    except (OSError, NotPrivate) as error:
        raise NoTicket(f"no ticket could be written, so no worker would start it: {error}") from None


def holds(paths: RunPaths) -> bool:
    """Return whether a worker may start this run."""
    return look(paths).is_valid


def look(paths: RunPaths) -> Ticket:
    """Return the ticket of a run, or why it has none. Files are read again only when they changed."""
    real = os.path.realpath(paths.root)
    asked = (real, paths.run_id, str(_folder()))
    marks = tuple(map(_mark, (paths.run_json, _file(paths, real), _key_file())))
    if marks[1] == errno.ENOENT:  # of ten thousand runs from before none is read
        return Ticket(validity=Validity.NONE, reason=FROM_ELSEWHERE)
    kept = _looked_at.get(asked)
    if kept is not None and kept[0] == marks:
        return kept[1]
    ticket, _ = look_inside(paths)
    if len(_looked_at) >= MOST_REMEMBERED:
        _looked_at.clear()
    _looked_at[asked] = (marks, ticket)
    return ticket


_looked_at: dict[tuple[str, str, str], tuple[tuple[object, ...], Ticket]] = {}


def mark(paths: RunPaths) -> tuple[object, ...]:
    """Return what changes when a run is adopted, or its run.json is another one."""
    return _mark(paths.run_json), _mark(_file(paths)), _mark(_key_file())


def _mark(path: Path) -> object:
    """Return what changes with a file. The time of a change, unlike that of its contents, cannot be set."""
    try:
        found = path.stat(follow_symlinks=False)
    except OSError as error:
        return error.errno
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def why_not_started(paths: RunPaths, row: SummaryRow) -> str:
    """Return why no worker starts a run that would be its turn; empty where one may, or has nothing to do."""
    waits = row["state"] in (RunState.QUEUED, RunState.INTERRUPTED, RunState.DEAD)
    return look(paths).reason if waits and row["queued"] and not row["copy_of"] else ""


def look_inside(paths: RunPaths) -> tuple[Ticket, object]:
    """Return the ticket of a run, read anew, and the configuration in the run.json that was looked at."""
    try:
        content = _content(paths)
    except OSError:
        return Ticket(validity=Validity.NONE, reason=UNREADABLE), None
    return _look(paths, _facts(paths, content)), (decode(content) or {}).get("config")


def _look(paths: RunPaths, facts: dict[str, str]) -> Ticket:
    try:
        key = _key(paths)
    except FileNotFoundError:
        return Ticket(validity=Validity.NONE, reason=FROM_ELSEWHERE)
    except (OSError, NotPrivate) as error:
        return Ticket(validity=Validity.UNKNOWN, reason=str(error))
    try:
        record = private_files.read_record(_file(paths))
    except FileNotFoundError:
        return Ticket(validity=Validity.NONE, reason=FROM_ELSEWHERE)
    except (OSError, NotPrivate) as error:
        return Ticket(validity=Validity.NONE, reason=f"its ticket cannot be used: {error}")
    return _judge(record, key, facts)


def _judge(record: dict[str, Any], key: bytes, facts: dict[str, str]) -> Ticket:
    """Return what a record says of a run whose facts are these now."""
    mac = record.pop("mac", None)
    if not isinstance(mac, str) or not hmac.compare_digest(mac.encode(), _mac(key, record).encode()):
        return Ticket(validity=Validity.NONE, reason=OTHER_KEY)
    said = {name: record.get(name) for name in facts}
    if said != facts:
        only_changed = said == {**facts, "sha256": said["sha256"]}
        validity, reason = (
            (Validity.CHANGED, CHANGED_SINCE) if only_changed else (Validity.NONE, FROM_ELSEWHERE)
        )
        return Ticket(validity=validity, reason=reason)
    return Ticket(validity=Validity.VALID, limits=_from_record(record["limits"]))


def _facts(paths: RunPaths, content: bytes) -> dict[str, str]:
    real = os.fsencode(os.path.realpath(paths.root)).decode("utf-8", "backslashreplace")
    return {"path": real, "run": paths.run_id, "sha256": hashlib.sha256(content).hexdigest()}


def _content(paths: RunPaths) -> bytes:
    with os.fdopen(open_regular(paths.run_json), "rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise OSError(f"{paths.run_json} is too large")
    return content


def _mac(key: bytes, record: dict[str, Any]) -> str:
    canonical = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
    return hmac.new(key, canonical, hashlib.sha256).hexdigest()


def _as_record(limits: Limits | None) -> dict[str, list[str]] | None:
    return None if limits is None else {"code": list(limits.code), "folders": list(limits.folders)}


def _from_record(record: dict[str, list[str]] | None) -> Limits | None:
    if record is None:
        return None
    return Limits(code=tuple(record["code"]), folders=tuple(record["folders"]))


def is_first_offer(runs: Path) -> bool:
    """Return whether nobody heard yet that runs of this folder can be adopted; true once for each."""
    digest = hashlib.sha256(os.fsencode(os.path.realpath(runs))).hexdigest()
    try:
        private_files.create(state_folder() / "offered" / digest, b"")
    except OSError:
        return False
    return True


# Where they lie.


def _folder() -> Path:
    return state_folder() / "tickets"


def _key_file() -> Path:
    return state_folder() / "tickets.key"


def _file(paths: RunPaths, real: str = "") -> Path:
    place = os.fsencode(real or os.path.realpath(paths.root))
    return _folder() / f"{hashlib.sha256(place).hexdigest()}.json"


def _key_or_new(paths: RunPaths) -> bytes:
    """Return the key, made if there was none; exclusively, so that two who need one get the same."""
    with contextlib.suppress(FileNotFoundError):
        return _key(paths)
    private_files.make_folder(_folder())
    with contextlib.suppress(FileExistsError):  # made by another process just now
        private_files.create(_key_file(), f"{os.urandom(32).hex()}\n".encode())
    return _key(paths)


def _key(paths: RunPaths) -> bytes:
    """Return the key. Raise FileNotFoundError without one, NotPrivate where it cannot be trusted."""
    if Path(os.path.realpath(_key_file())).is_relative_to(os.path.realpath(paths.root.parent)):
        raise NotPrivate(f"{state_folder()} lies among the runs: set HANKELBOARD_STATE to a folder elsewhere")
    key = private_files.read(_key_file()).strip()
    if len(key) < 64:
        raise NotPrivate(
            f"{_key_file()} is damaged; restore it, or remove it and say `hankelboard adopt --all`"
        )
    return key
