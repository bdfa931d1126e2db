"""Measuring on demand: at ranks of one's own, and what the time limit had left out."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from hankelboard.settings.config import ReductionConfig
from hankelboard.storage import atomic, commands
from hankelboard.storage.errors import CommandRefused
from hankelboard.storage.figures import percent, points
from hankelboard.storage.proposals import (
    measured_error,
    publish_measurement,
    read_evidence,
    read_proposal,
    what_if,
)
from hankelboard.trainer.compression import measurement
from hankelboard.trainer.compression.loop_state import LoopState
from tests.waiting import PATIENCE_S

WAITS = {"policy": "ask", "steps": [20], "measure_share": 0.0}


@pytest.fixture
def hurried(small_run, monkeypatch):
    """A run whose proposals have no time to measure more than they must."""
    monkeypatch.setattr(measurement, "LEAST_MEASURING_S", 0.0)
    return small_run(reduction=WAITS)


def test_what_was_left_out_is_measured_when_somebody_asks(hurried):
    with hurried.training():
        hurried.wait_pending(1)
        before = read_evidence(hurried.paths, 1)
        assert {"responses", "null ranks"} <= set(before["measured"]["left_out"])
        assert "response" not in before["layers"][0]
        answer = hurried.wait_answer(hurried.send("measure", proposal=1))
        assert answer.state == "applied"
        after = read_evidence(hurried.paths, 1)
        hurried.decide(1, "reject")
    assert after["measured"]["left_out"] == []
    assert len(after["measured"]["points"]) > len(before["measured"]["points"])
    assert all(layer["response"] and len(layer["null_ranks"]) == 5 for layer in after["layers"])
    assert read_proposal(hurried.paths, 1)["measured"] == before["measured"]  # the file never changes


@pytest.mark.parametrize("policy", ["auto", "keep"])
def test_who_cuts_without_a_person_takes_no_more_than_the_share_and_changes_nothing(
    small_run, monkeypatch, policy
):
    """Auto has no seconds beside the share; a dry run is looked at, and has."""
    whole = small_run(reduction={"policy": policy})
    whole.train()
    monkeypatch.setattr(measurement, "LEAST_UNWATCHED_S", 0.0)
    short = small_run(reduction={"policy": policy, "measure_share": 0.0})
    short.train()
    for number in (1, 2):
        all_of_it, some = (read_proposal(run.paths, number) for run in (whole, short))
        left_out = {"responses", "null ranks"} & set(some["measured"]["left_out"])
        assert bool(left_out) == ("response" not in some["layers"][0]) == (policy == "auto")
        assert all_of_it["measured"]["left_out"] == []
        assert some["cost"]["seconds_per_step"]["after"] > 0
        assert some["ranks"] in [point["ranks"] for point in some["measured"]["points"] if point["rule"]]
    assert short.final_weights() == whole.final_weights()


@pytest.mark.parametrize(
    ("policy", "opportunity", "cutting_s", "limit_s"),
    [
        ("auto", 20, 0.0, 5.0), ("auto", 40, 0.0, 10.0), ("auto", 40, 4.0, 6.0), ("auto", 40, 30.0, 0.0),
        ("pragmatic", 40, 30.0, 0.0), ("ask", 40, 30.0, 2.0), ("keep", 20, 0.0, 5.0),
    ],
)  # fmt: skip
def test_cuts_share_one_budget_of_the_training(policy, opportunity, cutting_s, limit_s):
    state = LoopState(step=10, train_s=50.0, cutting_s=cutting_s, policy=policy)  # 5 s a step, 500 s in all
    run = SimpleNamespace(state=state, steps=100)
    config = ReductionConfig(measure_share=0.02)
    measurements = measurement.Measurements(run, None, None, config, [20, 40], None)
    assert measurements._limit_s(opportunity) == pytest.approx(limit_s)


def test_ranks_of_ones_own_are_measured_and_then_known_as_predicted(hurried):
    with hurried.training():
        hurried.wait_pending(1)
        ranks = [7, 9]
        assert what_if(read_evidence(hurried.paths, 1), ranks)["measured"] is None
        hurried.wait_answer(hurried.send("measure", proposal=1, ranks=ranks))
        point = what_if(read_evidence(hurried.paths, 1), ranks)["measured"]
        assert 0.0 <= point["accuracy"] <= 1.0 and point["seconds_per_step"] > 0
        hurried.decide(1, "approve", ranks=ranks)
        hurried.wait(lambda history: history.state == "finished")
    applied = hurried.events("reduction_applied")[0]
    assert applied["predicted"] == {key: point[key] for key in ("loss", "accuracy")}


def test_the_command_line_says_what_was_measured(hurried):
    """In a process of its own: the lines of the trainer, which is a thread here, fall in between others."""

    def call(*arguments):
        command = [
            sys.executable,
            "-P",
            "-m",
            "hankelboard",
            *arguments,
            "--runs-dir",
            hurried.paths.root.parent,
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.returncode, done.stdout.splitlines()

    measure = ("measure", hurried.paths.run_id, "1", "--wait", str(PATIENCE_S))
    with hurried.training():
        hurried.wait_pending(1)
        one, more = call(*measure, "--ranks", "7,9"), call(*measure)
        refused = call(*measure, "--ranks", "7,99")
        told, shown = call("proposals", hurried.paths.run_id), call("show", hurried.paths.run_id)
        hurried.decide(1, "reject")
    evidence = read_evidence(hurried.paths, 1)
    point = what_if(evidence, [7, 9])["measured"]
    low, high = map(points, point["accuracy_change"])
    errors = ", ".join(percent(error, 1) for error in point["output_error"])
    line = (
        f"N 7,9: loss {point['loss']:.4f}, accuracy {percent(point['accuracy'])} ({low} to {high} "
        f"points, 95 % interval), output error per layer {errors}"
    )
    assert one[0] == 0 and [said for said in one[1] if said.startswith("N ")] == [line]
    assert sum(said.startswith("N ") for said in more[1]) == len(evidence["measured"]["points"]) > 1
    assert refused[0] == 1 and not any(said.startswith("N ") for said in refused[1])
    color, reasons = evidence["badge"]["color"], evidence["badge"]["reasons"]
    errors = [measured_error(*each)[1] for each in zip(evidence["layers"], evidence["ranks"], strict=True)]
    changes = ", ".join(percent(error, 1) for error in errors)
    said = f"output changes per layer: {changes} (measured, held out)"
    assert f"proposal 1: {said}" in told[1]
    assert any(line.startswith("proposal ") and line.endswith(f"{color}; {said}") for line in shown[1])
    assert reasons and {f"proposal 1, {color}: {reason}" for reason in reasons} <= set(told[1])


def test_measuring_changes_nothing_in_the_training(small_run):
    plain, asked = small_run(reduction={"policy": "ask", "steps": [20]}), small_run(reduction=WAITS)
    for run in (plain, asked):
        with run.training():
            run.wait_pending(1)
            if run is asked:
                run.wait_answer(run.send("measure", proposal=1, ranks=[5, 5]))
            run.decide(1, "approve")
    assert plain.live_path() == asked.live_path() and plain.final_weights() == asked.final_weights()


def test_what_cannot_be_measured_is_refused_with_the_reason(small_run):
    run = small_run(reduction={"policy": "ask", "steps": [20], "waiting": "train", "at_end": "wait"})
    with run.training():
        run.wait_pending(1)
        run.wait(lambda history: run.status["step"] >= 60)
        moved = run.wait_answer(run.send("measure", proposal=1))
        run.decide(1, "reject")
    assert moved.state == "refused" and "the proposal was made at step 20" in moved.reason
    with pytest.raises(CommandRefused, match="has no proposal 7"):
        commands.send_command(run.paths, "measure", by="ada", via="test", proposal=7)


def test_impossible_ranks_are_refused(hurried):
    with hurried.training():
        hurried.wait_pending(1)
        answer = hurried.wait_answer(hurried.send("measure", proposal=1, ranks=[99, 1]))
        hurried.decide(1, "reject")
    assert answer.state == "refused" and "99" in answer.reason


def test_a_damaged_measurement_leaves_the_proposal_as_it_is(hurried):
    with hurried.training():
        hurried.wait_pending(1)
        hurried.decide(1, "reject")
    before = read_evidence(hurried.paths, 1)
    damaged = {"proposal": 1, "points": 3, "layers": None, "done": []}
    with pytest.raises(ValueError, match="points: must be a list of objects"):
        publish_measurement(hurried.paths, "0" * 26, damaged)
    atomic.create(hurried.paths.measurement("0" * 26), damaged)
    hurried.paths.measurement("0" * 25 + "1").write_text("{torn")
    assert read_evidence(hurried.paths, 1) == before
