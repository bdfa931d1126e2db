"""What the web process remembers of one run: journals read so far, folded; small files by their marks.

Refreshing costs a handful of stat calls when nothing changed, and reads only new bytes when something did.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from app.series import Columns
from storage import commands, proposals, summary
from storage.errors import RunError
from storage.history import History
from storage.journal import JournalReader
from storage.layout import RunPaths
from storage.records import Record
from storage.runs import Run, read_run
from storage.status import BeatWatch, read_status
from storage.summary import PRIMARY_METRIC

Mark = tuple[int, int, int] | None


def mark(path: Path) -> Mark:
    """Changes when the file or the names in the folder change; None when there is nothing."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


class RunCache:
    """One run. All methods may be called from any thread."""

    def __init__(self, paths: RunPaths):
        self.paths = paths
        self.version = 0
        """Rises whenever something that is shown may have changed."""
        self._lock = threading.RLock()
        self._marks: dict[Path, Mark] = {}
        self._run: Run | None = None
        self._problem = ""
        self._status: Record | None = None
        self._notes: list[Record] = []
        self._commands: dict[str, dict[str, Any]] = {}
        self._watch = BeatWatch()
        self._begin_events()
        self._begin_metrics()
        self._begin_spectra()
        self._derived: dict[str, tuple[int, Any]] = {}

    def _begin_events(self) -> None:
        self._events_reader = JournalReader(self.paths.events)
        self.history = History()
        self.events: list[Record] = []

    def _begin_metrics(self) -> None:
        self._metrics_reader = JournalReader(self.paths.metrics)
        self.columns = Columns()
        self._evaluations: list[Record] = []

    def _begin_spectra(self) -> None:
        self._spectra_reader = JournalReader(self.paths.spectra)
        self.spectra: list[Record] = []

    def refresh(self) -> None:
        """Take in what is new on disk."""
        with self._lock:
            changed = [
                self._changed(self.paths.run_json, self._read_identity),
                self._changed(self.paths.events, self._read_events),
                self._changed(self.paths.metrics, self._read_metrics),
                self._changed(self.paths.spectra, self._read_spectra),
                self._changed(self.paths.status, self._read_status),
                self._changed(self.paths.notes, self._read_notes),
                self._changed(self.paths.inbox, self._read_commands),
                self._changed(self.paths.proposals, lambda: None),
                self._changed(self.paths.decisions, lambda: None),
                self._changed(self.paths.checkpoints, lambda: None),
            ]
            if any(changed):
                self.version += 1

    def _changed(self, path: Path, read: Callable[[], None]) -> bool:
        seen = mark(path)
        if path in self._marks and self._marks[path] == seen:
            return False
        self._marks[path] = seen
        try:
            read()
        except OSError as error:
            self._problem = f"{path.name} cannot be read: {error.strerror}"
        return True

    def _read_identity(self) -> None:
        try:
            self._run, self._problem = read_run(self.paths), ""
        except RunError as error:
            self._problem = str(error)

    def _read_events(self) -> None:
        for event in self._new_records(lambda: self._events_reader, self._begin_events):
            self.history.apply(event)
            self.events.append(event)

    def _read_metrics(self) -> None:
        for record in self._new_records(lambda: self._metrics_reader, self._begin_metrics):
            self.columns.append(record)
            if PRIMARY_METRIC in record:
                self._evaluations.append(record)

    def _read_spectra(self) -> None:
        for record in self._new_records(lambda: self._spectra_reader, self._begin_spectra):
            if isinstance(record.get("hsv"), list) and isinstance(record.get("layer"), int):
                self.spectra.append(record)

    @staticmethod
    def _new_records(reader: Callable[[], JournalReader], begin: Callable[[], None]) -> Iterator[Record]:
        """New records, piece by piece; when the file was replaced, all is forgotten and read anew."""
        restarts = reader().restarts
        for batch in reader().batches():
            if reader().restarts > restarts:
                break
            yield from batch
        if reader().restarts > restarts:
            begin()
            for batch in reader().batches():
                yield from batch

    def _read_status(self) -> None:
        self._status = read_status(self.paths)

    def _read_notes(self) -> None:
        self._notes = commands.read_notes(self.paths)

    def _read_commands(self) -> None:
        """Commands are immutable: only ids that are new are read."""
        for command_id in commands.command_ids(self.paths):
            if command_id not in self._commands:
                command = commands.read_command(self.paths, command_id)
                self._commands[command_id] = asdict(command) if command else {"id": command_id, "kind": ""}

    def derived(self, name: str, compute: Callable[[], Any]) -> Any:
        """What `compute` makes of the present version, computed once for all sessions."""
        with self._lock:
            known = self._derived.get(name)
            if known is None or known[0] != self.version:
                known = self._derived[name] = (self.version, compute())
            return known[1]

    def summary(self) -> dict[str, Any]:
        """The run in short (storage.summary.Summary), with `stale`, `trouble`, `damaged` and `metric`."""
        with self._lock:
            shown = self._summary()
            status = self._status or {}
            living = shown["state"] not in (*summary.ENDED, "queued", "dead", "unreadable")
            stale = bool(status) and self._watch.is_stale(status) and living
            return {
                **shown,
                "state": "stale" if stale else shown["state"],
                "living": living and not stale,
                "trouble": str(status.get("trouble") or ""),
                "damaged": self._damaged(),
                "task": self._configured("data", "task"),
                "family": self._configured("model", "family"),
                "unknown_events": self.history.unknown,
            }

    def _summary(self) -> dict[str, Any]:
        if self._run is None:
            return asdict(summary.unreadable(self.paths, self._problem or "nothing was read yet"))
        combined = summary.combine(
            self._run, self.history, self._status, self._notes, self.paths, metrics=self._evaluations
        )
        return {**asdict(combined), "problem": self._problem}

    def _configured(self, section: str, key: str) -> str:
        part = self._run.config.get(section) if self._run else None
        return str(part.get(key, "")) if isinstance(part, dict) else ""

    def _damaged(self) -> dict[str, int]:
        readers = (self._events_reader, self._metrics_reader, self._spectra_reader)
        return {reader.path.name: reader.damaged for reader in readers if reader.damaged}

    def config(self) -> dict[str, Any]:
        with self._lock:
            return self._run.config if self._run else {}

    def commands(self, limit: int = 5) -> list[dict[str, Any]]:
        """The latest commands, newest first, each with the trainer's answer."""
        with self._lock:
            found = []
            for command_id in sorted(self._commands, reverse=True)[:limit]:
                outcome = self.history.commands.get(command_id)
                answer = asdict(outcome) if outcome else {"state": "requested", "step": None, "reason": ""}
                asked = self._commands[command_id]
                scheduled = {"asked_because": asked.get("reason", ""), "at_step": asked.get("at_step")}
                found.append({**asked, **answer, **scheduled})
            return found

    def proposal_numbers(self) -> list[int]:
        """Numbers of the proposals that were published, ascending."""
        with self._lock:
            return self.derived("proposal_numbers", lambda: proposals.proposal_numbers(self.paths))
