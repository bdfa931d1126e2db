"""Attempts: each is claimed by a file that only one process can create, and ends where a later one begins.

This is the fence: it holds on file systems without locks, and for a trainer that was believed dead and wakes.
Who writes a run looks before each write whether a later attempt was claimed (`Fence.check`). No look is
atomic with a write, so that a write may still come late: it lands in files of its own attempt (names with its
number, journals that a later attempt does not go on with), or loses against a file that is there.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from hankelboard.storage import atomic, opening
from hankelboard.storage.decoding import decode_attempt
from hankelboard.storage.errors import NotWritable, RunError, RunHeld, Superseded
from hankelboard.storage.history import read_history
from hankelboard.storage.journal import end_of_last_line
from hankelboard.storage.layout import (
    ATTEMPT_JSON,
    FORMAT_VERSION,
    JOURNALS,
    LAST_ATTEMPT,
    STRAY_PREFIX,
    RunPaths,
)
from hankelboard.storage.locks import PERMISSION, Answer
from hankelboard.storage.records import new_ulid, now, read_record
from hankelboard.storage.schema import AttemptRecord
from hankelboard.storage.status import (
    BeatWatch,
    Life,
    is_of_this_boot,
    life_of,
    process_identity,
    read_status,
)
from hankelboard.storage.vocabulary import ENDED, RunState

POLL_S = 0.25
BEGINS_WITHIN_S = 60.0
"""How long an attempt may take from its claim to its first beat."""


@dataclass(frozen=True)
class Fence:
    """What one attempt asks before it writes."""

    paths: RunPaths
    number: int

    @property
    def is_down(self) -> bool:
        """Whether a later attempt has begun. Raises OSError where that cannot be seen."""
        return max(_claimed(self.paths), default=-1) > self.number

    def check(self) -> None:
        """Return when this attempt may write.

        Raises
        ------
        Superseded
            If a later attempt has begun.
        """
        if self.is_down:
            raise Superseded(
                f"{self.paths.run_id}: a later attempt has begun; attempt {self.number} changes nothing more"
            )


@dataclass(frozen=True)
class Latest:
    """The latest attempt at a run, and its process as far as it is known."""

    number: int
    identity: Mapping[str, Any]
    ended: bool
    """Whether its process said that it writes no more."""


class Standing(Enum):
    """What is known of the latest attempt."""

    OVER = "over"
    """It writes no more, for certain."""
    AT_WORK = "at work"
    UNCERTAIN = "uncertain"
    """Its beat decides."""


def _claimed(paths: RunPaths) -> list[int]:
    return [int(match[1]) for match in map(ATTEMPT_JSON.fullmatch, paths.attempt_files()) if match]


def latest(paths: RunPaths) -> Latest | None:
    """Return the latest attempt that was claimed; where none was, the one that status.json is of, if any."""
    names = paths.attempt_files()
    number = max(_claimed(paths), default=-1)
    if number < 0:
        status = read_status(paths)
        return Latest(status.get("attempt", 0), status, ended=False) if status else None
    claim = decode_attempt(read_record(paths.attempt(number)), number)
    return Latest(number, {**claim} if claim else {}, ended=paths.ended(number).name in names)


def standing(attempt: Latest | None, answer: Answer) -> Standing:
    """Return what is known of an attempt, given what the run's lock says.

    A lock that is free is proof for processes of this machine only: on a file server another one may have
    lost it, or locks may be of each machine alone. A lock that is held by a process that the dead trainer
    started is no trainer's.
    """
    if attempt is None or attempt.ended:
        return Standing.AT_WORK if attempt is None and answer is Answer.HELD else Standing.OVER
    here = is_of_this_boot(attempt.identity)
    life = life_of(attempt.identity)
    if here and (life is Life.GONE or answer is Answer.OURS):
        return Standing.OVER
    if life is Life.ALIVE or answer is Answer.HELD:
        return Standing.AT_WORK
    return Standing.UNCERTAIN


def is_at_work(paths: RunPaths, answer: Answer, watch: BeatWatch | None = None) -> bool:
    """Return whether somebody trains the run, given what its lock says now.

    Where nothing but the beat says it, yes until `watch` has seen it silent for longer than promised.
    """
    try:
        attempt = latest(paths)
    except OSError:  # attempts that cannot be listed: unknown is not free
        return True
    known = standing(attempt, answer)
    if attempt is None or known is not Standing.UNCERTAIN:
        return known is Standing.AT_WORK
    return watch is None or not is_silent(paths, attempt, watch)


def is_silent(paths: RunPaths, attempt: Latest, watch: BeatWatch) -> bool:
    """Return whether no beat of this attempt came for longer than promised, as this watch has seen it."""
    status = read_status(paths)
    if status is None or status.get("attempt") != attempt.number:
        return watch.is_stale({"attempt": attempt.number, "expect_next_s": BEGINS_WITHIN_S})
    return watch.is_stale(status)


def claim(
    paths: RunPaths,
    answer: Answer,
    say: Callable[[str], None] = lambda text: None,
    watch: BeatWatch | None = None,
) -> Fence:
    """Begin the next attempt, once the latest one is over or silent.

    `answer` is what the run's lock said. Of several processes one gets the number. Where only its beat can
    say it, this waits for that; not with a `watch`, which has followed the beat: then it says it at once.

    Raises
    ------
    RunHeld
        If another process trains the run, or was faster.
    NotWritable
        If permission is missing.
    RunError
        If the claim cannot be written.
    """
    before = _before(paths)
    certain = _wait_until_over(paths, before, answer, say, watch)
    fence = Fence(paths, before.number + 1 if before else 0)
    if fence.number > LAST_ATTEMPT:
        raise RunError(
            f"{paths.run_id}: there is an attempt {LAST_ATTEMPT}, which is the last one; "
            f"remove {paths.attempt(LAST_ATTEMPT)} if no trainer wrote it"
        )
    with _saying_why(fence):
        _create(fence)
    try:
        if not certain:
            with _saying_why(fence):
                _take_over(fence)
    except BaseException:
        end(fence)
        raise
    return fence


@contextlib.contextmanager
def _saying_why(fence: Fence) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = NotWritable if error.errno in PERMISSION else RunError
        reason = error.strerror or error
        raise kind(f"{fence.paths.run_id}: attempt {fence.number} cannot begin: {reason}") from None


def _before(paths: RunPaths) -> Latest | None:
    """Return the latest attempt by claims and by events: an older program claims nothing."""
    attempt, history = latest(paths), read_history(paths)
    if history.attempt < 0 or (attempt is not None and attempt.number >= history.attempt):
        return attempt
    status = read_status(paths)
    known = status is not None and status.get("attempt") == history.attempt
    return Latest(
        history.attempt, {**status} if status and known else {}, history.state in (*ENDED, RunState.RELEASED)
    )


def _wait_until_over(
    paths: RunPaths,
    before: Latest | None,
    answer: Answer,
    say: Callable[[str], None],
    watched: BeatWatch | None,
) -> bool:
    """Return when the next attempt may begin: True when this one is over for certain, False by its beat."""
    watch, said = watched or BeatWatch(), False
    while (known := standing(before, answer)) is not Standing.OVER:
        if before is None or known is Standing.AT_WORK or (watch.advanced and not watched):
            raise RunHeld(_held(paths, before))
        if is_silent(paths, before, watch):
            return False
        if watched:
            raise RunHeld(_held(paths, before))
        if not said:
            who = f"attempt {before.number} {_where(before)}".rstrip()
            say(f"{paths.run_id}: waiting to see whether {who} still beats")
            said = True
        time.sleep(POLL_S)
        before = _again(paths, before)
    return True


def _again(paths: RunPaths, before: Latest) -> Latest:
    newest = latest(paths)
    if newest is None or newest.number < before.number:
        return before
    if newest.number > before.number:
        raise RunHeld(_held(paths, newest))
    return newest


def _create(fence: Fence) -> None:
    paths = fence.paths
    record: AttemptRecord = {
        "format_version": FORMAT_VERSION, "t": now(), "attempt": fence.number, "nonce": os.urandom(8).hex(),
        **process_identity(),
    }  # fmt: skip
    opening.make_folder(paths.attempts)
    try:
        atomic.create(paths.attempt(fence.number), record)
    except OSError:
        there = latest(paths)
        if there is None or there.number < fence.number:
            raise
        if there.identity.get("nonce") != record["nonce"]:  # else it was us: a request that was repeated
            raise RunHeld(_held(paths, there)) from None


def _take_over(fence: Fence) -> None:
    """Go on with copies of the journals: what the attempt before still writes into its own counts no more."""
    paths = fence.paths
    source = paths.journals
    building = paths.attempts / f"{STRAY_PREFIX}{new_ulid()}"
    opening.make_folder(building, new=True)
    try:
        for name in JOURNALS:
            _copy_whole_lines(source / name, building / name)
        atomic.sync_folder(building)
        fence.check()
        opening.rename(building, paths.taken_over(fence.number))
    except BaseException:
        opening.remove(building)
        raise
    atomic.sync_folder(paths.attempts)


def _copy_whole_lines(source: Path, target: Path) -> None:
    try:
        descriptor = opening.open_regular(source)
    except FileNotFoundError:
        return
    try:
        size = end_of_last_line(descriptor, os.fstat(descriptor).st_size)
        atomic.copy_start(descriptor, size, target)
    finally:
        os.close(descriptor)


def end(fence: Fence) -> None:
    """Say that this attempt writes no more: the next one need not wait for its beat. Never fails."""
    with contextlib.suppress(OSError):  # the next one sees that the process is gone, or that it falls silent
        atomic.create(fence.paths.ended(fence.number), {"t": now(), "attempt": fence.number})


def _held(paths: RunPaths, attempt: Latest | None) -> str:
    return f"{paths.run_id} is being trained by another process {_where(attempt)}".rstrip()


def _where(attempt: Latest | None) -> str:
    """Return who that is, in words; empty when it is not known, or not there any more."""
    identity = attempt.identity if attempt else {}
    life = life_of(identity)
    if life is Life.GONE or "pid" not in identity:
        return ""
    host = "" if life is Life.ALIVE else f" on {identity.get('host') or 'an unknown host'}"
    return f"(pid {identity['pid']}{host})"
