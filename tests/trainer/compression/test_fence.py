"""Of a trainer that was taken for dead and wakes, and the one that went on, only one is true."""

import ctypes
import os
import signal
import sys

import pytest

from hankelboard.storage import atomic
from hankelboard.storage.errors import RunHeld
from hankelboard.storage.locks import Answer, look
from hankelboard.storage.runs import RunLock, is_held
from hankelboard.trainer.compression.failure import give_up
from hankelboard.trainer.compression.inbox import unanswered
from hankelboard.trainer.training import loop
from hankelboard.trainer.work import orphans
from tests.trainer import frozen
from tests.trainer.deaths import train_until
from tests.trainer.frozen import KEYS, KINDS, Freezes
from tests.trainer.small_run import at_steps

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.mark.parametrize("kind", ["event", "checkpoint"])
def test_frozen_between_look_and_write_it_changes_nothing_that_counts(small_run, monkeypatch, kind):
    frozen.wake_after_another(small_run(**KEYS), kind, 3, monkeypatch)


def test_every_kind_of_write_has_a_place_where_it_freezes():
    assert all(hasattr(Freezes, f"_{kind}") for kind, _ in KINDS)


# Helpers that a trainer forks, such as loaders of data.


class DiesWithAHelper:
    """Killed after five steps, and a process that it forked lives on.

    `native`: no hook of Python ran there.
    """

    def __init__(self, file, native):
        self.file, self.native = file, native

    def prepare(self):
        from hankelboard.trainer.training import loop

        update = loop.optimizer_step

        def fatal(session):
            if session.run.state.step >= 5:
                self.fork_and_die()
            return update(session)

        loop.optimizer_step = fatal

    def fork_and_die(self):
        trainer = os.getpid()
        if (ctypes.PyDLL(None).fork if self.native else os.fork)() == 0:
            self.file.write_text(f"{trainer} {os.getpid()}")
            os.kill(trainer, signal.SIGKILL)
            signal.pause()
        signal.pause()


@pytest.mark.parametrize("native", [False, True])
def test_a_forked_helper_that_outlives_its_trainer_keeps_nobody_from_resuming(small_run, tmp_path, native):
    run = small_run(training={"steps": 20}, reduction={"attempts": 0, "steps": []})
    assert train_until(run.paths, DiesWithAHelper(tmp_path / "pids", native)) == -signal.SIGKILL
    trainer, helper = map(int, (tmp_path / "pids").read_text().split())
    try:
        assert look(run.paths.lock) is (Answer.HELD if native else Answer.OURS)
        assert not is_held(run.paths)
        with RunLock(run.paths), pytest.raises(RunHeld) as held:
            RunLock(run.paths, patience_s=0.0)
        assert str(trainer) not in str(held.value)
        assert run.train() == "finished"
    finally:
        os.kill(helper, signal.SIGKILL)


# What was decided before the lock was taken is looked at again under it.


def test_what_was_finished_meanwhile_is_not_trained_again(small_run):
    run = small_run(training={"steps": 5}, reduction={"attempts": 0, "steps": []})
    before = run.history
    assert run.train() == "finished"
    events = run.paths.events.read_bytes()
    assert (
        loop.train_run(run.paths, keep_log=False, wanted=lambda history: history.state == before.state) == ""
    )
    give_up(run.paths, "it seemed to die", lambda history: history.state == before.state)
    assert run.paths.events.read_bytes() == events


def test_a_command_is_answered_by_what_the_run_is_by_then(small_run):
    run = small_run(training={"steps": 5}, reduction={"attempts": 0, "steps": []})
    queued = run.history
    assert run.train() == "finished"
    command = run.send("stop")
    asked = list(unanswered(run.paths, run.history))
    orphans.answer(run.paths, queued, asked)
    orphans.answer(run.paths, queued, asked)
    assert run.history.state == "finished" and not run.events("run_cancelled")
    (refused,) = run.events("command_refused")
    assert refused["command_id"] == command and "is finished" in refused["reason"]


def test_a_claim_is_made_only_where_there_is_something_to_answer(small_run):
    run = small_run()
    run.send("pause")
    orphans.answer(run.paths, run.history, list(unanswered(run.paths, run.history)))
    assert not run.paths.attempts.exists()


def test_a_checkpoint_that_an_older_attempt_publishes_late_is_left_out(small_run, tmp_path):
    run = small_run(training={"steps": 30, "checkpoint_every": 6}, reduction={"attempts": 0, "steps": []})

    def train_to(step):
        run.send("stop", at_step=step)
        assert run.train() == "stopped"
        return run.checkpoints()[-1].name

    late = train_to(20)
    for checkpoint in run.checkpoints():
        if checkpoint.name.step > 12:  # the last one is still on the way, the others were never made
            run.paths.checkpoint(checkpoint.name).rename(tmp_path / str(checkpoint.name))
    resumed = train_to(13)
    assert late.sequence > resumed.sequence
    (tmp_path / str(late)).rename(run.paths.checkpoint(late))
    command = run.send("rollback", checkpoint=str(late))
    assert train_to(15).attempt == 2
    assert run.events("attempt_started")[2]["checkpoint"] == str(resumed)
    answer = run.history.commands[command]
    assert answer.state == "refused" and "a later attempt trained this step again" in answer.reason


def test_a_proposal_that_an_older_attempt_publishes_late_is_passed_over(small_run, monkeypatch):
    run = small_run(reduction={"steps": [20]})
    late = {"branch": 0, "attempt": 0, "step": 20, "attempt_step": 20, "layers": [{}], "ranks": [1]}

    def publish_late():
        atomic.create(run.paths.proposal(1), {"proposal": 1, **late})

    run.send("stop", at_step=10)
    assert run.train() == "stopped"
    at_steps(monkeypatch, {19: publish_late})
    assert run.train() == "finished"
    assert list(run.history.proposals) == [2] and run.history.proposals[2].state == "applied"


@pytest.mark.parametrize("patience_s", [0.0, 1e9])
def test_an_empty_decision_is_being_written_until_it_was_so_for_long(small_run, monkeypatch, patience_s):
    monkeypatch.setattr("hankelboard.trainer.compression.offers.UNFINISHED_S", patience_s)
    run = small_run(reduction={"policy": "ask", "steps": [20]})
    with run.training():
        run.wait_pending(1)
        run.paths.decision(1).touch()
        if patience_s:
            run.wait_beats(3)
            assert run.history.proposals[1].state == "pending"
            run.paths.decision(1).write_text('{"verdict":"reject","by":"ada"}')
            run.wait(lambda history: history.proposals[1].state == "rejected")
        else:
            run.wait_pending(2)
            assert run.history.proposals[1].state == "refused"
            run.send("stop")
