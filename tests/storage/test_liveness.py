"""Who is alive, stale or dead: told by pid and start time here, by the viewer's own clock elsewhere."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from hankelboard.storage import atomic, status
from hankelboard.storage.status import GRACE_S, BeatWatch, process_identity, process_is_gone
from hankelboard.storage.summary import summarise
from tests.waiting import PATIENCE_S, until

HOUR = 3_600.0
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def child():
    """A process that lives until its standard input ends."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    if process.poll() is None:
        process.kill()
    process.wait(PATIENCE_S)
    process.stdin.close()


def beat(number, attempt=0, expect_next_s=5.0, **fields):
    return {"beat": number, "attempt": attempt, "expect_next_s": expect_next_s, **fields}


# Stale, by the viewer's own clock.


@pytest.mark.parametrize("ahead_s", [-HOUR, 0.0, HOUR, 1e9])
def test_a_clock_that_is_wrong_by_any_amount_changes_nothing(ahead_s):
    """Neither the trainer's wall clock (`t`) nor where the viewer's clock begins matters."""
    t = (datetime.now(UTC) + timedelta(seconds=min(ahead_s, HOUR))).isoformat()
    watch, start = BeatWatch(), 5_000.0 + ahead_s
    assert not watch.is_stale(beat(1, t=t), clock=start)
    assert not watch.is_stale(beat(1, t=t), clock=start + 5.0 + GRACE_S)
    assert watch.is_stale(beat(1, t=t), clock=start + 5.0 + GRACE_S + 0.1)
    assert not watch.is_stale(beat(2, t=t), clock=start + 100.0)


@pytest.mark.parametrize("ahead_s", [-HOUR, HOUR])
def test_the_wall_clock_of_the_viewer_is_not_asked(ahead_s, monkeypatch):
    watch, real, realer = BeatWatch(), time.time(), time.time_ns()
    assert not watch.is_stale(beat(1))
    monkeypatch.setattr(time, "time", lambda: real + ahead_s)
    monkeypatch.setattr(time, "time_ns", lambda: realer + int(ahead_s * 1e9))
    assert not watch.is_stale(beat(1))
    assert not process_is_gone(process_identity())


@pytest.mark.parametrize("ahead_s", [-HOUR, HOUR])
def test_a_status_with_another_clock_is_shown_as_what_it_is(paths, tell, ahead_s):
    tell("attempt_started", state_dims=[8], policy="ask")
    t = (datetime.now(UTC) + timedelta(seconds=ahead_s)).isoformat()
    status.write_status(paths, beat(1, state="running", **process_identity(), t=t))
    assert summarise(paths).state == "running"
    status.write_status(
        paths, {**beat(1, state="running", **process_identity(), t=t), "process_started_at": "x"}
    )
    assert summarise(paths).state == "dead"


def test_a_long_phase_that_was_promised_is_not_stale():
    watch = BeatWatch()
    assert not watch.is_stale(beat(1, expect_next_s=120.0), clock=0.0)
    assert not watch.is_stale(beat(1, expect_next_s=120.0), clock=129.0)
    assert watch.is_stale(beat(1, expect_next_s=120.0), clock=131.0)


def test_a_beat_that_goes_backwards_after_a_restart_is_fresh():
    watch = BeatWatch()
    watch.is_stale(beat(500, attempt=0), clock=0.0)
    assert watch.is_stale(beat(500, attempt=0), clock=60.0)
    assert not watch.is_stale(beat(1, attempt=1), clock=61.0)
    assert not watch.is_stale(beat(1, attempt=1), clock=75.0)
    assert watch.is_stale(beat(1, attempt=1), clock=77.0)
    assert not watch.is_stale(beat(2, attempt=1), clock=78.0)


def test_the_same_beat_of_another_attempt_is_fresh():
    watch = BeatWatch()
    watch.is_stale(beat(1, attempt=0), clock=0.0)
    assert not watch.is_stale(beat(1, attempt=1), clock=60.0)


def test_a_viewer_that_comes_late_gives_the_whole_promise_first():
    assert not BeatWatch().is_stale(beat(7), clock=1e6)


@pytest.mark.parametrize("promised", [None, "5", [], {}, True, -1e9, 1e300, 10**300])
def test_a_promise_that_makes_no_sense_is_no_error(promised):
    watch = BeatWatch()
    assert watch.is_stale(beat(1, expect_next_s=promised), clock=0.0) in (True, False)


@pytest.mark.parametrize("record", [{}, {"beat": []}, {"beat": {"a": 1}, "attempt": [1]}])
def test_a_status_without_a_sensible_beat_goes_stale(record):
    watch = BeatWatch()
    assert not watch.is_stale(record, clock=0.0) and watch.is_stale(record, clock=16.0)


# Dead, by pid and start time.


def test_a_process_is_alive_then_a_zombie_then_gone(child):
    record = process_identity(child.pid)
    assert not process_is_gone(record)
    child.send_signal(signal.SIGSTOP)
    assert not process_is_gone(record)  # stopped is not dead; its beat will go stale
    child.kill()
    until(lambda: process_is_gone(record))  # nobody has waited for it: a zombie
    assert child.returncode is None
    child.wait(PATIENCE_S)
    assert process_is_gone(record)


def test_a_pid_that_another_process_has_now_is_dead(child):
    of_the_dead = {**process_identity(child.pid), "pid": os.getpid()}
    assert process_is_gone(of_the_dead)


@pytest.mark.parametrize("name", ["renamed", "", None])
def test_of_another_host_nothing_is_known_but_its_beat(paths, tell, child, name, monkeypatch):
    record = beat(3, state="running", **process_identity(child.pid))
    child.kill()
    child.wait(PATIENCE_S)
    tell("attempt_started", state_dims=[8], policy="ask")
    if name == "renamed":
        here = socket.gethostname()
        monkeypatch.setattr(socket, "gethostname", lambda: f"{here}-renamed")
    else:
        record["host"] = name
    status.write_status(paths, record)
    assert not process_is_gone(record) and summarise(paths).state == "running"
    watch = BeatWatch()
    assert not watch.is_stale(record, clock=0.0) and watch.is_stale(record, clock=16.0)


@pytest.mark.parametrize("pid", [None, "1", 1.5, [1], {}])
def test_without_a_pid_nothing_is_known(pid):
    assert not process_is_gone({**process_identity(), "pid": pid})


@pytest.mark.parametrize("pid", [0, -1, 2**31, 10**30])
def test_a_pid_that_cannot_be_is_gone(pid):
    assert process_is_gone({**process_identity(), "pid": pid})


def test_a_status_that_never_knew_its_start_is_dead_when_its_process_is(child):
    record = {**process_identity(child.pid), "process_started_at": None}
    child.kill()
    child.wait(PATIENCE_S)
    assert process_is_gone(record)


@LINUX
@pytest.mark.parametrize("name", [b"a) S 1 (b", b"a b", b"\xff\xfe", b"new\nline"])
def test_the_name_of_a_process_is_no_matter(tmp_path, name):
    program = tmp_path / os.fsdecode(name)
    shutil.copy(shutil.which("sleep"), program)
    process = subprocess.Popen([program, "60"])
    try:
        record = process_identity(process.pid)
        assert record["process_started_at"] and not process_is_gone(record)
        assert process_is_gone({**record, "process_started_at": "another"})
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def test_status_json_that_is_no_status_is_none(paths):
    digits = b'{"pid":' + b"9" * 5_000 + b"}"
    for content in (b"", b"{", b"[1]", b'{"beat":NaN}', b'{"expect_next_s":1e999}', digits):
        paths.status.write_bytes(content)
        assert status.read_status(paths) is None
    paths.status.unlink()
    os.mkfifo(paths.status)
    assert status.read_status(paths) is None


def test_a_shorter_status_written_in_place_leaves_nothing_of_the_longer_one(paths, monkeypatch):
    status.write_status(paths, {"beat": 1, "state": "running", "trouble": "x" * 10_000})
    monkeypatch.setattr(atomic, "replace", lambda *args, **kw: (_ for _ in ()).throw(OSError(28, "full")))
    status.write_status(paths, {"beat": 2, "state": "running"})
    assert status.read_status(paths)["beat"] == 2
