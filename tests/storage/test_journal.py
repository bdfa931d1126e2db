import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hankelboard.storage.journal import Journal, JournalReader, read_journal


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_appended_record_is_one_line_with_a_time(tmp_path):
    with Journal(tmp_path / "j") as journal:
        journal.append({"kind": "a"}, durable=True)
    (record,) = lines(tmp_path / "j")
    assert record["kind"] == "a" and record["t"].endswith("Z")


def test_not_finite_becomes_null_because_json_has_no_nan(tmp_path):
    with Journal(tmp_path / "j") as journal:
        journal.append({"loss": float("nan"), "list": [float("inf"), 1.0]})
    (record,) = lines(tmp_path / "j")
    assert record["loss"] is None and record["list"] == [None, 1.0]


def test_the_writer_heals_a_torn_tail(tmp_path):
    path = tmp_path / "j"
    path.write_bytes(b'{"n":1}\n{"n":2')
    with Journal(path) as journal:
        journal.append({"n": 3})
    assert [record["n"] for record in lines(path)] == [1, 3]


def test_a_journal_that_is_one_torn_line_heals_to_nothing(tmp_path):
    path = tmp_path / "j"
    path.write_bytes(b'{"n":1')
    Journal(path).close()
    assert path.read_bytes() == b""


def test_buffered_records_wait_and_are_written_on_close(tmp_path):
    journal = Journal(tmp_path / "j", buffer_s=1.0, clock=lambda: 0.0)
    journal.append({"n": 1})
    assert (tmp_path / "j").read_bytes() == b""
    journal.close()
    assert len(lines(tmp_path / "j")) == 1


def test_a_full_disk_leaves_the_file_whole_and_keeps_the_record(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "j")
    journal.append({"n": 1})
    real = os.pwrite

    def full(descriptor, data, offset):
        real(descriptor, data[:3], offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    journal.append({"n": 2})
    assert "No space" in journal.trouble and [r["n"] for r in lines(tmp_path / "j")] == [1]
    monkeypatch.setattr(os, "pwrite", real)
    journal.append({"n": 3})
    assert journal.trouble is None and [r["n"] for r in lines(tmp_path / "j")] == [1, 2, 3]
    journal.close()


def test_a_reader_sees_only_new_whole_records(tmp_path):
    path = tmp_path / "j"
    reader = JournalReader(path)
    assert reader.read_new() == []
    with path.open("ab") as file:
        file.write(b'{"n":1}\n{"n":2}\n{"n"')
        file.flush()
        assert [r["n"] for r in reader.read_new()] == [1, 2]
        assert reader.read_new() == []
        file.write(b":3}\n")
        file.flush()
        assert [r["n"] for r in reader.read_new()] == [3]


def test_a_damaged_line_is_skipped_and_counted(tmp_path):
    path = tmp_path / "j"
    path.write_bytes(b'{"n":1}\n\xff\xfe garbage\n[1,2]\n{"n":NaN}\n{"n":2}\n')
    records, damaged = read_journal(path)
    assert [r["n"] for r in records] == [1, 2] and damaged == 3


@pytest.mark.parametrize("how", ["shrunk", "replaced"])
def test_a_reader_starts_again_when_the_file_was(tmp_path, how):
    path = tmp_path / "j"
    path.write_bytes(b'{"n":1}\n{"n":2}\n')
    reader = JournalReader(path)
    reader.read_new()
    if how == "shrunk":
        path.write_bytes(b'{"n":9}\n')
    else:
        (tmp_path / "other").write_bytes(b'{"n":9}\n{"n":8}\n{"n":7}\n')
        (tmp_path / "other").replace(path)
    assert reader.read_new()[0]["n"] == 9
    assert reader.restarts == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text() | st.none(), max_size=3)),
    st.integers(0, 40),
)
def test_whatever_is_torn_off_the_records_before_it_survive(tmp_path_factory, records, torn):
    path = tmp_path_factory.mktemp("j") / "j"
    with Journal(path) as journal:
        for record in records:
            journal.append({**record, "t": "now"})
    data = path.read_bytes()
    path.write_bytes(data[: max(0, len(data) - torn)])
    kept, damaged = read_journal(path)
    assert damaged == 0 and kept == [{**record, "t": "now"} for record in records][: len(kept)]
    Journal(path).close()
    assert read_journal(path)[0] == kept


def test_kill_9_while_appending_loses_at_most_the_record_being_written(tmp_path):
    path = tmp_path / "j"
    program = (
        "import sys; from hankelboard.storage.journal import Journal; from pathlib import Path\n"
        "journal = Journal(Path(sys.argv[1])); n = 0\n"
        "while True:\n    n += 1; journal.append({'n': n, 'filler': 'x' * 5000})\n"
        "    if n == 50: print('going', flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
    child.stdout.readline()
    time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    Journal(path).close()
    records, damaged = read_journal(path)
    assert (
        damaged == 0 and [r["n"] for r in records] == list(range(1, len(records) + 1)) and len(records) >= 50
    )
