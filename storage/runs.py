"""Runs: creation, listing, identity, and the lock that one trainer holds."""

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from hankelboard.storage import atomic, attempts
from hankelboard.storage.decoding import decode_run, misfit_of_run
from hankelboard.storage.errors import DamagedRun, NewerFormat, RunError, RunNotFound
from hankelboard.storage.layout import FORMAT_VERSION, RUN_ID, STRAY_PREFIX, RunPaths, run_paths
from hankelboard.storage.locks import RETRY_S, Answer, LockFile, look
from hankelboard.storage.records import Record, new_ulid, now, read_record
from hankelboard.storage.schema import Primary, RunRecord
from hankelboard.storage.scores import PRIMARY_METRIC
from hankelboard.storage.status import BeatWatch, process_identity, process_is_gone
from hankelboard.storage.vocabulary import Better


@dataclass(frozen=True, kw_only=True)
class Run:
    """The identity of a run: the contents of run.json, which never change."""

    id: str
    name: str
    created: str
    config: dict[str, Any]
    """The configuration, resolved in full."""
    preset: str = ""
    group: str = ""
    """Runs that belong together: an experiment, a demo, a suite."""
    role: str = ""
    """What the run is for in its group: compressed, baseline, scratch, …"""
    series: str = ""
    """Name of the series within the group: runs of a suite that differ in their seed alone."""
    seed: int = 0
    tags: list[str] = field(default_factory=list)
    queued: bool = True
    """Whether a worker may take it by itself; else it waits for `hankelboard run`."""
    by: str = ""
    by_role: str = ""
    """What stands behind the name, a word of `ByRole`."""
    attached: bool = False
    """Whether its loop is another program's: no worker starts it."""
    primary: Primary = field(default_factory=lambda: Primary(metric=PRIMARY_METRIC, better=Better.HIGHER))
    """What its best step goes by."""
    copy_of: str = ""
    """The run that this directory is a copy of, when its name is not the one it was created under."""


def new_run_id(name: str) -> str:
    """Return an id that sorts by time and says what the run is: 20261123-141502-digits-lru-k3qf."""
    import secrets  # only where a run is created

    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:48] or "run"
    suffix = "".join(secrets.choice("abcdefghijkmnpqrstuvwxyz23456789") for _ in range(4))
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{slug}-{suffix}"


def create_run(
    runs: Path,
    *,
    name: str,
    config: dict[str, Any],
    preset: str = "",
    group: str = "",
    role: str = "",
    series: str = "",
    seed: int = 0,
    tags: Iterable[str] = (),
    queued: bool = True,
    by: str = "",
    by_role: str = "",
    slug: str = "",
) -> Run:
    """Create a run directory.

    Atomicity: built beside and renamed, so a run appears whole with its run.json or not at all.
    Durability: on disk when this returns. Concurrency: any number of creators. The id is made of `slug`, else
    of the name.
    """
    run = Run(
        id=new_run_id(slug or name), name=name, created=now(), config=config, preset=preset, group=group,
        role=role, series=series, seed=seed, tags=list(tags), queued=queued, by=by,
        by_role=by_role,
    )  # fmt: skip
    runs.mkdir(parents=True, exist_ok=True)
    building = RunPaths(runs / f"{STRAY_PREFIX}{new_ulid()}")
    building.root.mkdir()
    for folder in building.folders:
        folder.mkdir()
    atomic.create(building.run_json, _record_of(run))
    building.root.rename(runs / run.id)
    atomic.sync_folder(runs.resolve())  # whatever its name: it may be a link
    return run


def _record_of(run: Run) -> RunRecord:
    return {
        "format_version": FORMAT_VERSION, "t": run.created, "id": run.id, "name": run.name,
        "created": run.created, "config": run.config, "preset": run.preset, "group": run.group,
        "role": run.role, "series": run.series, "seed": run.seed, "tags": run.tags, "queued": run.queued,
        "by": run.by, "by_role": run.by_role,
    }  # fmt: skip


def read_run(paths: RunPaths) -> Run:
    """Return the identity of a run.

    Raises
    ------
    NewerFormat
        If a newer Hankelboard wrote the directory.
    DamagedRun
        If run.json is missing, cannot be parsed or lacks what makes it one (half copied, for example).
    """
    record = read_record(paths.run_json)
    if record is None:
        raise DamagedRun(f"{paths.run_id}: run.json is missing or damaged; was the run copied completely?")
    _refuse_version(paths, record)
    run = decode_run(record, paths.run_id)
    if run is None:
        raise DamagedRun(f"{paths.run_id}: run.json is damaged: {misfit_of_run(record)}")
    return Run(
        id=paths.run_id, name=run["name"], created=run["created"], config=run["config"], preset=run["preset"],
        group=run["group"], role=run["role"], series=run["series"], seed=run["seed"], tags=run["tags"],
        queued=run["queued"], by=run["by"], by_role=run.get("by_role", ""), attached=run["attached"],
        primary=run["primary"],
        copy_of="" if run["id"] == paths.run_id else run["id"],
    )  # fmt: skip


def refuse_newer(paths: RunPaths) -> None:
    """Raise NewerFormat if a newer Hankelboard wrote the directory: nothing is read or written there then."""
    _refuse_version(paths, read_record(paths.run_json) or {})


def _refuse_version(paths: RunPaths, record: Record) -> None:
    version = record.get("format_version")
    if type(version) is int and version > FORMAT_VERSION:
        raise NewerFormat(
            f"{paths.run_id}: written by a newer Hankelboard (format {version}; this one reads up to "
            f"{FORMAT_VERSION}); upgrade with: pip install --upgrade hankelboard"
        )


def list_runs(runs: Path) -> list[RunPaths]:
    """Return all run directories, newest name first, without strays, files and odd names."""
    try:
        with os.scandir(runs) as entries:
            names = [entry.name for entry in entries if RUN_ID.fullmatch(entry.name) and _is_folder(entry)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [RunPaths(runs / name) for name in sorted(names, reverse=True)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or to where nobody may look
        return False


def find_run(runs: Path, name: str) -> RunPaths:
    """Return the run with this id, or the only one whose id starts or ends so (for the command line)."""
    if RUN_ID.fullmatch(name) and (runs / name).is_dir():
        return run_paths(runs, name)
    matches = [p for p in list_runs(runs) if p.run_id.startswith(name) or p.run_id.endswith(name)]
    if len(matches) > 1:
        listed = ", ".join(path.run_id for path in matches[:5])
        raise RunNotFound(f"{name!r} fits {len(matches)} runs ({listed}); give more of the id")
    return matches[0] if matches and name else run_paths(runs, name)


class RunLock:
    """The right to write the trainer's files of a run: run.lock where there are locks, and an attempt.

    The kernel releases the lock when the holder dies, so a lock is never stale and never times out. Where
    locks are not to be had, and for a holder that lost it and does not know, the attempt is the fence.
    """

    def __init__(
        self,
        paths: RunPaths,
        *,
        patience_s: float = 1.0,
        say: Callable[[str], None] = lambda text: None,
        watch: BeatWatch | None = None,
    ):
        """Take the lock, with patience: `is_held` takes it for a moment, too. Then claim the next attempt.

        That may wait for as long as the attempt before promised a beat; `say` gets a line about it. With a
        `watch`, which has followed its beat, it never waits.

        Raises
        ------
        RunHeld
            If another process has it.
        NotWritable
            If permission is missing.
        RunError
            If neither can be had.
        """
        self._process = os.getpid()
        try:
            self._lock = LockFile(paths.lock)
        except OSError as error:
            raise RunError(f"{paths.run_id}: run.lock cannot be opened: {error.strerror or error}") from None
        try:
            self.fence = attempts.claim(paths, self._lock.wait(patience_s), say, watch)
        except BaseException as error:
            self._lock.close()
            if isinstance(error, OSError):
                why = error.strerror or error
                raise RunError(f"{paths.run_id}: run.lock cannot be locked: {why}") from None
            raise
        with contextlib.suppress(OSError):  # for people only; a full disk does not matter here
            os.ftruncate(self._lock.descriptor, 0)
            os.pwrite(self._lock.descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give both back. A forked child has neither."""
        if os.getpid() == self._process:
            attempts.end(self.fence)
            self._lock.close()

    def __enter__(self) -> "RunLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


@contextlib.contextmanager
def creating(runs: Path, *, patience_s: float = 30.0) -> Iterator[None]:
    """Hold a lock while missing runs are found and created, so that two processes create none twice.

    Concurrency: waits for the other process. The kernel releases the lock when the holder dies; for one that
    was stopped (Ctrl-Z) the wait ends.

    Raises
    ------
    RunError
        If the other one takes longer than `patience_s`.
    """
    runs.mkdir(parents=True, exist_ok=True)
    lock = LockFile(runs / ".creating.lock", mode=0o666)
    try:
        answer = lock.wait(patience_s)
        if answer is Answer.HELD:
            raise RunError(
                f"{runs}: another process has been creating runs here for {patience_s:g} s; "
                "try again when it is done, or end it"
            )
        with contextlib.nullcontext() if answer is Answer.OURS else _creating_without_locks(runs, patience_s):
            yield
    finally:
        lock.close()


@contextlib.contextmanager
def _creating_without_locks(runs: Path, patience_s: float) -> Iterator[None]:
    """Hold a file that one process can create, and that goes when it is done or dead."""
    mark, deadline = runs / ".creating.json", time.monotonic() + patience_s
    while True:
        try:
            atomic.create(mark, {"t": now(), **process_identity()})
            break
        except FileExistsError:
            if process_is_gone(read_record(mark) or {}):
                mark.unlink(missing_ok=True)
            elif time.monotonic() >= deadline:
                raise RunError(
                    f"{runs}: another process has been creating runs here for {patience_s:g} s; "
                    f"try again when it is done, or remove {mark} if there is none"
                ) from None
            time.sleep(RETRY_S)
    try:
        yield
    finally:
        mark.unlink(missing_ok=True)


def is_held(paths: RunPaths, watch: BeatWatch | None = None) -> bool:
    """Return whether a trainer holds the run now. Writes nothing; a free lock is taken for a moment.

    Where locks say nothing its beat does, which `watch` has followed: without one it is taken for alive.
    """
    return attempts.is_at_work(paths, look(paths.lock), watch)
