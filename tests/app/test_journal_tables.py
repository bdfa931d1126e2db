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
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.records import decode

NUMBERS = st.one_of(st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6), st.none())
ODD = st.one_of(st.booleans(), st.text(max_size=3), st.lists(st.integers(0, 3), max_size=2))
KEYS = st.sampled_from(["train/loss", "val/accuracy", "lr", "größe"])
RECORDS = st.builds(
    lambda step, branch, attempt, values: {"t": "x", "step": step, **branch, **attempt, **values},
    st.integers(0, 50),
    st.fixed_dictionaries({}, optional={"branch": st.integers(0, 2)}),
    st.fixed_dictionaries({}, optional={"attempt": st.integers(0, 2)}),
    st.dictionaries(KEYS, NUMBERS, max_size=4),
)


def one_by_one(lines):
    columns = Columns()
    for line in lines.split(b"\n")[:-1]:
        record = decode(line)
        if record is not None:
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
    assert cache._metrics_reader.damaged == sum(record is None for record in records)


def test_nothing_is_made_up_where_lines_cannot_be_read_at_once():
    assert journal_tables.parse(b'{"step":1}\n{broken\n') is None
    assert journal_tables.parse(b'{"step":1,"a":1}\n{"step":2,"a":"text"}\n') is None
    assert journal_tables.parse(b'{"step":1}\n\n{"step":2}\n') is None


@pytest.mark.parametrize("length", [1, 200_000])
def test_spectra_are_arrays_with_gaps_for_null(tmp_path, length):
    hsv = [1.5] * (length - 1) + [None]
    record = {"t": "x", "step": 3, "layer": 1, "state_dim": length, "importance": "hsv", "hsv": hsv}
    line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
    (tmp_path / "spectra.jsonl").write_bytes(line + line + b'{"step":4,"layer":0,"hsv":[2]}\n')
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
