"""Deadlines: when nobody decides, the default does, as a decision like any other."""

import threading
import time

import pytest

from storage.errors import AlreadyDecided
from storage.proposals import read_decision


@pytest.mark.parametrize(("default", "state", "dims"), [("reject", "expired", 12), ("approve", "applied", 8)])
def test_after_some_seconds_the_default_decides(small_run, default, state, dims):
    run = small_run(reduction={"policy": "ask", "steps": [20], "deadline_s": 0.5, "default": default})
    started = time.monotonic()
    assert run.train() == "finished"
    assert time.monotonic() - started >= 0.5
    decision = read_decision(run.paths, 1)
    assert (decision.by, decision.verdict) == ("policy:timeout", default)
    assert decision.reason == "nobody decided within 0.5 s"
    assert run.history.proposals[1].state == state
    assert max(run.history.state_dims) <= dims


def test_after_some_steps_the_default_decides_and_names_them(small_run):
    run = small_run(reduction={"policy": "ask", "steps": [20], "waiting": "train", "deadline_steps": 15})
    assert run.train() == "finished"
    assert run.events("decision_accepted")[0]["step"] == 35
    assert run.history.proposals[1].reason == "nobody decided within 15 steps"


def test_a_pause_does_not_use_up_the_deadline(small_run):
    run = small_run(reduction={"policy": "ask", "steps": [20], "deadline_s": 1.0})
    with run.training():
        run.wait_pending(1)
        run.wait_answer(run.send("pause"))
        time.sleep(1.5)
        assert read_decision(run.paths, 1) is None
        run.wait_answer(run.send("resume"))
        run.wait(lambda history: history.state == "finished")
    assert read_decision(run.paths, 1).by == "policy:timeout"


def test_downtime_does_not_use_up_the_deadline(small_run):
    run = small_run(reduction={"policy": "ask", "steps": [20], "deadline_s": 1.0})
    with run.training():
        run.wait_pending(1)
        run.send("stop")
    time.sleep(1.2)
    with run.training():
        run.wait(lambda history: history.attempt == 1 and history.state == "waiting_for_decision")
        run.decide(1, "approve")
        run.wait(lambda history: history.state == "finished")
    assert run.history.proposals[1].state == "applied"


def test_a_decision_in_the_moment_of_the_deadline_has_one_effect(small_run):
    """People and the deadline race; whoever is first is carried out, the other one is told."""
    winners = set()
    for round_ in range(4):
        deadline = 0.3
        run = small_run(training={"seed": round_, "steps": 30},
                        reduction={"policy": "ask", "steps": [20], "deadline_s": deadline})  # fmt: skip
        told = []

        def race(run=run, told=told, delay=0.15 + 0.06 * round_):
            run.wait_pending(1)
            time.sleep(delay)
            try:
                run.decide(1, "approve")
            except AlreadyDecided as error:
                told.append(str(error))

        person = threading.Thread(target=race)
        person.start()
        assert run.train() == "finished"
        person.join()
        decision, outcome = read_decision(run.paths, 1), run.history.proposals[1]
        winners.add(decision.by)
        assert len(run.events("decision_accepted")) == 1
        assert outcome.state == ("applied" if decision.by == "ada" else "expired")
        assert len(told) == (0 if decision.by == "ada" else 1)
        assert all("policy:timeout" in words for words in told)
    assert winners
