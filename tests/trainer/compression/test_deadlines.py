"""Deadlines: when nobody decides, the default does, as a decision like any other."""

import threading

import pytest

from hankelboard.storage.errors import AlreadyDecided
from hankelboard.storage.proposals import read_decision
from tests.trainer.small_run import QuickClock, SmallRun


class Clock:
    """The clock of deadlines: each look at it takes `pace` seconds, by its own count."""

    sleep = staticmethod(QuickClock.sleep)

    def __init__(self):
        self.seconds, self.pace = 0.0, 0.0

    def monotonic(self):
        self.seconds += self.pace
        return self.seconds

    def advance(self, seconds):
        self.seconds += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(SmallRun, "clock", clock)
    return clock


@pytest.mark.parametrize(("default", "state", "dims"), [("reject", "expired", 12), ("approve", "applied", 8)])
def test_after_some_seconds_the_default_decides(small_run, clock, default, state, dims):
    run = small_run(reduction={"policy": "ask", "steps": [20], "deadline_s": 0.5, "default": default})
    with run.training():
        run.wait_pending(1)
        run.wait_beats()
        assert read_decision(run.paths, 1) is None
        clock.pace = 0.2
        run.wait(lambda history: history.state == "finished")
    decision = read_decision(run.paths, 1)
    assert (decision.by, decision.verdict) == ("policy:timeout", default)
    assert decision.reason == "nobody decided within 0.5 s"
    assert run.history.proposals[1].state == state
    assert max(run.history.state_dims) <= dims


def test_a_second_of_a_deadline_is_one_of_the_clock(small_run, clock, monkeypatch):
    monkeypatch.setattr(clock, "sleep", clock.advance)  # only naps take time
    run = small_run(reduction={"policy": "ask", "steps": [20], "deadline_s": 0.5})
    assert run.train() == "finished"
    assert read_decision(run.paths, 1).by == "policy:timeout"
    assert run.status["waiting_s"] == pytest.approx(0.5, abs=0.11)  # naps of a tenth of a second


def test_after_some_steps_the_default_decides_and_names_them(small_run):
    run = small_run(reduction={"policy": "ask", "steps": [20], "waiting": "train", "deadline_steps": 15})
    assert run.train() == "finished"
    assert run.events("decision_accepted")[0]["step"] == 35
    assert run.history.proposals[1].reason == "nobody decided within 15 steps"


def test_a_pause_does_not_use_up_the_deadline(small_run, clock):
    run = small_run(reduction={"policy": "ask", "steps": [20], "deadline_s": 60.0})
    with run.training():
        run.wait_pending(1)
        run.wait_answer(run.send("pause"))
        clock.advance(1000.0)
        clock.pace = 1000.0
        run.wait_beats()
        clock.pace = 0.0
        run.wait_answer(run.send("resume"))
        run.wait_beats()
        assert read_decision(run.paths, 1) is None
        clock.pace = 7.0
        run.wait(lambda history: history.state == "finished")
    assert read_decision(run.paths, 1).by == "policy:timeout"


def test_downtime_does_not_use_up_the_deadline(small_run, clock):
    run = small_run(reduction={"policy": "ask", "steps": [20], "deadline_s": 60.0})
    with run.training():
        run.wait_pending(1)
        run.send("stop")
    clock.advance(1000.0)
    with run.training():
        run.wait(lambda history: history.attempt >= 1 and history.state == "waiting_for_decision")
        run.wait_beats()
        assert read_decision(run.paths, 1) is None
        run.decide(1, "approve")
        run.wait(lambda history: history.state == "finished")
    assert run.history.proposals[1].state == "applied"


def test_what_passed_before_a_stop_counts(small_run, clock):
    run = small_run(reduction={"policy": "ask", "steps": [20], "deadline_s": 60.0})
    with run.training():
        run.wait_pending(1)
        run.wait_beats()
        clock.advance(40.0)
        run.wait_beats()
        run.send("stop")
    with run.training():
        run.wait(lambda history: history.attempt >= 1 and history.state == "waiting_for_decision")
        run.wait_beats()
        assert read_decision(run.paths, 1) is None
        clock.advance(30.0)
        run.wait(lambda history: history.state == "finished")
    assert read_decision(run.paths, 1).by == "policy:timeout"


def test_a_decision_in_the_moment_of_the_deadline_has_one_effect(small_run, clock):
    """People and the deadline race; whoever is first is carried out, the other one is told."""
    for seed in range(4):
        run = small_run(training={"seed": seed, "steps": 30},
                        reduction={"policy": "ask", "steps": [20], "deadline_s": 1.0})  # fmt: skip
        told, clock.pace = [], 0.0

        def race(run=run, told=told):
            run.wait_pending(1)
            run.wait_beats()
            clock.pace = 1.0  # the next look is the last
            try:
                run.decide(1, "approve")
            except AlreadyDecided as error:
                told.append(str(error))

        person = threading.Thread(target=race)
        person.start()
        assert run.train() == "finished"
        person.join()
        decision, outcome = read_decision(run.paths, 1), run.history.proposals[1]
        assert decision.by in ("ada", "policy:timeout")
        assert len(run.events("decision_accepted")) == 1
        assert outcome.state == ("applied" if decision.by == "ada" else "expired")
        assert len(told) == (0 if decision.by == "ada" else 1)
        assert all("policy:timeout" in words for words in told)
