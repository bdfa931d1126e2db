"""A real worker with real children, which die for real."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys

import pytest

from hankelboard.access import tickets
from hankelboard.storage import status, workers
from hankelboard.storage.runs import is_held, list_runs
from hankelboard.storage.verification import verify_run
from tests.trainer.small_run import ENDLESS
from tests.waiting import PATIENCE_S, until

LONG = {"training": {"steps": ENDLESS, "checkpoint_every": 200}, "reduction": {"steps": [20]}}


@pytest.fixture
def worker(tmp_path):
    """Starts a worker on the folder of the runs; ends it by SIGTERM. No child outlives the test."""

    @contextlib.contextmanager
    def start(*arguments):
        command = [
            sys.executable,
            "-P",
            "-m",
            "hankelboard",
            "worker",
            "--runs-dir",
            str(tmp_path),
            *arguments,
        ]
        log = (tmp_path / "worker.log").open("wb")
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)
            log.close()

    yield start
    for paths in list_runs(tmp_path):
        child = status.read_status(paths)
        if child and child["pid"] != os.getpid() and not status.process_is_gone(child):
            os.kill(child["pid"], signal.SIGKILL)


def in_training(run, attempt=0):
    """Wait until this attempt, or a later one, makes steps: it listens to signals then."""
    run.wait(lambda history: run.status["attempt"] >= attempt and run.status["state"] == "running")


def wait_rounds(run, count=3):
    """Wait until the one worker looked at all runs so many times more."""

    def beat():
        return max((record["beat"] for record in workers.present(run.paths.root.parent)), default=0)

    first = beat()
    until(lambda: beat() >= first + count)


def test_a_worker_with_once_trains_what_is_queued_and_ends(small_run, worker):
    first, second, kept_back = small_run(), small_run(), small_run()
    second.send("stop")  # cancelled before it began
    run_json = kept_back.paths.run_json
    run_json.write_text(run_json.read_text().replace('"queued":true', '"queued":false'))
    with worker("--once", "--jobs", "2") as process:
        assert process.wait(PATIENCE_S) == 0
    assert first.history.state == "finished"
    assert (second.history.state, second.history.reason) == ("cancelled", "cancelled by ada")
    assert kept_back.history.state == "queued"


def test_the_worker_resumes_what_a_killed_child_left(small_run, worker):
    run = small_run(**LONG)
    with worker():
        run.wait(lambda history: history.step >= 200)
        child = status.read_status(run.paths)["pid"]
        os.kill(child, signal.SIGKILL)
        in_training(run, attempt=1)
        history = run.history
        assert history.state == "running"
        resumed = run.events("attempt_started")[1]
        assert resumed["checkpoint"] is not None and resumed["state_dims"] == history.state_dims != [12, 12]
        assert workers.present(run.paths.root.parent)
    # The worker's SIGTERM reached the child: it saved, and left the run to be resumed.
    assert (run.history.state, run.history.reason) == ("interrupted", "the process was asked to end")
    assert run.checkpoints()[-1].name.step == run.history.step and not is_held(run.paths)
    assert not [finding for finding in verify_run(run.paths) if finding.damage]
    assert not workers.present(run.paths.root.parent)


def test_a_copy_of_a_run_is_left_alone(small_run, worker, tmp_path):
    run = small_run()
    copy = tmp_path / f"copied-{run.paths.run_id}"
    shutil.copytree(run.paths.root, copy)
    with worker("--once") as process:
        assert process.wait(PATIENCE_S) == 0
    assert run.history.state == "finished"
    assert not (copy / "events.jsonl").exists() and not (copy / "run.lock").exists()
    assert f"left alone: it is a copy of {run.paths.run_id}" in (tmp_path / "worker.log").read_text()


def test_a_child_that_hangs_is_killed_when_asked_and_not_resumed(small_run, worker):
    run = small_run(**LONG)
    with worker():
        in_training(run)
        child = status.read_status(run.paths)["pid"]
        os.kill(child, signal.SIGSTOP)  # hangs: obeys nothing any more
        command = run.send("kill")
        history = run.wait(lambda history: history.state == "stopped")
        wait_rounds(run)
        assert run.history.attempt == 0
    assert history.commands[command].state == "applied"
    assert history.reason == "killed by ada, without saving"
    assert status.process_is_gone(status.read_status(run.paths))


def test_a_child_outlives_its_worker_and_the_next_worker_leaves_it_alone(small_run, worker):
    run = small_run(**LONG)
    with worker() as process:
        in_training(run)
        process.kill()
    child = status.read_status(run.paths)["pid"]
    assert is_held(run.paths)
    with worker():
        wait_rounds(run)
        assert run.history.attempt == 0 and status.read_status(run.paths)["pid"] == child
        run.send("stop")
        run.wait(lambda history: history.state == "stopped")


@pytest.mark.parametrize(
    ("was", "now", "why"),
    [
        ('"batch":16', '"batch":0', "training.batch = 0: must be at least 1"),
        (
            '"task":"digits"',
            '"task":"builtins:dict"',
            "must return hankelboard.trainer.data.task.Task, not dict",
        ),
    ],
)
@pytest.mark.parametrize("begun", [False, True])
def test_a_run_that_cannot_begin_fails_once_and_says_why(small_run, worker, was, now, why, begun):
    run = small_run()
    if begun:
        run.send("stop", at_step=5)
        assert run.train() == "stopped"
        command = run.send("resume")
    text = run.paths.run_json.read_text()
    assert was in text
    run.paths.run_json.write_text(text.replace(was, now))
    tickets.issue(run.paths)  # whoever edits it may have it started
    with worker("--once") as process:
        assert process.wait(PATIENCE_S) == 0, "the worker starts it again and again"
    (failed,) = run.events("run_failed")
    assert why in failed["reason"] and run.history.state == "failed"
    if begun:
        assert run.history.commands[command].state == "refused"
