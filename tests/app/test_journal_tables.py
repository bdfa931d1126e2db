"""Reading many lines at once gives what reading them one by one gives, whatever they hold."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hankelboard.app.data import journal_tables
from hankelboard.app.data.columns import Columns, Piece
from hankelboard.app.data.run_cache import RunCache
from hankelboard.storage.decoding import misfit_of_metrics
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.records import decode
from hankelboard.storage.verification import verify_run

NUMBERS = st.one_of(st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6), st.none())
ODD = st.one_of(st.booleans(), st.text(max_size=3), st.lists(st.integers(0, 3), max_size=2))
KEYS = st.sampled_from(["train/loss", "val/accuracy", "lr", "größe"])
RECORDS = st.builds(
    lambda step, branch, attempt, values: {
        "t": "x", "step": step, "branch": branch, "attempt": attempt, **values,
    },
    st.integers(0, 50),
    st.integers(0, 2),
    st.integers(0, 2),
    st.dictionaries(KEYS, NUMBERS, max_size=4),
)  # fmt: skip


def one_by_one(lines):
    columns = Columns()
    for line in lines.split(b"\n")[:-1]:
        record = decode(line)
        if record is not None and not misfit_of_metrics(record):
            columns.append(record)
    return columns


def contents(columns):
    """Every line of every metric as text: NaN equals NaN then. A key without a value is no key."""
    lines = {key: columns.lines(key, lambda record: record["step"] < 40) for key in columns.metrics()}
    told = {
        key: [(line.steps.tolist(), list(map(repr, line.values.tolist())), line.live) for line in found]
        for key, found in lines.items()
    }
    return {key: found for key, found in told.items() if found}


@settings(deadline=None, max_examples=150)
@given(st.lists(RECORDS, min_size=1, max_size=30))
def test_numbers_nulls_and_missing_keys_come_out_alike(records):
    lines = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    table = journal_tables.parse(lines.replace(b": ", b":"))
    columns = Columns()
    assert table is None or columns.extend(table)
    if table is not None:
        assert contents(columns) == contents(one_by_one(lines))


@settings(deadline=None, max_examples=100)
@given(st.lists(st.one_of(RECORDS, st.dictionaries(KEYS, ODD), st.just(None)), min_size=1, max_size=12))
def test_a_run_reads_what_it_can_and_counts_the_rest(tmp_path_factory, records):
    root = tmp_path_factory.mktemp("run")
    texts = ["{torn" if record is None else json.dumps(record, separators=(",", ":")) for record in records]
    lines = "".join(text + "\n" for text in texts).encode()
    (root / "metrics.jsonl").write_bytes(lines)
    cache = RunCache(RunPaths(root))
    assert contents(cache.columns) == contents(one_by_one(lines))
    damaged = sum(record is None or misfit_of_metrics(record) != "" for record in records)
    assert cache._metrics_reader.damaged == damaged


def test_nothing_is_made_up_where_lines_cannot_be_read_at_once():
    assert journal_tables.parse(b'{"step":1}\n{broken\n') is None
    assert journal_tables.parse(b'{"step":1,"a":1}\n{"step":2,"a":"text"}\n') is None
    assert journal_tables.parse(b'{"step":1}\n\n{"step":2}\n') is None


DOUBTFUL = {
    "NaN": b'"a":NaN', "Infinity": b'"a":-Infinity', "short infinity": b'"a":Inf', "no UTF-8": b'"a":"\xff"',
    "deep": b'"a":' + b"[" * 70 + b"]" * 70, "two objects": b'"a":1}{"b":2', "NUL": b'"a":1}\0{"b":2',
    "a huge number": b'"a":' + b"9" * 310, "half a character": b'"a":"\\ud800"', "twice": b'"a":1,"a":2',
    "a step of another type": b'"step":1.5', "negative": b'"step":-1', "huge": b'"step":9999999999999999',
    "no seconds": b'"train_s":null', "text": b'"val/accuracy":"good"', "true": b'"train/loss":true',
    "a time that is none": b'"t":5', "a list": b'"lr":[1]',
}  # fmt: skip
"""What Arrow takes for JSON, or for a record, and the format does not."""


@pytest.mark.parametrize("what", DOUBTFUL)
@pytest.mark.parametrize("newline", [b"\n", b"\n\n"])
def test_charts_count_the_damage_that_verify_counts(tmp_path, what, newline):
    good = b'{"step":%d,"branch":0,"attempt":0,"train/loss":0.5}\n'
    place = b'"branch":0,"attempt":0' if b"step" in DOUBTFUL[what] else b'"step":2,"branch":0,"attempt":0'
    (tmp_path / "run.json").write_text('{"config":{}}')
    (tmp_path / "metrics.jsonl").write_bytes(
        good % 1 + b"{" + place + b"," + DOUBTFUL[what] + b"}" + newline + good % 3
    )
    cache = RunCache(RunPaths(tmp_path))
    (line,) = cache.columns.lines("train/loss", lambda record: True)
    assert line.steps.tolist() == [1, 3]
    cache.refresh()
    (finding,) = (finding for finding in verify_run(RunPaths(tmp_path)) if finding.damage)
    assert cache.summary()["damage"] == {"metrics.jsonl": finding.what}
    assert finding.what.startswith(f"{len(newline)} damaged line") and "line 2" in finding.what


def test_a_null_is_a_gap_however_it_is_spaced(tmp_path):
    records = [{"step": step, "branch": 0, "attempt": 0, "lr": lr} for step, lr in enumerate([1.0, None, 2])]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (line,) = RunCache(RunPaths(tmp_path)).columns.lines("lr", lambda record: True)
    assert np.isnan(line.values).tolist() == [False, True, False]


LAST = b'{"step":4,"branch":0,"attempt":0,"layer":0,"state_dim":1,"hsv":[2]}\n'


@pytest.mark.parametrize("length", [1, 200_000])
def test_spectra_are_arrays_with_gaps_for_null(tmp_path, length):
    hsv = [1.5] * (length - 1) + [None]
    where = {"t": "x", "step": 3, "branch": 0, "attempt": 0, "layer": 1}
    record = {**where, "state_dim": length, "importance": "hsv", "hsv": hsv}
    line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
    (tmp_path / "spectra.jsonl").write_bytes(line + line + LAST)
    found = RunCache(RunPaths(tmp_path)).spectra
    assert [(spectrum["step"], spectrum["layer"]) for spectrum in found] == [(3, 1), (3, 1), (4, 0)]
    assert found[0]["hsv"].dtype == np.float64 and np.isnan(found[0]["hsv"][-1])
    assert found[0]["state_dim"] == length and found[2]["hsv"].tolist() == [2.0]


def test_what_a_chart_was_given_does_not_change_when_records_come():
    piece, chance = Piece(), np.random.default_rng(5)
    steps, values, shown = np.arange(3000), chance.standard_normal(3000), []
    for start, end in itertools.pairwise([0, 1, 15, 16, 17, 40, 41, 1000, 3000]):
        piece.extend(steps[start:end], values[start:end])
        shown.append((end, piece.steps, piece.values))
    piece.extend(np.array([2999, 5, 3001]), np.array([7.0, 8.0, 9.0]))  # 5 was trained twice
    for end, seen_steps, seen_values in shown:
        assert np.array_equal(seen_steps, steps[:end]) and np.array_equal(seen_values, values[:end])
        assert not seen_values.flags.writeable
    assert piece.steps[-2:].tolist() == [2999, 3001] and piece.values[-2:].tolist() == [7.0, 9.0]
