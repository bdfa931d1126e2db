"""Processes of runs that die without a word, and runs whose directory is not as it should be.

The worker is real, its children are scripts: no training is needed to die.
"""

import os
import signal

import pytest

from hankelboard.access import tickets
from hankelboard.storage import atomic, attempts, commands, log, workers
from hankelboard.storage.history import read_history
from hankelboard.storage.journal import Journal, read_journal
from hankelboard.storage.layout import LAST_ATTEMPT, run_paths
from hankelboard.storage.records import now
from hankelboard.storage.runs import RunLock, create_run
from hankelboard.trainer.work import deaths, log_keeper
from hankelboard.trainer.work import worker as worker_module
from tests.storage.odd_files import IRREGULAR, a_folder, in_time
from tests.trainer.work.scripted_worker import Scripted
from tests.waiting import until


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


def new_run(runs, name="a"):
    paths = run_paths(runs, create_run(runs, name=name, config={"training": {}}).id)
    tickets.issue(paths)
    return paths


def ended(paths):
    return [event for event in read_journal(paths.events)[0] if event["kind"] == "attempt_ended"]


@pytest.mark.parametrize("begins", [True, False])
@pytest.mark.parametrize(
    ("script", "word"),
    [
        ("pass", "exit code 0"),
        ("sys.exit(7)", "exit code 7"),
        ("sys.exit(75)", "exit code 75"),  # what a child says that leaves a run alone, said by a user's code
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
    ],
)
def test_a_run_whose_process_dies_by_itself_fails_after_three_and_says_why(runs, script, word, begins):
    paths = new_run(runs)
    worker = Scripted(runs, "start()\n" + script if begins else script)
    for _ in range(8):
        worker.round()
    history = read_history(paths)
    assert history.state == "failed" and (history.attempt >= 0) == begins
    assert "3 processes in a row died" in history.reason and word in history.reason
    assert [event["fault"] for event in ended(paths)] == ["own"] * 3


def test_deaths_are_remembered_by_the_next_worker_and_progress_makes_them_forgotten(runs):
    paths = new_run(runs)
    for _ in range(2):
        Scripted(runs, "start(); sys.exit(1)").round()
    assert read_history(paths).deaths == 2
    Scripted(
        runs, "start(); where['step'] = 9; say('checkpoint_published', checkpoint='x'); sys.exit(1)"
    ).round()
    assert read_history(paths).deaths == 1 and read_history(paths).state == "interrupted"


@pytest.mark.parametrize("begins", [True, False])
def test_a_run_that_is_killed_from_outside_never_fails_and_waits_longer_each_time(runs, begins, capfd):
    paths = new_run(runs)
    worker = Scripted(runs, ("start()\n" if begins else "") + "os.kill(os.getpid(), signal.SIGKILL)")
    worker.round()
    worker.round()
    assert read_history(paths).kills == 2
    assert worker.round() and read_history(paths).kills == 2, (
        "it rests, and a worker with --once waits for it"
    )
    for kills in range(3, 9):
        worker.now += deaths.rest_s(kills - 1)
        worker.round()
        assert read_history(paths).kills == kills
    assert read_history(paths).state == ("interrupted" if begins else "queued")
    assert "SIGKILL), 8 times in a row: it is tried again after 600 s" in read_history(paths).reason
    assert "8 times in a row" in capfd.readouterr().out


def test_a_person_who_asks_to_resume_does_not_wait(runs):
    paths = new_run(runs)
    worker = Scripted(runs, "start()\nos.kill(os.getpid(), signal.SIGKILL)")
    worker.round()
    worker.round()
    commands.send_command(paths, "resume", by="ada", via="test")
    worker.round()
    assert read_history(paths).kills == 3


def test_a_finished_run_whose_rollback_dies_again_and_again_stays_finished(runs):
    paths = new_run(runs)
    with Journal(paths.events) as journal:
        for kind in ("attempt_started", "run_finished"):
            journal.append({"kind": kind, "step": 5, "branch": 0, "attempt": 0, "state_dims": [4]})
    asked = commands._create_under_new_id(
        paths.inbox, {"command": "rollback", "checkpoint": "x", "by": "ada"}
    )
    worker = Scripted(runs, "sys.exit(1)")
    for _ in range(6):
        worker.round()
    history = read_history(paths)
    assert history.state == "finished" and history.commands[asked].state == "refused"


def test_who_ends_because_another_process_trains_the_run_is_no_death(runs):
    paths = new_run(runs)
    worker = Scripted(runs, "sys.exit(1)")
    worker._start(paths)
    worker._children[paths.run_id].process.wait()
    with RunLock(paths):
        worker._reap()
    worker._let_keepers_end()
    assert ended(paths) == [] and worker._troubles == {}


PLACES = ("lock", "log", "events", "inbox", "checkpoints", "tensorboard", "run_json")


@pytest.mark.parametrize("put", IRREGULAR)
def test_odd_runs_are_named_and_the_others_are_trained(runs, tmp_path, put, capfd):
    healthy, odd = new_run(runs, "healthy"), {name: new_run(runs, "odd") for name in PLACES}
    for name, paths in odd.items():
        place = getattr(paths, name)
        place.unlink() if place.is_file() else place.is_dir() and place.rmdir()
        put(place, tmp_path)
    (tmp_path / "elsewhere").write_bytes(b"a letter")
    worker = Scripted(runs, "start()\nsay('run_finished', best=None)")
    in_time(lambda: [worker.round() for _ in range(3)])
    assert read_history(healthy).state == "finished"
    out = capfd.readouterr().out
    for name, paths in odd.items():
        if put is not a_folder or "." in getattr(paths, name).name:
            assert out.count(f"{paths.run_id} left alone") == 1 and getattr(paths, name).name in out
        assert not (paths.root / "nothing").exists()
    assert (tmp_path / "elsewhere").read_bytes() == b"a letter"


def test_a_run_whose_journal_cannot_be_written_is_given_up_too(runs, capfd):
    """Deaths that cannot be recorded are counted all the same."""
    paths = new_run(runs)
    paths.events.touch()
    os.truncate(paths.events, 10**9)  # sparse; no line ends in it
    worker = Scripted(runs, "sys.exit(1)")
    in_time(lambda: [worker.round() for _ in range(7)])
    assert capfd.readouterr().out.count("started, process") == deaths.MAX_DEATHS
    assert "no journal" in worker._troubles[paths.run_id]


def test_an_error_nobody_thought_of_stays_with_its_run(runs, monkeypatch, capfd):
    odd, healthy = new_run(runs, "odd"), new_run(runs, "healthy")
    read = worker_module.read_run

    def read_run(paths):
        if paths.run_id == odd.run_id:
            raise TypeError("a list where a name belongs")
        return read(paths)

    monkeypatch.setattr(worker_module, "read_run", read_run)
    worker = Scripted(runs, "start()\nsay('run_finished', best=None)")
    for _ in range(3):
        worker.round()
    worker._announce()
    assert read_history(healthy).state == "finished"
    said = f"{odd.run_id} cannot be looked after: TypeError: a list where a name belongs"
    assert capfd.readouterr().out.count(said) == 1
    (announced,) = workers.present(runs)
    assert announced["troubles"] == {odd.run_id: "TypeError: a list where a name belongs"}


def printed(paths):
    return paths.log.read_bytes() if paths.log.exists() else b""


def test_however_much_a_run_prints_its_log_stays_short(runs):
    """Python, and what writes to the descriptors past it."""
    paths = new_run(runs)
    script = """
start()
print("the first line", flush=True)
os.write(1, b"x" * 999_999 + b"\\n")
for number in range(30): os.write(2 - number % 2, b"y" * 999_999 + b"\\n")
print("the last line")
"""
    worker = Scripted(runs, script)
    worker._start(paths)
    worker._children[paths.run_id].process.wait()
    worker._let_keepers_end()
    until(lambda: printed(paths).endswith(b"the last line\n"))
    assert printed(paths).startswith(b"the first line\n") and len(printed(paths)) <= log.MAX_BYTES
    (left_out,) = log.LEFT_OUT.findall(printed(paths))
    assert int(left_out) > 25_000_000


def test_a_log_goes_on_when_the_process_that_writes_it_is_killed(runs, tmp_path):
    paths, go = new_run(runs), tmp_path / "go"
    script = f"""
import time
from hankelboard.trainer.work import log_keeper
log_keeper.keep_output(paths.log)
print("before")
while not os.path.exists({str(go)!r}): time.sleep(0.01)
for number in range(1000):
    print("after", number)
    time.sleep(0.005)
    if b"after" in paths.log.read_bytes(): break
os.write(1, b"by itself\\n")
start()
say("run_finished", best=None)
"""
    worker = Scripted(runs, script)
    worker._start(paths)
    until(lambda: b"before" in printed(paths))
    os.kill(worker._children[paths.run_id].keeper.pid, signal.SIGKILL)
    worker._children[paths.run_id].keeper.wait()
    go.touch()
    assert worker._children[paths.run_id].process.wait() == 0
    until(lambda: printed(paths).endswith(b"by itself\n"))
    assert read_history(paths).state == "finished"


def test_the_writer_of_a_log_ends_with_the_run(runs):
    paths = new_run(runs)
    keeper = log_keeper.start(paths.log)
    os.kill(keeper.pid, signal.SIGTERM)  # a terminal that closes, a service that is stopped: it writes on
    keeper.stdin.write(b"x\n")
    keeper.stdin.close()
    assert keeper.wait() in (0, -signal.SIGTERM)  # the latter: it came before it listened


def test_a_journal_that_nobody_can_write_is_not_tried_again_at_once(runs):
    """Each try claims an attempt: a worker that looks every second would fill the folder."""
    paths = new_run(runs)
    paths.attempts.mkdir()
    paths.taken_over(0).mkdir()
    (paths.taken_over(0) / "events.jsonl").touch()
    os.truncate(paths.taken_over(0) / "events.jsonl", 10**9)  # sparse; no line ends in it
    worker = Scripted(runs, "sys.exit(1)")
    for _ in range(5):
        worker.round()
    claimed = len(paths.attempt_files())
    for _ in range(20):
        worker.round()
    assert len(paths.attempt_files()) == claimed, "it rests"
    worker.now += worker_module.TROUBLE_REST_S
    worker.round()
    assert len(paths.attempt_files()) > claimed, "it is looked at again, should that be put right"


@pytest.mark.parametrize("odd", ["000001.json", "000003", "000002/events.jsonl"])
def test_what_lies_oddly_among_the_attempts_is_named_and_nothing_is_written(runs, odd, capfd):
    paths, healthy = new_run(runs, "odd"), new_run(runs, "healthy")
    place = paths.attempts / odd
    place.parent.mkdir(parents=True)
    place.symlink_to("/dev/zero")
    there = sorted(paths.attempts.rglob("*"))
    worker = Scripted(runs, "start()\nsay('run_finished', best=None)")
    in_time(lambda: [worker.round() for _ in range(3)])
    assert read_history(healthy).state == "finished" and sorted(paths.attempts.rglob("*")) == there
    assert f"{paths.run_id} left alone: attempts/{odd} is a link" in capfd.readouterr().out


def test_a_forged_attempt_holds_up_its_own_run_only(runs):
    """The last number that there is, of a process that nobody knows: no other one can follow."""
    forged, healthy = new_run(runs, "forged"), new_run(runs, "healthy")
    forged.attempts.mkdir()
    for number in (LAST_ATTEMPT, 10**7):
        atomic.create(forged.attempts / f"{number}.json", {"attempt": number, "nonce": "x", "host": "gone"})
    commands.send_command(forged, "stop", by="ada", via="test")
    worker = Scripted(runs, "start()\nsay('run_finished', best=None)")
    in_time(lambda: [worker.round() for _ in range(3)])
    assert read_history(healthy).state == "finished" and read_history(forged).state == "queued"
    atomic.create(forged.ended(LAST_ATTEMPT), {"attempt": LAST_ATTEMPT})
    worker.now += worker_module.TROUBLE_REST_S
    in_time(lambda: [worker.round() for _ in range(3)])
    assert "which is the last one" in worker._troubles[forged.run_id]


def test_a_worker_waits_for_no_beat_of_a_trainer_elsewhere(runs, monkeypatch):
    """It follows the beat in its rounds, and answers once that was silent for as long as promised."""
    paths = new_run(runs)
    paths.attempts.mkdir()
    claim = {"format_version": 2, "t": now(), "attempt": 0, "nonce": "x", "host": "elsewhere", "pid": 7}
    atomic.create(paths.attempt(0), claim)
    commands.send_command(paths, "stop", by="ada", via="test")
    worker = Scripted(runs, "sys.exit(1)")
    monkeypatch.setattr(attempts.time, "sleep", lambda seconds: pytest.fail("it waits"))
    worker.round()
    assert read_history(paths).state == "queued"
    worker._watches[paths.run_id].changed_at -= 2 * attempts.BEGINS_WITHIN_S
    worker.round()
    assert read_history(paths).state == "cancelled" and worker._troubles == {}
