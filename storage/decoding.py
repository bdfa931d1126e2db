"""From JSON to records: the one place where what was read from disk gets a type.

What does not fit its type in storage/schema.py is damaged, for every reader alike: a decoder returns None
then, and the `misfit` of its kind says which key does not fit and what was expected there.
"""

from collections.abc import Callable, Mapping
from typing import cast

from hankelboard.storage import schema
from hankelboard.storage.layout import FORMAT_VERSION
from hankelboard.storage.records import MAX_NAME, MAX_REASON, Record, decode, encode
from hankelboard.storage.scores import PRIMARY_METRIC
from hankelboard.storage.shapes import shape_of
from hankelboard.storage.vocabulary import Better, CommandKind, EventKind, NoteKind, Verdict, values

Misfit = Callable[[Record], str]
"""Returns what does not fit in a record, empty when it is one of its kind."""

_KINDS = frozenset(values(EventKind))
_EVENTS = {kind: shape_of(schema.EVENT_TYPES.get(kind, schema.Event)) for kind in _KINDS}
_OTHER_EVENT = shape_of(schema.UnknownEvent)

misfit_of_metrics: Misfit = shape_of(schema.Metrics).misfit
misfit_of_status: Misfit = shape_of(schema.Status).misfit
misfit_of_worker: Misfit = shape_of(schema.WorkerRecord).misfit
misfit_of_manifest: Misfit = shape_of(schema.Manifest).misfit
misfit_of_attempt: Misfit = shape_of(schema.AttemptRecord).misfit
_spectrum = shape_of(schema.Spectrum).misfit
_run = shape_of(schema.RunRecord).misfit
_sections = shape_of(schema.RunConfig).misfit
_decision = shape_of(schema.DecisionRecord).misfit
_command = shape_of(schema.CommandRecord).misfit
_note = shape_of(schema.Note).misfit
_proposal = shape_of(schema.Proposal).misfit
_measurement = shape_of(schema.MeasurementRecord).misfit
_analysis = shape_of(schema.Analysis).misfit


def _fits(record: Record | None, misfit: Misfit) -> bool:
    return record is not None and not misfit(record)


def sound(record: Mapping[str, object], misfit: Misfit) -> Mapping[str, object]:
    """Return a record that is about to be written. Raises ValueError where no reader would take it."""
    written = decode(encode(record))
    problem = "is no JSON" if written is None else misfit(written)
    if problem:
        raise ValueError(f"not written, because it could not be read: {problem}")
    return record


# Lines of journals.


def misfit_of_event(record: Record) -> str:
    """Return what does not fit in a line of events.jsonl. Of an unknown kind only its place is asked."""
    kind = record.get("kind")
    if type(kind) is not str or kind not in _KINDS:
        return _OTHER_EVENT.misfit(record)
    missing = next((key for key in schema.EVENT_KEYS[kind][0] if key not in record), None)
    if missing is not None:
        return f"{missing}: is missing from {kind}"
    return _EVENTS[kind].misfit(record)


def misfit_of_spectrum(record: Record) -> str:
    """Return what does not fit in a line of spectra.jsonl."""
    problem = _spectrum(record)
    if not problem and len(record["hsv"]) != record["state_dim"]:
        return f"hsv: must be a list of {record['state_dim']} numbers, as many as state_dim says"
    return problem


# Whole files.


def misfit_of_run(record: Record) -> str:
    """Return what does not fit in run.json."""
    problem = _run(record)
    if not problem and (section := _sections(record["config"])):
        return f"config.{section}"
    return problem


def decode_run(record: Record, run_id: str) -> schema.RunRecord | None:
    """Return a run's identity, with defaults for what older records lack; None when it does not fit."""
    if misfit_of_run(record):
        return None
    return {
        "format_version": FORMAT_VERSION, "t": "", "id": run_id, "preset": "", "group": "", "role": "",
        "series": "", "seed": 0, "tags": [], "by": "", "by_role": "", "attached": False,
        "primary": {"metric": PRIMARY_METRIC, "better": Better.HIGHER},
        "created": record.get("t", ""), **cast(schema.RunRecord, record),
        "name": record.get("name") or run_id,
        "queued": record.get("queued", True) and not record.get("attached", False),
    }  # fmt: skip


def decode_status(record: Record | None) -> schema.Status | None:
    """Return a status, or None."""
    return cast(schema.Status, record) if _fits(record, misfit_of_status) else None


def decode_attempt(record: Record | None, number: int) -> schema.AttemptRecord | None:
    """Return the claim of this attempt, or None."""
    fits = record is not None and not misfit_of_attempt(record) and record["attempt"] == number
    return cast(schema.AttemptRecord, record) if fits else None


def decode_worker(record: Record | None) -> schema.WorkerRecord | None:
    """Return a worker's record, or None."""
    return cast(schema.WorkerRecord, record) if _fits(record, misfit_of_worker) else None


def misfit_of_proposal(record: Record) -> str:
    """Return what does not fit in a proposal: lists of a wrong length and impossible ranks, too."""
    problem = _proposal(record)
    if problem:
        return problem
    layers = record["layers"]
    if not layers or len(record["ranks"]) != len(layers):
        return f"ranks: must be a list of {max(1, len(layers))}, one rank per layer"
    if record["tolerance"] >= 1:
        return "tolerance: must be below 1"
    problems = (
        _in_layer(place, layer, rank)
        for place, (layer, rank) in enumerate(zip(layers, record["ranks"], strict=True))
    )
    return next(filter(None, problems), "") or _in_points(record["measured"], len(layers))


_OVER_RANKS = ("discarded_share", "realisable", "condition", "realised_modes", "parameters")


def _in_layer(place: int, layer: Record, rank: int) -> str:
    states = layer["state_dim"]
    lengths = {"hsv": states} | dict.fromkeys(_OVER_RANKS, states + 1)
    if layer["error_bound"] is not None:
        lengths["error_bound"] = states + 1
    for key, length in lengths.items():
        if len(layer[key]) != length:
            return f"layers[{place}].{key}: must have {length} items"
    outside = not (1 <= rank <= states and 1 <= layer["rank"] <= states)
    return f"layers[{place}].rank: must be from 1 to {states}" if outside else _in_figures(place, layer)


def _in_figures(place: int, layer: Record) -> str:
    error = layer.get("output_error")
    if error is not None and len(error["ranks"]) != len(error["errors"]):
        return f"layers[{place}].output_error: ranks and errors must have one length"
    return _in_response(place, layer)


def _in_response(place: int, layer: Record) -> str:
    lengths = {len(curve) for curve in (layer.get("response") or {}).values() if isinstance(curve, list)}
    return f"layers[{place}].response: all its lists must have one length" if len(lengths) > 1 else ""


_PAIRS = ("loss_change", "accuracy_change")


def _in_points(measured: Record, layers: int) -> str:
    for place, point in enumerate(measured["points"]):
        if len(point["ranks"]) != layers:
            return f"measured.points[{place}].ranks: must have {layers} items, one per layer"
        if any(len(point.get(key, _PAIRS)) != 2 for key in _PAIRS):
            return f"measured.points[{place}]: an interval must have two ends"
    return ""


def decode_proposal(record: Record | None) -> schema.Proposal | None:
    """Return a proposal, or None."""
    return cast(schema.Proposal, record) if _fits(record, misfit_of_proposal) else None


def misfit_of_measurement(record: Record) -> str:
    """Return what does not fit in a measurement. Whether it fits its proposal is not looked at."""
    problem = _measurement(record)
    if problem:
        return problem
    layers = {len(record["layers"]), *(len(point["ranks"]) for point in record["points"])}
    if len(layers) > 1:
        return "points: ranks and layers must have one length"
    return _in_points(record, len(record["layers"])).removeprefix("measured.") or next(
        filter(None, (_in_figures(place, layer) for place, layer in enumerate(record["layers"]))), ""
    )


def decode_measurement(record: Record | None, proposal: int) -> schema.MeasurementRecord | None:
    """Return a measurement for this proposal, or None."""
    decoded = cast(schema.MeasurementRecord, record) if _fits(record, misfit_of_measurement) else None
    return decoded if decoded is not None and decoded["proposal"] == proposal else None


def misfit_of_decision(record: Record) -> str:
    """Return what does not fit in a decision."""
    return _decision(record) or _word(record, "verdict", values(Verdict))


def decode_decision(record: Record | None, proposal: int) -> schema.DecisionRecord:
    """Return a decision on a proposal. One that makes no sense has an empty verdict, which is refused.

    Whether the ranks can be is for the trainer to say: which layer, and what can be instead.
    """
    record = record or {}
    fits = not misfit_of_decision(record)
    by = record.get("by")
    return {
        "decision_id": record.get("decision_id", "") if fits else "",
        "proposal": proposal,
        "verdict": record["verdict"] if fits else "",
        "ranks": record.get("ranks") if fits else None,
        "by": by[:MAX_NAME] if isinstance(by, str) else "unknown",
        "by_role": record.get("by_role", "")[:MAX_NAME] if fits else "",
        "via": record.get("via", "")[:MAX_NAME] if fits else "",
        "t": record.get("t", "") if fits else "",
        "reason": record.get("reason", "")[:MAX_REASON] if fits else "",
    }


def misfit_of_command(record: Record) -> str:
    """Return what does not fit in a command."""
    return _command(record) or _word(record, "command", values(CommandKind))


def decode_command(record: Record | None) -> schema.CommandRecord | None:
    """Return a command of a kind that there is, or None."""
    return cast(schema.CommandRecord, record) if _fits(record, misfit_of_command) else None


def misfit_of_note(record: Record) -> str:
    """Return what does not fit in a note."""
    return _note(record) or _word(record, "note", values(NoteKind))


def decode_note(record: Record | None) -> schema.Note | None:
    """Return a note of a kind that there is, or None."""
    return cast(schema.Note, record) if _fits(record, misfit_of_note) else None


def _word(record: Record, key: str, words: tuple[str, ...]) -> str:
    return "" if record[key] in words else f"{key}: must be one of {', '.join(words)}"


def decode_manifest(record: Record | None) -> schema.Manifest | None:
    """Return a checkpoint's manifest, or None."""
    return cast(schema.Manifest, record) if _fits(record, misfit_of_manifest) else None


def misfit_of_analysis(record: Record) -> str:
    """Return what does not fit in an analysis."""
    problem = _analysis(record)
    if problem:
        return problem
    for place, layer in enumerate(record["layers"]):
        for row in layer["regret"]:
            curves = (row["regret"], row.get("cut_regret", row["regret"]))
            if any(len(curve) != len(layer["steps"]) for curve in curves) or not row["random"]:
                return f"layers[{place}].regret: must have one value a step, and random ones"
    return ""


def decode_analysis(record: Record | None) -> schema.Analysis | None:
    """Return an analysis, or None."""
    return cast(schema.Analysis, record) if _fits(record, misfit_of_analysis) else None
