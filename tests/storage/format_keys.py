"""Writes docs/KEYS.md, the tables of all keys, from the types: python -m tests.storage.format_keys"""

from pathlib import Path

from hankelboard.storage import schema
from hankelboard.storage.shapes import SHOULD, hints_of, notes_on, shape_of, types_in, vocabulary_on
from hankelboard.storage.vocabulary import EventKind

DOCUMENT = Path(__file__).parents[2] / "docs" / "KEYS.md"
RECORDS = {
    "run.json": schema.RunRecord, "status.json": schema.Status, "attempts/N.json": schema.AttemptRecord,
    "metrics.jsonl": schema.Metrics,
    "spectra.jsonl": schema.Spectrum, "events.jsonl": schema.Event, "proposals/N.json": schema.Proposal,
    "proposals/N.waited.json": schema.Waited, "decisions/N.json": schema.DecisionRecord,
    "inbox/ID.json": schema.CommandRecord, "notes/ID.json": schema.Note,
    "measurements/ID.json": schema.MeasurementRecord, "checkpoints/X/manifest.json": schema.Manifest,
    "analyses/ID.json": schema.Analysis, ".workers/HOST-PID.json": schema.WorkerRecord,
}  # fmt: skip
HEAD = """# Keys of every record

Made from `storage/schema.py` by `python -m tests.storage.format_keys`; what the keys mean:
[FORMAT.md](FORMAT.md).

- **required**: a record without it, or with something else under it, is damaged: no reader takes it.
- **should**: readers do without it and show less; `hankelboard verify --strict` asks for it.
- **may**: where there is something to say.

What is there must have its type, whichever of the three it is. `true` is no number; a key that is in no table
is ignored. Numbers have the ends that are given; both are allowed.
"""
EVENTS = """## Kinds of events

Besides `t`, `kind`, `step`, `branch` and `attempt`, whose types are those of events.jsonl above. Of a kind
that a reader does not know it asks for these five alone, and counts it.

| kind | required | may |
|---|---|---|
"""


def document():
    """The whole text."""
    inner = dict.fromkeys(found for record in RECORDS.values() for found in inside(record))
    inner |= dict.fromkeys(schema.EVENT_TYPES.values())
    parts = [HEAD, *(f"## {name}\n\n{table(record)}" for name, record in RECORDS.items())]
    parts.append(EVENTS + "".join(map(event_row, EventKind)))
    parts.append("## What lies inside\n")
    parts += [f"### {record.__name__}\n\n{table(record)}" for record in inner]
    return "\n".join(parts)


def inside(record):
    for hint in hints_of(record).values():
        for found in types_in(hint):
            yield found
            yield from inside(found)


def table(record):
    return "| key | what | |\n|---|---|---|\n" + "".join(
        f"| `{key}` | {words(hint)} | {how_needed(record, key, hint)} |\n"
        for key, hint in hints_of(record).items()
    )


def words(hint):
    told = shape_of(hint).words
    inner = [f"[{found.__name__}](#{found.__name__.lower()})" for found in types_in(hint)]
    listed = vocabulary_on(hint)
    return (
        told + (f": {', '.join(inner)}" if inner else "") + (f", one of {listed.__name__}" if listed else "")
    )


def how_needed(record, key, hint):
    if key in record.__required_keys__:
        return "required"
    return "should" if SHOULD in notes_on(hint) else "may"


def event_row(kind):
    required, may = ("".join(f" `{key}`" for key in keys) for keys in schema.EVENT_KEYS[kind])
    return f"| {kind} |{required} |{may} |\n"


if __name__ == "__main__":
    DOCUMENT.write_text(document())
