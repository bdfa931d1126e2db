"""`hankelboard verify --strict`: what a writer leaves out, or does otherwise than the format says.

Nothing here is damage: readers manage. Each remark is for the author of another writer.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hankelboard.storage import schema
from hankelboard.storage.checkpoints import checkpoint_names
from hankelboard.storage.decoding import (
    Misfit,
    misfit_of_attempt,
    misfit_of_command,
    misfit_of_decision,
    misfit_of_manifest,
    misfit_of_note,
    misfit_of_proposal,
    misfit_of_run,
    misfit_of_status,
)
from hankelboard.storage.history import ENDINGS, History
from hankelboard.storage.journal import metrics_reader, read_events, spectra_reader
from hankelboard.storage.layout import ATTEMPT_JSON, RunPaths
from hankelboard.storage.opening import names_if_any
from hankelboard.storage.records import Record, read_record
from hankelboard.storage.shapes import SHOULD, hints_of, notes_on, types_in, vocabulary_on
from hankelboard.storage.vocabulary import EventKind, RunState, values

Remark = tuple[str, str]
"""Where, and what."""

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
BEFORE_ANY_ATTEMPT = (
    EventKind.ATTEMPT_STARTED, EventKind.RUN_CANCELLED, EventKind.RUN_FAILED, EventKind.COMMAND_ACCEPTED,
    EventKind.COMMAND_APPLIED, EventKind.COMMAND_REFUSED,
)  # fmt: skip
"""Kinds of events that need no attempt: who has the lock writes them while nothing is trained."""


def remarks_on(paths: RunPaths) -> Iterator[Remark]:
    """Yield what is missing from a run, or not as the format says."""
    events = read_events(paths)
    yield from _files(paths)
    for where, kind, records in _records(paths, events):
        yield from _counted(where, (remark for record in records for remark in _record(record, kind)))
    yield from _counted(paths.events.name, _order(events))
    yield from _counted(paths.metrics.name, _rising(metrics_reader(paths).read_new()))
    yield from _counted(paths.spectra.name, _descending(spectra_reader(paths).read_new()))
    yield from _named_files(paths, events)


def _counted(where: str, remarks: Iterable[str]) -> Iterator[Remark]:
    """Yield each remark once, with how many records it is about."""
    for remark, count in Counter(remarks).items():
        yield where, remark if count == 1 else f"{remark} ({count:,} times)"


def _files(paths: RunPaths) -> Iterator[Remark]:
    needed = {
        paths.events: "without it the run is queued for ever",
        paths.metrics: "without it there are no curves",
        paths.status: "without it the state of a run that has not ended is unknown",
    }
    yield from ((file.name, f"is missing: {why}") for file, why in needed.items() if not file.exists())
    yield from (
        (f"{folder.name}/", "is no folder, so nothing can be put there")
        for folder in paths.folders
        if folder.exists() and not folder.is_dir()
    )


def _records(paths: RunPaths, events: list[schema.Event]) -> Iterator[tuple[str, Any, list[Record]]]:
    """Yield the sound records of each file, with their type."""
    yield paths.run_json.name, schema.RunRecord, _sound([paths.run_json], misfit_of_run)
    yield paths.status.name, schema.Status, _sound([paths.status], misfit_of_status)
    for kind in dict.fromkeys(event["kind"] for event in events):
        of_kind: list[Any] = [event for event in events if event["kind"] == kind]
        yield paths.events.name, schema.EVENT_TYPES.get(kind, schema.Event), of_kind
    yield paths.metrics.name, schema.Metrics, metrics_reader(paths).read_new()
    yield paths.spectra.name, schema.Spectrum, spectra_reader(paths).read_new()
    claims = [file for file in _json_in(paths.attempts) if ATTEMPT_JSON.fullmatch(file.name)]
    yield f"{paths.attempts.name}/", schema.AttemptRecord, _sound(claims, misfit_of_attempt)
    folders: tuple[tuple[Path, Any, Misfit], ...] = (
        (paths.proposals, schema.Proposal, misfit_of_proposal),
        (paths.decisions, schema.DecisionRecord, misfit_of_decision),
        (paths.inbox, schema.CommandRecord, misfit_of_command),
        (paths.notes, schema.Note, misfit_of_note),
    )
    for folder, type_, misfit in folders:
        yield f"{folder.name}/", type_, _sound(_json_in(folder), misfit)
    manifests = [paths.manifest(name) for name in checkpoint_names(paths)]
    yield f"{paths.checkpoints.name}/", schema.Manifest, _sound(manifests, misfit_of_manifest)


def _json_in(folder: Path) -> list[Path]:
    return [folder / name for name in sorted(names_if_any(folder)) if name.endswith(".json")]


def _sound(files: Iterable[Path], misfit: Misfit) -> list[Record]:
    records = (read_record(file) for file in files)
    return [record for record in records if record is not None and not misfit(record)]


# One record.


def _record(record: Mapping[str, Any], kind: Any) -> Iterator[str]:
    """Yield keys that a good writer writes and words that no list has, in a record and those inside."""
    for key, hint in hints_of(kind).items():
        if key not in record:
            if SHOULD in notes_on(hint):
                yield f"{key}: should be there"
            continue
        value = record[key]
        words = vocabulary_on(hint)
        if words is not None and value and value not in values(words):
            yield f"{key}: {value!r} is none of {', '.join(values(words))}"
        if key == "t" and TIME.fullmatch(value) is None:
            yield f"t: {value!r} is no time such as 2026-11-23T18:10:33.269Z"
        for inner in types_in(hint):
            parts = [
                part for part in (value if isinstance(value, list) else [value]) if isinstance(part, dict)
            ]
            yield from (f"{key}.{remark}" for part in parts for remark in _record(part, inner))


# The order of records.


def _order(events: list[schema.Event]) -> Iterator[str]:
    history, training = History(), False
    for event in events:
        kind, unknown = event["kind"], history.unknown
        if not training and kind not in BEFORE_ANY_ATTEMPT:
            yield f"{kind}: comes while no attempt is at work; attempt_started comes first"
        if kind == EventKind.ATTEMPT_STARTED and event["attempt"] <= history.attempt:
            yield "attempt_started: attempt must be higher than that of the attempt before"
        history.apply(event)
        if history.unknown > unknown:
            yield f"{kind}: does not follow from the events before it, or is no kind of event"
        training = kind == EventKind.ATTEMPT_STARTED or (training and kind not in ENDINGS)
    if not events or history.state == RunState.QUEUED:
        yield "no attempt_started: the run is queued"


def _rising(records: list[Record]) -> Iterator[str]:
    last: dict[tuple[int, int], int] = {}
    for record in records:
        place = record["branch"], record["attempt"]
        if record["step"] < last.get(place, -1):
            yield "step: falls within an attempt; what was trained again belongs to a new attempt or branch"
        last[place] = max(record["step"], last.get(place, -1))


def _descending(records: list[Record]) -> Iterator[str]:
    for record in records:
        hsv = [value for value in record["hsv"] if value is not None]
        if hsv != sorted(hsv, reverse=True):
            yield "hsv: must descend"


def _named_files(paths: RunPaths, events: list[schema.Event]) -> Iterator[Remark]:
    published = (event for event in events if event["kind"] == EventKind.PROPOSAL_PUBLISHED)
    for number in (event["proposal"] for event in published):
        if number is not None and not paths.proposal(number).exists():
            yield f"proposals/{number:06d}.json", "was published but is not there"
