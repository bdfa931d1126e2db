"""From JSON to records: the one place where what was read from disk gets a type.

Each function checks what makes a record one of its kind and believes it the rest; None where it is none.
"""

from collections.abc import Iterable
from typing import cast

from hankelboard.storage import schema
from hankelboard.storage.records import Record
from hankelboard.storage.vocabulary import CommandKind, NoteKind, values


def decode_events(records: Iterable[Record]) -> list[schema.Event]:
    """Return lines of a journal as events; `History.apply` counts those that are none."""
    return [cast(schema.Event, record) for record in records]


def decode_status(record: Record | None) -> schema.Status | None:
    return cast(schema.Status, record) if record is not None else None


def decode_worker(record: Record | None) -> schema.WorkerRecord | None:
    return cast(schema.WorkerRecord, record) if record is not None else None


def decode_spectrum(record: Record) -> schema.Spectrum | None:
    """Return a spectrum of a layer at a step, or None."""
    fits = all(isinstance(record.get(key), int) for key in ("layer", "step"))
    return cast(schema.Spectrum, record) if fits and isinstance(record.get("hsv"), list) else None


def decode_proposal(record: Record | None) -> schema.Proposal | None:
    """Return a proposal that has layers, or None."""
    layers = record.get("layers") if record else None
    return cast(schema.Proposal, record) if isinstance(layers, list) and layers else None


def decode_measurement(record: Record | None, proposal: int) -> schema.MeasurementRecord | None:
    """Return a measurement for this proposal, or None."""
    fits = record is not None and record.get("proposal") == proposal
    return cast(schema.MeasurementRecord, record) if fits else None


def decode_command(record: Record | None) -> schema.CommandRecord | None:
    """Return a command of a kind that there is, or None."""
    fits = record is not None and record.get("command") in values(CommandKind)
    return cast(schema.CommandRecord, record) if fits else None


def decode_note(record: Record | None) -> schema.Note | None:
    """Return a note of a kind that there is, or None."""
    fits = record is not None and record.get("note") in values(NoteKind)
    return cast(schema.Note, record) if fits else None


def decode_manifest(record: Record | None) -> schema.Manifest | None:
    """Return a manifest that lists files, or None."""
    fits = record is not None and isinstance(record.get("files"), dict)
    return cast(schema.Manifest, record) if fits else None


def decode_analysis(record: Record | None) -> schema.Analysis | None:
    """Return an analysis that has layers, or None."""
    fits = record is not None and isinstance(record.get("layers"), list)
    return cast(schema.Analysis, record) if fits else None
