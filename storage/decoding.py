"""From JSON to records: the one place where what was read from disk gets a type.

Each function checks what makes a record one of its kind and trusts the rest; None where it is not one.
"""

from collections.abc import Iterable
from typing import cast

from hankelboard.storage import schema
from hankelboard.storage.layout import FORMAT_VERSION
from hankelboard.storage.records import MAX_NAME, MAX_REASON, Record
from hankelboard.storage.vocabulary import CommandKind, NoteKind, Verdict, values


def decode_run(record: Record, run_id: str) -> schema.RunRecord | None:
    """Return a run's identity, with defaults for what older records lack; None without a configuration."""
    config, tags, seed = record.get("config"), record.get("tags"), record.get("seed")
    if not isinstance(config, dict):
        return None
    version, created = record.get("format_version"), record.get("created") or record.get("t")
    return {
        "format_version": version if isinstance(version, int) else FORMAT_VERSION,
        "t": str(record.get("t") or ""),
        "id": run_id if record.get("id") is None else str(record["id"]),
        "name": str(record.get("name") or run_id),
        "created": str(created or ""),
        "config": config,
        "preset": str(record.get("preset") or ""),
        "group": str(record.get("group") or ""),
        "role": str(record.get("role") or ""),
        "series": str(record.get("series") or ""),
        "seed": seed if isinstance(seed, int) else 0,
        "tags": [str(tag) for tag in tags] if isinstance(tags, list) else [],
        "queued": record.get("queued") is not False,
        "by": str(record.get("by") or ""),
        "by_role": str(record.get("by_role") or ""),
    }


def decode_decision(record: Record | None, proposal: int) -> schema.DecisionRecord:
    """Return a decision on a proposal. One that makes no sense has an empty verdict, which is refused."""
    record = record or {}
    verdict, ranks = record.get("verdict"), record.get("ranks")
    return {
        "decision_id": str(record.get("decision_id", "")),
        "proposal": proposal,
        "verdict": verdict if verdict in values(Verdict) else "",
        "ranks": list(ranks) if isinstance(ranks, list) else None,
        "by": str(record.get("by", "unknown"))[:MAX_NAME],
        "by_role": str(record.get("by_role") or "")[:MAX_NAME],
        "via": str(record.get("via", ""))[:MAX_NAME],
        "t": str(record.get("t", "")),
        "reason": str(record.get("reason", ""))[:MAX_REASON],
    }


def decode_events(records: Iterable[Record]) -> list[schema.Event]:
    """Return lines of a journal as events; `History.apply` counts those that are none."""
    return [cast(schema.Event, record) for record in records]


def decode_status(record: Record | None) -> schema.Status | None:
    """Return a status, or None without a record."""
    return cast(schema.Status, record) if record is not None else None


def decode_worker(record: Record | None) -> schema.WorkerRecord | None:
    """Return a worker's record, or None without one."""
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
