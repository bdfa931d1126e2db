"""The loop from the outside: what a run directory holds when a run has ended."""

import json

import pytest

from hankelboard.storage.journal import read_journal
from hankelboard.storage.verification import verify_run
from hankelboard.trainer.training.loop import learning_rate, train_run


def test_a_run_ends_by_itself_and_is_cut_on_the_way(small_run, capsys):
    run = small_run()
    assert run.train() == "finished"
    history = run.history
    assert (history.state, history.step) == ("finished", 60)
    assert len(run.events("reduction_applied")) == 2
    assert all(dim < 12 for dim in history.state_dims)
    assert [event["step"] for event in run.events("reduction_applied")] == [20, 40]
    assert 0.0 <= history.finished["test"]["accuracy"] <= 1.0
    said = capsys.readouterr().out
    assert "test accuracy" in said
    assert "loss nan" not in said and "step 0/60 branch 0 N [12, 12] validation" in said
    assert not [finding for finding in verify_run(run.paths) if finding.damage]


def test_journals_hold_every_cadence(small_run):
    run = small_run(reduction={"policy": "keep", "steps": [33]})
    run.train()
    metrics = read_journal(run.paths.metrics)[0]
    spectra = read_journal(run.paths.spectra)[0]
    assert [r["step"] for r in metrics if "train/loss" in r] == list(range(5, 61, 5))
    assert [r["step"] for r in metrics if "val/loss" in r] == list(range(0, 61, 10))
    assert [r["step"] for r in spectra if r["layer"] == 0] == [0, 20, 33, 40, 60]
    assert all(r["hsv"] == sorted(r["hsv"], reverse=True) and len(r["hsv"]) == 12 for r in spectra)
    causes = [(c.cause, c.name.step) for c in run.checkpoints()]
    assert causes == [("start", 0), ("scheduled", 15), ("scheduled", 30), ("scheduled", 45), ("finish", 60)]


def test_the_same_seed_gives_the_same_run_and_another_seed_another(small_run):
    runs = [small_run(training={"seed": seed}) for seed in (1, 1, 2)]
    for run in runs:
        run.train()
    first, again, other = runs
    assert first.live_path() == again.live_path()
    assert first.final_weights() == again.final_weights()
    assert first.live_path() != other.live_path()


def test_measuring_does_not_change_training(small_run):
    """`keep` gathers all evidence and cuts nothing: losses and weights are those of a run without it."""
    measured = small_run(reduction={"policy": "keep", "steps": [7, 23]})
    unmeasured = small_run(reduction={"policy": "keep", "steps": [], "attempts": 0},
                           training={"spectra_every": 0})  # fmt: skip
    measured.train()
    unmeasured.train()
    assert len(measured.events("proposal_published")) == 2
    assert not unmeasured.events("proposal_published")
    assert measured.live_path() == unmeasured.live_path()
    assert measured.final_weights() == unmeasured.final_weights()


def test_a_loss_that_is_not_finite_is_said_once_and_training_goes_on(small_run):
    run = small_run(training={"learning_rate": 10.0, "warmup": 0.0}, reduction={"steps": [50]},
                    data={"task": "tests.trainer.own:with_nan"})  # fmt: skip
    assert run.train() == "finished"
    assert len(run.events("loss_not_finite")) == 1
    losses = [r["train/loss"] for r in read_journal(run.paths.metrics)[0] if "train/loss" in r]
    assert losses and all(loss is None for loss in losses)
    assert "not finite" in run.events("reduction_refused")[0]["reason"]


def test_a_run_that_fails_says_why(small_run):
    run = small_run(data={"task": "tests.trainer.own:broken"})
    assert run.train() == "failed"
    assert run.history.reason == "ZeroDivisionError: division by zero"
    assert json.loads(run.paths.status.read_text())["state"] == "failed"


def test_an_error_of_ours_is_one_line_and_any_other_keeps_its_traceback(small_run, capfd):
    assert small_run(data={"task": "no.such.module:load"}).train() == "failed"
    said, traceback = capfd.readouterr()
    assert said.count("\n") == said.count("data.task = 'no.such.module:load'") == 1 and traceback == ""
    assert small_run(data={"task": "tests.trainer.own:broken"}).train() == "failed"
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_by_hand_a_run_is_always_tried_again(small_run, monkeypatch):
    run = small_run()

    def begins_and_breaks(session, changes):
        session.run.event("attempt_started", checkpoint=None, state_dims=[12, 12], policy="auto")
        raise ZeroDivisionError

    monkeypatch.setattr("hankelboard.trainer.training.loop.begin", begins_and_breaks)
    for _ in range(3):
        assert run.train() == "failed"
    monkeypatch.undo()
    assert run.train() == "finished"


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_learning_rate(small_run, schedule):
    from hankelboard.settings.config import Config, TrainingConfig

    config = Config(training=TrainingConfig(steps=100, warmup=0.1, learning_rate=1.0, schedule=schedule))
    rates = [learning_rate(config, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1, abs=1e-6) and rates[9] == pytest.approx(1.0)
    assert rates[10] == pytest.approx(1.0)
    assert rates[40] == pytest.approx(0.75 if schedule == "cosine" else 1.0, abs=1e-6)  # a third of the way
    assert rates[55] == pytest.approx(0.5 if schedule == "cosine" else 1.0, abs=1e-6)
    assert rates[100] == pytest.approx(1e-7 if schedule == "cosine" else 1.0)


def test_tensorboard_holds_the_same_scalars(small_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = small_run(output={"tensorboard": True})
    run.train()
    events = EventAccumulator(str(run.paths.tensorboard / "branch-0"))
    events.Reload()
    journal = [(r["step"], r["val/loss"]) for r in read_journal(run.paths.metrics)[0] if "val/loss" in r]
    assert [(e.step, e.value) for e in events.Scalars("val/loss")] == [
        (step, pytest.approx(loss, rel=1e-6)) for step, loss in journal
    ]


def test_training_twice_at_once_is_refused(small_run):
    from hankelboard.storage.errors import RunHeld

    run = small_run(reduction={"policy": "ask"})
    with run.training():
        run.wait_pending(1)
        with pytest.raises(RunHeld, match="being trained by another process"):
            train_run(run.paths)
        run.send("stop")
    assert run.history.state == "stopped"


def test_a_rollback_leaves_the_losses_of_the_path_that_was_left(small_run):
    run = small_run(reduction={"attempts": 0, "steps": []}, training={"log_every": 5, "evaluate_every": 50})
    run.send("pause")
    with run.training():
        run.wait(lambda history: history.paused)
        start = str(run.checkpoints("start")[0].name)
        run.send("rollback", checkpoint=start, policy="ask", at_step=13)  # losses of 3 steps are not recorded
        run.send("resume")
        run.wait(lambda history: history.state == "finished")
    records = read_journal(run.paths.metrics)[0]
    first = {r["branch"]: r["train/loss"] for r in reversed(records) if r["step"] == 5}
    assert first.keys() == {0, 1} and first[0] == first[1]
