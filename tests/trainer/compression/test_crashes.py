"""The crash table of docs/FORMAT.md: killed at that line, the run ends as if nothing had happened."""

import signal

import pytest

from hankelboard.storage.verification import verify_run
from tests.trainer.deaths import AtEvent, AtStep, InCheckpoint, NotAtAll, train_until
from tests.trainer.small_run import SmallRun

DEATHS = [
    AtStep(1),
    AtStep(17),
    AtStep(33),
    AtStep(59),
    AtEvent("attempt_started"),
    AtEvent("run_started", when="halfway"),
    AtEvent("proposal_published", when="before"),
    AtEvent("proposal_published", when="halfway"),
    AtEvent("proposal_published", nth=2),
    AtEvent("decision_accepted", when="before"),
    AtEvent("decision_accepted"),
    AtEvent("reduction_applied", when="before"),
    AtEvent("reduction_applied"),
    AtEvent("reduction_applied", nth=2),
    AtEvent("checkpoint_published", nth=4),
    AtEvent("run_finished", when="before"),
    AtEvent("run_finished", when="halfway"),
    InCheckpoint(1, when="without manifest"),
    InCheckpoint(3, when="without manifest"),
    InCheckpoint(4, when="with manifest"),
]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    run = SmallRun(tmp_path_factory.mktemp("quiet"))
    assert train_until(run.paths, NotAtAll()) == 0
    return run


@pytest.mark.parametrize("death", DEATHS, ids=repr)
def test_killed_there_and_resumed_the_run_ends_the_same(small_run, uninterrupted, death):
    run = small_run()
    assert train_until(run.paths, death) == -signal.SIGKILL
    assert not [finding for finding in verify_run(run.paths) if finding.damage]
    assert train_until(run.paths, NotAtAll()) == 0
    assert run.history.state == "finished"
    assert run.final_weights() == uninterrupted.final_weights()
    assert run.live_path() == uninterrupted.live_path()
    assert {number: o.state for number, o in run.history.proposals.items()} == {1: "applied", 2: "applied"}
    assert not list(run.paths.checkpoints.glob(".*"))
    assert not [finding for finding in verify_run(run.paths) if finding.damage]


def test_killed_after_a_rollback_began_the_branch_goes_on(small_run):
    run = small_run(reduction={"steps": [20]})
    assert train_until(run.paths, NotAtAll()) == 0
    run.send("rollback", checkpoint=str(run.checkpoints("before_reduction")[0].name))
    assert train_until(run.paths, AtEvent("branch_started")) == -signal.SIGKILL
    assert train_until(run.paths, NotAtAll()) == 0
    history = run.history
    assert (history.state, history.branch, list(history.branches)) == ("finished", 1, [0, 1])
    assert history.state_dims == [12, 12]
    assert [(c.name.branch, c.name.step) for c in run.checkpoints("finish")] == [(0, 60), (1, 60)]


@pytest.mark.parametrize(
    "death", [AtEvent("stop_requested"), AtEvent("checkpoint_published", nth=2)], ids=repr
)
def test_killed_while_it_stops_it_stops_all_the_same(small_run, death):
    run = small_run(training={"checkpoint_every": 0})
    command = run.send("stop")
    assert train_until(run.paths, death) == -signal.SIGKILL
    assert train_until(run.paths, NotAtAll()) == 0
    history = run.history
    assert (history.state, history.step, history.commands[command].state) == ("stopped", 0, "applied")


def test_killed_between_a_refusal_and_the_new_offer_it_is_offered_again(small_run):
    run = small_run(reduction={"policy": "ask", "steps": [20], "deadline_s": 3.0, "default": "approve"})
    run.paths.decision(1).write_text('{"verdict": "perhaps"}')
    assert train_until(run.paths, AtEvent("decision_refused")) == -signal.SIGKILL
    assert train_until(run.paths, NotAtAll()) == 0
    assert {number: o.state for number, o in run.history.proposals.items()} == {1: "refused", 2: "applied"}
