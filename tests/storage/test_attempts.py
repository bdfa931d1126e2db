"""Who may begin an attempt, when, and what an attempt that did not hear of it can still do."""

import os
import shutil
import subprocess
import sys
import threading

import pytest

from hankelboard.storage import attempts, checkpoints, status
from hankelboard.storage.attempts import Fence, Standing, claim, latest, standing
from hankelboard.storage.errors import NotDecidable, NotWritable, RunError, RunHeld, Superseded
from hankelboard.storage.history import fold, read_history
from hankelboard.storage.journal import Journal, read_journal
from hankelboard.storage.layout import CheckpointName
from hankelboard.storage.locks import Answer
from hankelboard.storage.proposals import decide
from hankelboard.storage.runs import RunLock, is_held
from hankelboard.storage.status import BeatWatch, Life, life_of, process_identity
from hankelboard.storage.summary import summarise
from tests.waiting import PATIENCE_S, until

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="PID namespaces")
ELSEWHERE = {"host": "elsewhere", "pid": 7, "process_started_at": "another-boot/1", "pid_namespace": 1}


@pytest.fixture
def elsewhere(monkeypatch):
    """Claims of this process look as if they came from another machine."""

    def claimed(paths, answer=Answer.NONE):
        with monkeypatch.context() as there:
            there.setattr(attempts, "process_identity", lambda: ELSEWHERE)
            return claim(paths, answer)

    return claimed


@pytest.fixture
def soon(monkeypatch):
    """Nobody is waited for as long as in life."""
    monkeypatch.setattr(attempts, "POLL_S", 0.01)
    monkeypatch.setattr(attempts, "BEGINS_WITHIN_S", 0.05)
    monkeypatch.setattr(status, "GRACE_S", 0.05)


def beat(paths, number, attempt=0, **more):
    record = {"attempt": attempt, "beat": number, "expect_next_s": 0.05, "state": "running", **more}
    status.write_status(paths, record)


# Claims.


def test_attempts_are_numbered_and_what_the_journal_knows_counts_too(paths, tell):
    with RunLock(paths) as lock:
        assert lock.fence.number == 0 and latest(paths).identity["pid"] == os.getpid()
    tell("attempt_started", attempt=6, state_dims=[8], policy="ask")
    tell("run_stopped", attempt=6)
    with RunLock(paths) as lock:
        assert lock.fence.number == 7
    assert sorted(path.name for path in paths.attempts.iterdir()) == [
        "000000-ended.json", "000000.json", "000007-ended.json", "000007.json",
    ]  # fmt: skip


def test_of_many_that_begin_at_once_without_locks_one_does(paths, elsewhere):
    outcomes = []

    def begin():
        try:
            outcomes.append(claim(paths, Answer.NONE).number)
        except RunHeld as held:
            outcomes.append(str(held))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert outcomes.count(0) == 1
    assert sum("is being trained by another process" in str(outcome) for outcome in outcomes) == 7


def test_a_claim_that_a_file_server_repeats_is_still_ours(paths, monkeypatch):
    real = attempts.atomic.create

    def create_twice(path, record):
        real(path, record)
        raise FileExistsError

    monkeypatch.setattr(attempts.atomic, "create", create_twice)
    assert claim(paths, Answer.NONE).number == 0


@pytest.mark.parametrize(("number", "kind"), [(13, NotWritable), (30, NotWritable), (28, RunError)])
def test_a_claim_that_cannot_be_written_is_a_sentence(paths, monkeypatch, number, kind):
    def refuse(path, record):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(attempts.atomic, "create", refuse)
    with pytest.raises(kind, match=f"attempt 0 cannot begin: {os.strerror(number)}") as refused:
        claim(paths, Answer.OURS)
    assert type(refused.value) is kind


@pytest.mark.parametrize("put", ["link", "file"])
def test_what_is_no_folder_of_attempts_is_none(paths, tmp_path, put):
    other = tmp_path / "other"
    (other / "000009").mkdir(parents=True)
    (other / "000009.json").touch()
    paths.attempts.symlink_to(other) if put == "link" else paths.attempts.write_text("x")
    assert latest(paths) is None and paths.events == paths.root / "events.jsonl"


def test_a_link_in_the_place_of_journals_is_not_followed(paths, tmp_path):
    (tmp_path / "other").mkdir()
    paths.attempts.mkdir()
    paths.taken_over(3).symlink_to(tmp_path / "other")
    assert paths.events == paths.root / "events.jsonl"


# When the next one may begin.


def test_what_is_known_of_the_latest_attempt(paths, elsewhere):
    here = process_identity()
    gone = {**here, "pid": 999_999_999}
    for identity, answer, expected in (
        (here, Answer.OURS, Standing.OVER), (here, Answer.NONE, Standing.AT_WORK),
        (here, Answer.HELD, Standing.AT_WORK), (gone, Answer.HELD, Standing.OVER),
        (gone, Answer.NONE, Standing.OVER), (ELSEWHERE, Answer.OURS, Standing.UNCERTAIN),
        (ELSEWHERE, Answer.NONE, Standing.UNCERTAIN), (ELSEWHERE, Answer.HELD, Standing.AT_WORK),
        ({}, Answer.OURS, Standing.UNCERTAIN),
        ({**gone, "process_started_at": "x/1"}, Answer.NONE, Standing.UNCERTAIN),  # before the last boot
        ({**gone, "host": "renamed"}, Answer.OURS, Standing.OVER),  # a container of this machine
    ):  # fmt: skip
        assert standing(attempts.Latest(0, identity, ended=False), answer) is expected, (identity, answer)
        assert standing(attempts.Latest(0, identity, ended=True), answer) is Standing.OVER


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("answer", [Answer.NONE, Answer.OURS])
def test_of_another_machine_the_beat_decides(paths, elsewhere, answer):
    elsewhere(paths)
    ended, said = threading.Event(), []

    def beats():
        number = 0
        while not ended.wait(0.01):
            beat(paths, number := number + 1, expect_next_s=1e9)

    thread = threading.Thread(target=beats)
    thread.start()
    try:
        until(lambda: status.read_status(paths))
        with pytest.raises(RunHeld, match=r"another process \(pid 7 on elsewhere\)"):
            claim(paths, answer, said.append)
    finally:
        ended.set()
        thread.join(PATIENCE_S)
    beat(paths, 10**9)
    assert claim(paths, answer).number == 1
    assert said == [f"{paths.run_id}: waiting to see whether attempt 0 (pid 7 on elsewhere) still beats"]


@pytest.mark.usefixtures("soon")
def test_one_that_never_beat_is_waited_for_as_long_as_it_may_take_to_begin(paths, elsewhere):
    elsewhere(paths)
    assert claim(paths, Answer.NONE).number == 1


@pytest.mark.usefixtures("soon")
def test_one_that_releases_the_run_is_not_waited_for(paths, elsewhere, monkeypatch):
    fence = elsewhere(paths)
    monkeypatch.setattr(attempts, "BEGINS_WITHIN_S", 1e9)
    threading.Timer(0.05, attempts.end, [fence]).start()
    assert claim(paths, Answer.NONE).number == 1
    assert not paths.taken_over(1).exists()  # it was over for certain


def test_a_worker_follows_the_beat(paths, elsewhere, monkeypatch):
    elsewhere(paths)
    watch, now = BeatWatch(), 0.0
    monkeypatch.setattr(status.time, "monotonic", lambda: now)
    assert is_held(paths) and is_held(paths, watch)
    beat(paths, 1)
    assert is_held(paths, watch) and watch.advanced
    now = 100.0
    assert not is_held(paths, watch) and is_held(paths)


# The fence.


@pytest.fixture
def asleep(paths, tell, elsewhere, soon):
    """An attempt that was taken for dead, with its journals open and a later one that goes on."""
    old = elsewhere(paths)
    tell("attempt_started", state_dims=[8], policy="ask")
    journal = Journal(paths.events)
    journal.append({"kind": "paused", "step": 1, "branch": 0, "attempt": 0})
    with paths.events.open("ab") as file:
        file.write(b'{"kind":"torn')
    new = claim(paths, Answer.NONE)
    yield old, journal, new
    journal.close()


def event(kind, attempt, **fields):
    return {"kind": kind, "step": 2, "branch": 0, "attempt": attempt, **fields}


def test_the_later_one_goes_on_with_whole_lines_in_its_own_files(paths, asleep):
    assert paths.events == paths.attempts / "000001" / "events.jsonl"
    records, damaged = read_journal(paths.events)
    assert [record["kind"] for record in records] == ["attempt_started", "paused"] and damaged == 0
    assert not paths.metrics.exists()


def test_whatever_the_older_one_still_writes_or_cuts_changes_nothing(paths, asleep):
    _, journal, new = asleep
    with Journal(paths.events, guard=new.check) as later:
        later.append(event("attempt_started", 1, state_dims=[8], policy="ask"), durable=True)
    before = paths.events.read_bytes()
    journal.append(event("run_stopped", 0), durable=True)  # it looked before the later one began
    os.ftruncate(journal._descriptor, 0)
    assert paths.events.read_bytes() == before and read_history(paths).state == "running"


def test_an_older_one_that_looks_stops(paths, asleep):
    old, _, new = asleep
    with pytest.raises(Superseded, match="a later attempt has begun; attempt 0 changes nothing more"):
        old.check()
    before = paths.events.read_bytes()
    with pytest.raises(Superseded):
        Journal(paths.events, guard=old.check)  # not even healed
    journal = Journal(paths.metrics, buffer_s=60.0, clock=lambda: 0.0, guard=new.check)
    journal._guard = old.check
    journal.append(event("x", 0))
    journal.close()
    assert paths.events.read_bytes() == before and paths.metrics.read_bytes() == b""
    new.check()


def test_journals_that_an_older_one_publishes_late_do_not_count(paths, asleep, elsewhere):
    _, _, frozen = asleep
    shutil.move(paths.taken_over(1), paths.root / "aside")
    with Journal(paths.events) as journal:  # what the third one sees
        journal.append(event("resumed", 0))
    paths.attempt(1).unlink()
    attempts.atomic.create(paths.attempt(1), {"attempt": 1, **ELSEWHERE})
    third = claim(paths, Answer.NONE)
    shutil.move(paths.root / "aside", paths.taken_over(frozen.number))
    assert third.number == 2 and paths.events == paths.taken_over(2) / "events.jsonl"
    assert read_history(paths).state == "running" and not read_history(paths).paused


def test_journals_that_cannot_be_copied_are_not_taken_over(paths, tell, elsewhere, soon, monkeypatch):
    elsewhere(paths)
    tell("attempt_started", state_dims=[8], policy="ask")
    with monkeypatch.context() as full:

        def refuse(folder):
            raise OSError(28, "No space left on device")

        full.setattr(attempts.atomic, "sync_folder", lambda path: path == paths.attempts or refuse(path))
        with pytest.raises(RunError, match="attempt 1 cannot begin: No space left"):
            claim(paths, Answer.NONE)
    assert sorted(path.name for path in paths.attempts.iterdir()) == [
        "000000.json", "000001-ended.json", "000001.json",
    ]  # fmt: skip


def test_readers_leave_out_what_came_after_a_later_attempt_began(paths):
    start = event("attempt_started", 0, state_dims=[8], policy="ask", step=0)
    later = event("attempt_started", 1, state_dims=[8], policy="ask", checkpoint="b0-00000002-a0-0001")
    history = fold([start, later, event("run_stopped", 0), event("paused", 1)])
    assert (history.state, history.outdated) == ("paused", 1)
    assert history.is_replaced({"branch": 0, "step": 3, "attempt": 0})  # of metrics, spectra, checkpoints


def test_a_status_of_an_older_attempt_is_left_out(paths, tell):
    tell("attempt_started", attempt=1, state_dims=[8], policy="ask")
    beat(paths, 9, attempt=0, state="paused", step=77, best={"metric": "m", "value": 1.0, "step": 1})
    summary = summarise(paths)
    assert (summary.state, summary.step, summary.best) == ("unknown", 0, None)


def test_a_proposal_that_an_attempt_never_announced_cannot_be_decided(paths, tell, proposal):
    attempts.atomic.create(paths.proposal(2), {**proposal, "proposal": 2, "attempt": 0})
    tell("attempt_started", attempt=1, state_dims=[4], policy="ask")
    with pytest.raises(NotDecidable, match="proposal 2 is not open: the attempt that made it ended before"):
        decide(paths, 2, "approve", by="ada", via="test")


def test_who_wakes_late_removes_no_strays_of_a_later_attempt(paths):
    mine, later = (CheckpointName(branch=0, step=5, attempt=n, sequence=n + 1) for n in (0, 1))
    for name in (mine, later):
        paths.building(name).mkdir()
    checkpoints.remove_strays(paths, 0)
    assert [path.name for path in paths.checkpoints.iterdir()] == [paths.building(later).name]


def test_a_checkpoint_that_may_not_be_published_leaves_nothing(paths):
    name = CheckpointName(branch=0, step=5, attempt=0, sequence=1)
    claim(paths, Answer.OURS), attempts.end(Fence(paths, 0)), claim(paths, Answer.OURS)
    with pytest.raises(Superseded):
        checkpoints.publish(
            paths, name, lambda folder: (folder / "x").touch(), cause="stop", pinned=False, state_dims=[4],
            metrics={}, reductions=[], guard=Fence(paths, 0).check,
        )  # fmt: skip
    assert list(paths.checkpoints.iterdir()) == []


# Of whom nothing is known.


@pytest.mark.parametrize("changes", [{"process_started_at": None}, {"process_started_at": ""}])
def test_a_process_that_does_not_say_when_it_started_is_not_known(changes):
    assert life_of({**process_identity(), **changes}) is Life.UNKNOWN
    older = {key: value for key, value in process_identity().items() if key == "host" or key == "pid"}
    assert life_of(older) is Life.UNKNOWN
    assert life_of({**older, "pid": 999_999_999}) is Life.UNKNOWN


@LINUX
def test_a_process_of_another_namespace_is_not_known(monkeypatch):
    here = process_identity()
    assert life_of(here) is Life.ALIVE and life_of({**here, "pid_namespace": 1}) is Life.UNKNOWN
    older = {key: value for key, value in here.items() if key != "pid_namespace"}
    monkeypatch.setattr(status, "_pid_namespace", lambda pid: status.INITIAL_PID_NAMESPACE)
    assert life_of(older) is Life.ALIVE
    monkeypatch.setattr(status, "_pid_namespace", lambda pid: 5)
    assert life_of(older) is Life.UNKNOWN


@LINUX
def test_a_process_that_proc_does_not_show_is_not_known(monkeypatch):
    def not_ours(pid, number):
        raise PermissionError

    gone = {**process_identity(), "pid": 999_999_999}
    assert life_of(gone) is Life.GONE
    monkeypatch.setattr(os, "kill", not_ours)
    assert life_of(gone) is Life.UNKNOWN


@LINUX
def test_a_living_run_is_not_dead_where_its_pid_means_another_process(paths, tell):
    unshare = ["unshare", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("unshare is not permitted")
    tell("attempt_started", state_dims=[8], policy="ask")
    status.write_status(paths, {"attempt": 0, "beat": 1, "state": "running", **process_identity()})
    program = (
        "import sys; from pathlib import Path; from hankelboard.storage.layout import RunPaths\n"
        "from hankelboard.storage.summary import summarise\n"
        "print(summarise(RunPaths(Path(sys.argv[1]))).state)"
    )
    command = [*unshare, sys.executable, "-c", program, str(paths.root)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "running"


def test_a_beat_that_goes_on_outweighs_a_pid_that_is_not_seen():
    """Another machine of the same name, for example."""
    watch = BeatWatch()
    assert not watch.outlives({"attempt": 0, "beat": 4}) and not watch.outlives({"attempt": 0, "beat": 4})
    assert watch.outlives({"attempt": 0, "beat": 5})
    assert not watch.outlives({"attempt": 1, "beat": 6})


def test_who_followed_the_beat_is_answered_at_once(paths, elsewhere, monkeypatch):
    elsewhere(paths)
    monkeypatch.delattr(attempts.time, "sleep")
    watch = BeatWatch()
    with pytest.raises(RunHeld):
        claim(paths, Answer.NONE, watch=watch)
    watch.changed_at -= 2 * attempts.BEGINS_WITHIN_S
    assert claim(paths, Answer.NONE, watch=watch).number == 1


def test_no_promise_of_a_beat_lasts_for_ever():
    watch = BeatWatch()
    record = {"attempt": 0, "beat": 1, "expect_next_s": 1e12}
    assert not watch.is_stale(record, 0.0) and watch.is_stale(record, 2 * status.LONGEST_PROMISE_S)
