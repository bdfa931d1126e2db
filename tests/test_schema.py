"""The types of records are true of the document and of old runs, and no key is asked for that is in none."""

import ast
import json
import re
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest

from hankelboard.app.data import proposals, run_cache, runs
from hankelboard.storage import schema
from hankelboard.storage.records import decode
from hankelboard.storage.vocabulary import EventKind

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "FORMAT.md").read_text()
EXAMPLES = dict(re.findall(r"```json (\w+)\n(.*?)```", DOCUMENT, re.DOTALL))
TYPES = {
    "run": schema.RunRecord, "status": schema.Status, "metrics": schema.Metrics, "spectra": schema.Spectrum,
    "proposal": schema.Proposal, "decision": schema.DecisionRecord, "command": schema.CommandRecord,
    "measurement": schema.MeasurementRecord, "analysis": schema.Analysis, "note": schema.Note,
    "manifest": schema.Manifest, "attempt": schema.AttemptRecord,
}  # fmt: skip
EVENT_TYPES = {
    EventKind.REDUCTION_APPLIED: schema.ReductionApplied,
    EventKind.REDUCTION_JUDGED: schema.ReductionJudged,
}
GOLDEN = sorted((ROOT / "tests" / "golden").glob("v*/*/run"))


def misfits(value, hint, where="record"):
    """Where a value is not what its type says: keys too many or missing, values of another type."""
    if hint is Any:
        return
    if is_typeddict(hint):
        yield from record_misfits(value, hint, where)
    elif get_origin(hint) in (Union, UnionType):
        if not any(list(misfits(value, part, where)) == [] for part in get_args(hint)):
            yield f"{where} = {value!r} is no {hint}"
    elif get_origin(hint) is list:
        for place, item in enumerate(value if isinstance(value, list) else [value]):
            yield from misfits(item, get_args(hint)[0], f"{where}[{place}]")
    elif get_origin(hint) is dict:
        for key, item in value.items():
            yield from misfits(item, get_args(hint)[1], f"{where}.{key}")
    elif hint is None or hint is NoneType:
        if value is not None:
            yield f"{where} = {value!r} is not null"
    elif not isinstance(value, (int, float) if hint is float else hint) or (hint is int and value is True):
        yield f"{where} = {value!r} is no {hint}"


def record_misfits(record, hint, where):
    if not isinstance(record, dict):
        yield f"{where} is no object"
        return
    hints = get_type_hints(hint)
    yield from (f"{where}.{key} is missing" for key in hint.__required_keys__ - record.keys())
    for key, value in record.items():
        if key not in hints:
            yield f"{where}.{key} is in no type"
        else:
            yield from misfits(value, hints[key], f"{where}.{key}")


def is_open(key):
    """Whether a metrics record may have this key besides: any other scalar."""
    return key.startswith("state_dim/") or key in ("steps_per_s", "memory_mb")


@pytest.mark.parametrize("name", TYPES)
def test_the_examples_of_the_document_fit_their_types(name):
    record = decode(EXAMPLES[name].strip())
    if name == "metrics":
        record = {key: value for key, value in record.items() if not is_open(key)}
    assert list(misfits(record, TYPES[name])) == []


def event_misfits(lines):
    for line in lines:
        event = decode(line)
        yield from misfits(event, EVENT_TYPES.get(event["kind"], schema.Event), event["kind"])


def test_the_events_of_the_document_fit_their_types():
    assert list(event_misfits(EXAMPLES["events"].strip().splitlines())) == []


@pytest.mark.parametrize("run", GOLDEN, ids=lambda run: run.parent.name)
def test_old_runs_fit_the_types(run):
    assert list(event_misfits((run / "events.jsonl").read_text().splitlines())) == []
    for kind, hint in (("proposals", schema.Proposal), ("decisions", schema.DecisionRecord)):
        for file in (run / kind).glob("*.json"):
            assert list(misfits(json.loads(file.read_text()), hint, file.name)) == []


# mypy takes `record["key"]` apart, but lets `record.get("any text")` pass.

NO_RECORDS = {
    "environ", "session_state", "query_params", "headers", "message", "config", "tables", "options", "part",
    "data", "entry", "machine", "training", "origin", "scope", "form",
}  # fmt: skip
"""Names of what `get` is called on where it is no record."""


def keys_asked_for():
    """Each literal key that `get` asks a record for, and where."""
    folders = (ROOT / name for name in ("app", "comparison", "storage", "trainer"))
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(ast.Attribute(asked, "get"), [ast.Constant(str(key)), *_]) if (
                    name_of(asked) not in NO_RECORDS
                ):
                    yield key, f"{path.relative_to(ROOT)}:{node.lineno}"


def name_of(asked):
    """The variable or attribute behind chained calls and indices: config in run.config.get("model", {})."""
    while isinstance(asked, ast.Call | ast.Subscript):
        asked = asked.func.value if isinstance(asked, ast.Call) else asked.value
    return ast.unparse(asked).rpartition(".")[2]


def test_get_asks_records_for_keys_that_there_are():
    modules = (schema, run_cache, runs, proposals)
    types = [item for module in modules for item in vars(module).values() if is_typeddict(item)]
    keys = {key for item in types for key in get_type_hints(item)}
    assert [f"{place}: {key}" for key, place in keys_asked_for() if key not in keys] == []
