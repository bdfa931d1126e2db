"""What the web process keeps of one run: journals read so far, folded; small files with their marks.

Refreshing costs a handful of stat calls when nothing changed, and reads only new bytes when something did.
Metrics and spectra are read on first use: a list of ten thousand runs does not need them.
"""

import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict, TypeVar, cast

import numpy as np

from hankelboard.access import tickets
from hankelboard.app.data import journal_tables
from hankelboard.app.data.columns import Columns
from hankelboard.app.data.interventions import loss_lost_at
from hankelboard.storage import commands, proposals, summary
from hankelboard.storage.errors import NewerFormat, RunError
from hankelboard.storage.history import History
from hankelboard.storage.journal import (
    JournalReader,
    events_reader,
    metrics_reader,
    spectra_reader,
)
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.references import references
from hankelboard.storage.runs import Run, read_run
from hankelboard.storage.schema import Best, Event, Note, Place, Spectrum, Status
from hankelboard.storage.shapes import hints_of, range_on
from hankelboard.storage.status import BeatWatch, read_status
from hankelboard.storage.summary import SummaryRow, row_of
from hankelboard.storage.vocabulary import ENDED, CommandState, RunState

T = TypeVar("T")
Mark = tuple[int, int, int] | None
NO_TRAINER = (*ENDED, RunState.RELEASED, RunState.DEAD, RunState.UNKNOWN, RunState.UNREADABLE)
"""States in which no process is known to write the run."""
PARTS = (
    "root", "run_json", "events", "status", "notes", "inbox", "proposals", "decisions", "checkpoints",
    "metrics", "spectra", "measurements", "analyses",
)  # fmt: skip
ON_DEMAND = {
    "metrics",
    "spectra",
    "inbox",
    "proposals",
    "decisions",
    "checkpoints",
    "measurements",
    "analyses",
}


class RunRow(SummaryRow):
    """A run in short, with what only viewers need: what pages and the list of runs read."""

    living: bool
    """Whether a trainer is at work and gives signs of life."""
    trouble: str
    damaged: dict[str, int]
    """Damaged lines of each journal that has some."""
    damage: dict[str, str]
    """The same in words: how many, and what is wrong with the first."""
    task: str
    family: str
    unknown_events: int
    last_seen: str | None
    """Time of the last heartbeat."""
    loss_lost_at: int | None
    """Step at which the training loss was no finite number."""
    noticed: list[str]
    """What else the latest attempt found changed."""
    not_adopted: str
    """Why no worker starts it although it is its turn; empty where one may."""


class SpectrumRow(Place):
    """A spectrum as charts take it."""

    layer: int
    state_dim: int
    importance: str
    snapshot: str
    hsv: np.ndarray
    """(N,) float64, NaN for null."""


class CommandRow(TypedDict, total=False):
    """A command with the trainer's answer."""

    id: str
    kind: str
    by: str
    by_role: str
    via: str
    t: str
    checkpoint: str | None
    policy: str | None
    waiting: str | None
    proposal: int | None
    ranks: list[int] | None
    at_step: int | None
    asked_because: str
    """The reason that the sender gave."""
    state: str
    step: int | None
    """At which the trainer answered."""
    reason: str
    """Of the answer."""


def mark(path: Path | str, *, is_root: bool = False) -> Mark:
    """Return what changes with the file or the names in the folder; None when there is nothing.

    A run directory itself may be reached by a link; no link inside is followed.
    """
    try:
        stat = os.stat(path, follow_symlinks=is_root)  # noqa: PTH116 - no Path for each of a thousand runs
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


class RunCache:
    """One run. All methods may be called from any thread."""

    def __init__(self, paths: RunPaths, state_of: Callable[[str], str | None] | None = None):
        """Take `state_of`, the state of another run by its id; without it journals are read."""
        self.paths = paths
        self._state_of = state_of
        self._lock = threading.RLock()
        self._open = set(PARTS) - ON_DEMAND
        self._files: dict[str, str] = {}
        self._marks: dict[str, Mark] = {}
        self._attempts: Mark = None
        self._journals = paths.root
        self._versions = dict.fromkeys(PARTS, 0)
        self._derived: dict[str, tuple[list[float], Any]] = {}
        self._run: Run | None = None
        self._problem = ""
        self._oddities = ""
        self._unlisted = ""
        self._refused = False
        self._status: Status | None = None
        self._notes: list[Note] = []
        self._command_ids: list[str] = []
        self._read_commands: dict[str, CommandRow] = {}
        self._watch = BeatWatch()
        self._read: dict[str, Callable[[], None]] = {
            "root": self._read_root, "run_json": self._read_identity, "events": self._read_events,
            "status": self._read_status, "notes": self._read_notes, "inbox": self._read_inbox,
            "metrics": self._read_metrics, "spectra": self._read_spectra,
        }  # fmt: skip
        self._begin: dict[str, Callable[[], None]] = {
            "events": self._begin_events, "metrics": self._begin_metrics, "spectra": self._begin_spectra,
        }  # fmt: skip
        for begin in self._begin.values():
            begin()

    def _begin_events(self) -> None:
        self._events_reader = events_reader(self.paths, self._journals)
        self.history = History()
        self.events: list[Event] = []

    def _begin_metrics(self) -> None:
        self._metrics_reader = metrics_reader(self.paths, self._journals)
        self._columns = Columns()

    def _begin_spectra(self) -> None:
        self._spectra_reader = spectra_reader(self.paths, self._journals)
        self._spectra: list[SpectrumRow] = []

    # Reading.

    def refresh(self) -> None:
        """Take in what is new on disk."""
        with self._lock:
            self._follow_journals()
            for part in PARTS:
                if part in self._open:
                    self._refresh_part(part)

    def _follow_journals(self) -> None:
        """Begin anew where an attempt took the journals over."""
        attempts = mark(self.paths.attempts)
        if attempts == self._attempts:
            return
        try:
            journals, self._attempts, self._unlisted = self.paths.journals, attempts, ""
        except OSError as error:  # which journals count is not known: the page of this run says so
            self._unlisted = f"attempts cannot be read: {error.strerror or error}"
            return
        if journals != self._journals:
            self._journals = journals
            for part, begin in self._begin.items():
                self._files.pop(part, None)
                self._marks.pop(part, None)
                begin()

    def _refresh_part(self, part: str) -> None:
        if self._refused and part != "run_json":
            return  # a newer format: what these files mean is not known
        file = self._files.get(part)
        if file is None:
            file = self._files[part] = str(self._path_of(part))
        mark_now = mark(file, is_root=part == "root")
        if part in self._marks and self._marks[part] == mark_now:
            return
        self._marks[part] = mark_now
        self._versions[part] += 1
        if part not in self._read:
            return  # a folder whose files are read on demand
        try:
            self._read[part]()
        except Exception as error:  # whatever is in it: the page of this run says so, others go on
            why = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            self._problem = f"{self._path_of(part).name} cannot be read: {why}"

    def _path_of(self, part: str) -> Path:
        path: Path = self._journals / f"{part}.jsonl" if part in self._begin else getattr(self.paths, part)
        return path

    def state_now(self) -> str:
        """Return the state by the events, for a run that waits for this one.

        Never waits for another thread: two runs may name each other.
        """
        if self._lock.acquire(blocking=False):
            try:
                self._refresh_part("events")
            finally:
                self._lock.release()
        return self.history.state

    def has_open(self, part: str) -> bool:
        """Return whether this part is read."""
        return part in self._open

    def _opened(self, part: str) -> None:
        with self._lock:
            if part not in self._open:
                self._open.add(part)
                self._refresh_part(part)

    @property
    def columns(self) -> Columns:
        """Return all metrics so far."""
        self._opened("metrics")
        return self._columns

    @property
    def spectra(self) -> list[SpectrumRow]:
        """Return all spectra so far."""
        self._opened("spectra")
        return self._spectra

    def _read_root(self) -> None:
        self._oddities = summary.problem_of(self.paths)

    def _read_identity(self) -> None:
        try:
            self._run, self._problem, self._refused = read_run(self.paths), "", False
        except RunError as error:
            self._problem, self._refused = str(error), isinstance(error, NewerFormat)

    def _read_events(self) -> None:
        for lines in self._new_pieces(lambda: self._events_reader, self._begin_events):
            for event in cast(list[Event], self._events_reader.decode(lines)):
                if self.history.apply(event):
                    self.events.append(event)

    def _read_metrics(self) -> None:
        for lines in self._new_pieces(lambda: self._metrics_reader, self._begin_metrics):
            table = journal_tables.parse(lines)
            if table is None or not self._columns.extend(table):
                for record in self._metrics_reader.decode(lines):
                    self._columns.append(record)

    def _read_spectra(self) -> None:
        for lines in self._new_pieces(lambda: self._spectra_reader, self._begin_spectra):
            rows = _spectra_in(lines)
            if rows is None:
                spectra = cast(list[Spectrum], self._spectra_reader.decode(lines))
                rows = [_spectrum_row(spectrum) for spectrum in spectra]
            self._spectra += rows

    @staticmethod
    def _new_pieces(reader: Callable[[], JournalReader], begin: Callable[[], None]) -> Iterator[bytes]:
        """Yield new lines, piece by piece; when the file was replaced, begin anew."""
        restarts = reader().restarts
        for lines in reader().pieces():
            if reader().restarts > restarts:
                break
            yield lines
        if reader().restarts > restarts:
            begin()
            yield from reader().pieces()

    def _read_status(self) -> None:
        self._status = read_status(self.paths)

    def _read_notes(self) -> None:
        self._notes = commands.read_notes(self.paths)

    def _read_inbox(self) -> None:
        self._command_ids = commands.command_ids(self.paths)

    # Asking.

    def derived(self, name: str, compute: Callable[[], T], *parts: str, variant: float = 0.0) -> T:
        """Return what `compute` makes of these parts (default: all), once per change, for all sessions.

        Of several variants, which differ by a number, only the latest one is kept.
        """
        with self._lock:
            for part in parts:
                self._opened(part)
            versions = [*(self._versions[part] for part in parts or PARTS), variant]
            kept = self._derived.get(name)
            if kept is None or kept[0] != versions:
                kept = self._derived[name] = (versions, compute())
            return cast(T, kept[1])

    def summary(self) -> RunRow:
        """Return the run in short (storage.summary.Summary), and what only viewers need.

        Whatever is wrong with a run: its row says so, and the list of all runs is not empty for it.
        """
        with self._lock:
            try:
                return self._row()
            except Exception as error:
                return self._unreadable(f"{type(error).__name__}: {error}")

    def _row(self) -> RunRow:
        with self._lock:
            shown, status = self._summary(), self._status
            state = shown["state"]
            if status is not None and state == RunState.DEAD and self._watch.outlives(status):
                state = status.get("state", state)  # its beat goes on: it is somewhere else
            living = state not in (*NO_TRAINER, RunState.QUEUED)
            stale = status is not None and self._watch.is_stale(status) and living
            return {
                **shown,
                "state": RunState.STALE if stale else state,
                "living": living and not stale,
                "trouble": str((status.get("trouble") if status else None) or ""),
                "damaged": {reader.path.name: reader.damaged for reader in self._damaged()},
                "damage": {reader.path.name: reader.described for reader in self._damaged()},
                "task": self._configured("data", "task"),
                "family": self._configured("model", "family"),
                "unknown_events": self.history.unknown,
                "last_seen": status.get("t") if status else None,
                "noticed": self.history.noticed,
                "loss_lost_at": self.derived("loss lost", lambda: loss_lost_at(self.history), "events"),
                "not_adopted": tickets.why_not_started(self.paths, shown),
            }

    def _unreadable(self, problem: str) -> RunRow:
        return {
            **row_of(summary.unreadable(self.paths, problem)), "living": False, "trouble": "", "damaged": {},
            "task": "", "family": "", "unknown_events": 0, "last_seen": None, "loss_lost_at": None,
            "not_adopted": "", "damage": {}, "noticed": [],
        }  # fmt: skip

    def is_restless(self, row: RunRow) -> bool:
        """Return whether this summary may change although no file of the run does.

        Its trainer may die or fall silent, what a queued run waits for may end, and one that came from
        elsewhere may be adopted. A dead one stays dead, and one that fell silent on another machine stays so
        until it beats again.
        """
        if row["not_adopted"]:
            return True
        if row["state"] == RunState.QUEUED:
            return bool(self._run and references(self._run.config))
        if self._status is None or row["state"] in NO_TRAINER:
            return False
        return row["state"] != RunState.STALE or self._status.get("host") == socket.gethostname()

    def _summary(self) -> SummaryRow:
        if self._run is None:
            return row_of(summary.unreadable(self.paths, self._problem or "nothing was read yet"))
        combined = summary.combine(
            self._run, self.history, self._status, self._notes, self.paths,
            find_best=self._best, state_of=self._state_of,
        )  # fmt: skip
        return {**row_of(combined), "problem": self._problem or self._unlisted or self._oddities}

    def name(self) -> str:
        """Return the run's name as last read, without looking at the disk."""
        return summary.fold_notes(self._run, self._notes)["name"] if self._run else ""

    def _best(self) -> Best | None:
        if self._run is None:
            return None
        primary = self._run.primary
        compute = lambda: self.columns.best(primary, self.history.on_path)  # noqa: E731
        return self.derived("best", compute, "metrics", "events")

    def _configured(self, section: str, key: str) -> str:
        part = self._run.config.get(section) if self._run else None
        return str(part.get(key, "")) if isinstance(part, dict) else ""

    def _damaged(self) -> list[JournalReader]:
        readers = (self._events_reader, self._metrics_reader, self._spectra_reader)
        return [reader for reader in readers if reader.damaged]

    def config(self) -> dict[str, Any]:
        with self._lock:
            return self._run.config if self._run else {}

    def commands(self, limit: int = 5) -> list[CommandRow]:
        """Return the latest commands, newest first, each with the trainer's answer."""
        with self._lock:
            self._opened("inbox")
            return [self._answered(command_id) for command_id in reversed(self._command_ids[-limit:])]

    def _answered(self, command_id: str) -> CommandRow:
        outcome, asked = self.history.commands.get(command_id), self._command(command_id)
        return {
            **asked,
            "asked_because": asked.get("reason", ""),
            "at_step": asked.get("at_step"),
            "state": outcome.state if outcome else CommandState.REQUESTED,
            "step": outcome.step if outcome else None,
            "reason": outcome.reason if outcome else "",
        }

    def _command(self, command_id: str) -> CommandRow:
        """Return a command as it was sent. Commands are immutable: each is read once."""
        if command_id not in self._read_commands:
            command = commands.read_command(self.paths, command_id)
            sent = asdict(command) if command else {"id": command_id, "kind": ""}
            self._read_commands[command_id] = cast(CommandRow, sent)
        return self._read_commands[command_id]

    def proposal_numbers(self) -> list[int]:
        """Return the numbers of the proposals that were published, ascending."""
        compute = lambda: proposals.proposal_numbers(self.paths)  # noqa: E731
        return self.derived("proposal_numbers", compute, "proposals")


def _spectra_in(lines: bytes) -> Sequence[SpectrumRow] | None:
    """Return the spectra in these lines; None when they must be read one by one."""
    table = journal_tables.parse(lines, journal_tables.SPECTRA_LINE)
    if table is None:
        return None
    hsv = journal_tables.number_lists(table, "hsv")
    places = [
        journal_tables.whole_numbers(table, key)
        for key in ("step", "branch", "attempt", "layer", "state_dim")
    ]
    texts = [
        journal_tables.texts(table, key, default)
        for key, default in (("importance", "hsv"), ("snapshot", ""))
    ]
    numbers = [column.tolist() for column in places if column is not None]
    words = [column for column in texts if column is not None]
    if hsv is None or len(numbers) < len(places) or len(words) < len(texts):
        return None
    rows: list[SpectrumRow] = [
        {"step": step, "branch": branch, "attempt": attempt, "layer": layer, "state_dim": state_dim,
         "importance": importance, "snapshot": snapshot, "hsv": values}
        for step, branch, attempt, layer, state_dim, importance, snapshot, values
        in zip(*numbers, *words, hsv, strict=True)
    ]  # fmt: skip
    return rows if all(len(row["hsv"]) == row["state_dim"] > 0 and _in_range(row) for row in rows) else None


_PLACES = [
    (key, allowed)
    for key in ("step", "branch", "attempt", "layer")
    if (allowed := range_on(hints_of(Spectrum)[key]))
]


def _in_range(row: SpectrumRow) -> bool:
    return all(allowed.least <= row[key] <= allowed.most for key, allowed in _PLACES)  # type: ignore[literal-required]


def _spectrum_row(spectrum: Spectrum) -> SpectrumRow:
    """Return a spectrum with its values as an array."""
    values = [np.nan if value is None else value for value in spectrum["hsv"]]
    return {
        "step": spectrum["step"], "branch": spectrum["branch"], "attempt": spectrum["attempt"],
        "layer": spectrum["layer"], "state_dim": len(values), "importance": spectrum.get("importance", "hsv"),
        "snapshot": spectrum.get("snapshot", ""), "hsv": np.array(values, dtype=np.float64),
    }  # fmt: skip
