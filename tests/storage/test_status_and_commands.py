import subprocess
import sys

import pytest

from hankelboard.storage import commands, status, workers
from hankelboard.storage.errors import CommandRefused
from hankelboard.storage.records import encode, new_ulid
from hankelboard.storage.summary import summarise


def test_ulids_sort_by_time_and_have_26_characters():
    ids = [new_ulid() for _ in range(100)]
    assert len(set(ids)) == 100 and all(len(i) == 26 for i in ids)
    assert [i[:10] for i in ids] == sorted(i[:10] for i in ids)


def test_a_command_is_read_back_and_strays_in_the_inbox_are_none(paths):
    sent = commands.send_command(paths, "pause", by="ada", via="test")
    (paths.inbox / "stray.txt").write_text("x")
    (paths.inbox / f"{new_ulid()}.json").write_text('{"command": "format the disk"}')
    assert sent in commands.command_ids(paths)
    assert commands.read_command(paths, sent).kind == "pause"
    assert [commands.read_command(paths, i) for i in commands.command_ids(paths) if i != sent] == [None]


@pytest.mark.parametrize("name", [None, "nonsense", "b0-00000001-a0-0001"])
def test_a_rollback_to_no_checkpoint_is_refused_and_nothing_is_sent(paths, name):
    with pytest.raises(CommandRefused, match="no checkpoint"):
        commands.send_command(paths, "rollback", by="ada", via="test", checkpoint=name)
    assert commands.command_ids(paths) == []


def test_an_oversized_or_linked_file_is_no_command(paths, tmp_path):
    big, link = new_ulid(), new_ulid()
    paths.command(big).write_text(encode({"command": "stop", "reason": "x" * 100_000}))
    (tmp_path / "elsewhere").write_text('{"command": "stop"}')
    paths.command(link).symlink_to(tmp_path / "elsewhere")
    assert commands.read_command(paths, big) is None and commands.read_command(paths, link) is None


def test_a_dead_process_is_dead_even_when_its_pid_is_used_again():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    record = status.process_identity(child.pid)
    assert not status.process_is_gone(record)
    assert status.process_is_gone({**record, "process_started_at": "another"})
    assert not status.process_is_gone({**record, "host": "elsewhere"})  # nothing is known of other machines
    child.communicate(b"\n")
    assert status.process_is_gone(record)


def test_stale_is_told_by_the_viewers_own_clock():
    watch, record = status.BeatWatch(), {"beat": 1, "expect_next_s": 5.0, "t": "1970-01-01T00:00:00Z"}
    assert not watch.is_stale(record, clock=100.0)
    assert not watch.is_stale(record, clock=114.0)
    assert watch.is_stale(record, clock=116.0)
    assert not watch.is_stale({**record, "beat": 2}, clock=117.0)


def test_a_run_without_status_is_as_its_journal_says(paths, tell):
    tell("attempt_started", state_dims=[8], policy="ask")
    tell("run_finished", step=100, test={"accuracy": 0.9})
    summary = summarise(paths)
    assert summary.state == "finished" and summary.step == 100 and summary.test == {"accuracy": 0.9}


def test_workers_are_seen_while_they_live(tmp_path):
    workers.announce(tmp_path, 1, ["a"], 5.0)
    (record,) = workers.present(tmp_path)
    assert record["runs"] == ["a"]
    workers.withdraw(tmp_path)
    assert workers.present(tmp_path) == []


def test_notes_rename_and_tag(paths):
    commands.add_note(paths, "rename", "better", by="ada", via="test")
    commands.add_note(paths, "tag", ["x"], by="ada", via="test")
    assert (summarise(paths).name, summarise(paths).tags) == ("better", ["x"])


def test_ids_of_one_process_are_in_the_order_in_which_they_were_made():
    ids = [new_ulid() for _ in range(2000)]  # many within one millisecond
    assert ids == sorted(ids) and len(set(ids)) == 2000
