"""Commands to a living trainer: carried out at a step boundary, answered with step and reason."""

import pytest

from hankelboard.storage import checkpoints
from hankelboard.storage.errors import CheckpointError, CommandRefused
from hankelboard.storage.verification import verify_run
from tests.trainer.small_run import ENDLESS

LONG = {"training": {"steps": ENDLESS}, "reduction": {"attempts": 0, "steps": []}}


def test_pause_holds_training_and_every_other_command_still_works(small_run):
    run = small_run(**LONG)
    with run.training() as outcome:
        paused = run.wait_answer(run.send("pause"))
        run.wait(lambda history: run.status["state"] == "paused")
        run.wait_beats()
        assert run.status["step"] == paused.step
        saved = run.wait_answer(run.send("checkpoint"))
        assert (saved.state, saved.step) == ("applied", paused.step)
        assert run.checkpoints("command")[0].pinned
        run.wait_answer(run.send("rollback", checkpoint=str(run.checkpoints("start")[0].name)))
        assert run.history.branch == 1 and run.history.paused
        run.wait(lambda history: run.status["branch"] == 1)
        run.wait_beats()
        assert (run.status["state"], run.status["step"]) == ("paused", 0)
        run.wait_answer(run.send("resume"))
        run.wait(lambda history: run.status["step"] > 20)
        run.wait_answer(run.send("pause"))
        run.send("stop")
    assert outcome == ["stopped"]
    assert run.history.reason == "asked for by ada"


def test_stop_saves_and_the_run_goes_on_where_it_stopped(small_run):
    run = small_run(**LONG)
    with run.training():
        run.wait(lambda history: run.status["step"] > 0)
        run.send("stop")
    stopped = run.history.step
    assert stopped > 0 and run.checkpoints()[-1].name.step == stopped
    with run.training():
        run.wait(lambda history: run.status["step"] > stopped)
        run.send("stop")
    assert run.events("attempt_started")[1]["step"] == stopped


def test_a_command_is_carried_out_once(small_run):
    run = small_run(**LONG)
    with run.training():
        run.wait_answer(run.send("checkpoint"))
        run.send("stop")
    with run.training():
        run.wait(lambda history: history.attempt >= 1)
        run.wait_answer(run.send("resume"))  # the inbox was looked through
        run.send("stop")
    assert len(run.checkpoints("command")) == 1
    assert len(run.events("stop_requested")) == 2


def test_rollback_twice_to_one_checkpoint_gives_two_branches(small_run):
    run = small_run(reduction={"steps": [20]})
    run.train()
    before = run.checkpoints("before_reduction")[0]
    weights = before.files["model.safetensors"]["sha256"]
    finals = []
    for branch in (1, 2):
        run.send("rollback", checkpoint=str(before.name), policy="ask")
        assert run.train() == "finished"  # the attempt that was undone is not made again
        history = run.history
        assert (history.branch, history.state_dims) == (branch, [12, 12])
        assert history.branches[branch].parent == 0 and history.branches[branch].from_step == 20
        assert run.checkpoints("branch")[-1].files["model.safetensors"]["sha256"] == weights
        finals.append(run.final_weights())
    assert finals[0] == finals[1]  # generators and position in the data came back, too
    assert run.history.proposals[1].state == "rolled_back"
    uncut = small_run(reduction={"attempts": 0, "steps": []})
    uncut.train()
    assert run.live_path() == uncut.live_path() and finals[0] == uncut.final_weights()
    assert len(run.checkpoints("before_reduction")) == 1  # nothing was deleted
    assert not [finding for finding in verify_run(run.paths) if finding.damage]


def test_rollback_while_a_proposal_waits_supersedes_it(small_run):
    run = small_run(reduction={"policy": "ask", "steps": [20]})
    with run.training():
        run.wait_pending(1)
        run.wait_answer(run.send("rollback", checkpoint=str(run.checkpoints("scheduled")[0].name)))
        history = run.wait_pending(2)  # nothing was undone, so the attempt is due again on the new branch
        assert history.proposals[1].state == "superseded"
        assert (history.proposals[2].branch, history.proposals[2].attempt_step) == (1, 20)
        run.decide(2, "reject")
        run.wait(lambda history: history.state == "finished")


@pytest.mark.parametrize("policy", ["ask", "auto"])
def test_the_policy_of_the_new_branch_is_the_one_asked_for(small_run, policy):
    run = small_run(training={"steps": ENDLESS}, reduction={"policy": "keep", "steps": [20]})
    run.send("stop", at_step=30)
    assert run.train() == "stopped"
    run.send("rollback", checkpoint=str(run.checkpoints("start")[0].name), policy=policy)
    state = "pending" if policy == "ask" else "applied"
    with run.training():
        run.wait(lambda history: 2 in history.proposals and history.proposals[2].state == state)
        run.wait_beats()
        run.send("stop")
    assert (run.history.branch, run.history.proposals[2].state) == (1, state)
    assert run.history.policy == policy
    assert bool(run.events("reduction_applied")) == (policy == "auto")


def test_rollback_to_a_damaged_checkpoint_is_refused_and_training_goes_on(small_run):
    run = small_run(reduction={"policy": "ask", "steps": [20]})
    with run.training():
        run.wait_pending(1)
        target = run.checkpoints("scheduled")[0].name
        flip_a_bit(run.paths.checkpoint(target) / "model.safetensors")
        answer = run.wait_answer(run.send("rollback", checkpoint=str(target)))
        assert answer.state == "refused" and "does not have the recorded SHA-256" in answer.reason
        assert run.history.branch == 0 and run.history.pending().number == 1
        run.decide(1, "approve")
        run.wait(lambda history: history.state == "finished")


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(small_run, capsys):
    run = small_run(**LONG)
    with run.training():
        run.wait(lambda history: len(run.checkpoints("scheduled")) >= 2)
        run.send("stop")
    newest, before = run.checkpoints()[-1], run.checkpoints()[-2]
    flip_a_bit(run.paths.checkpoint(newest.name) / "optimizer.safetensors")
    with run.training():
        run.wait(lambda history: history.attempt >= 1)
        run.send("stop")
    assert run.events("attempt_started")[1]["checkpoint"] == str(before.name)
    assert f"checkpoint {newest.name}: optimizer.safetensors does not have" in capsys.readouterr().out


def test_a_file_in_the_inbox_that_is_no_command_is_refused_once(small_run):
    run = small_run(**LONG)
    with run.training():
        good = run.send("checkpoint")
        run.wait_answer(good)
        odd = run.paths.command("0" * 26)
        odd.write_text('{"command": "format the disk"}')
        (run.paths.inbox / "README.txt").write_text("not an id")
        run.wait(lambda history: "0" * 26 in history.commands)
        run.wait_answer(run.send("checkpoint"))  # the inbox was looked through again
        run.send("stop")
    refused = run.events("command_refused")
    assert [event["reason"] for event in refused] == ["the file is no command"]


def test_a_command_for_a_later_step_is_carried_out_there(small_run):
    run = small_run(reduction={"attempts": 0, "steps": []})
    saved, stopped = run.send("checkpoint", at_step=17), run.send("stop", at_step=33)
    run.train()
    assert run.checkpoints("command")[0].name.step == 17 and run.history.step == 33
    outcomes = run.history.commands
    assert (outcomes[saved].state, outcomes[stopped].state) == ("applied", "applied")
    assert run.events("command_accepted")[0]["at_step"] == 17


def test_a_command_for_a_step_that_never_comes_is_refused_with_the_reason(small_run):
    run = small_run(reduction={"attempts": 0, "steps": []})
    command = run.send("checkpoint", at_step=1000)
    assert run.train() == "finished"
    assert run.history.commands[command].state == "refused"
    assert "training ended at step 60, before step 1000" in run.history.commands[command].reason


def test_kill_ends_without_saving(small_run):
    run = small_run(**LONG)
    with run.training() as outcome:
        run.wait(lambda history: run.status["step"] > 20)
        command = run.send("kill")
        run.wait(lambda history: history.state == "stopped")
    assert outcome == ["stopped"] and run.history.commands[command].state == "applied"
    assert run.history.reason == "killed by ada, without saving"
    assert {checkpoint.cause for checkpoint in run.checkpoints()} <= {"start", "scheduled"}


def test_the_policy_can_be_changed_while_a_proposal_waits_and_outlives_a_restart(small_run):
    run = small_run(reduction={"policy": "ask", "steps": [20, 40]})
    with run.training():
        run.wait_pending(1)
        run.wait_answer(run.send("policy", policy="auto"))
        run.wait(lambda history: history.state == "finished")
    assert [outcome.state for outcome in run.history.proposals.values()] == ["applied", "applied"]
    assert run.events("decision_accepted")[0]["by"] == "policy:auto"
    assert run.history.policy == "auto"


def test_waiting_can_be_changed_to_train_on(small_run):
    run = small_run(training={"steps": ENDLESS}, reduction={"policy": "ask", "steps": [20], "slack": 1000.0})
    with run.training():
        run.wait_pending(1)
        run.wait_answer(run.send("policy", waiting="train"))
        run.wait(lambda history: run.status["step"] > 60)
        assert run.history.pending().number == 1
        run.send("stop")
    with run.training():
        run.wait(lambda history: run.status["step"] > run.events("run_stopped")[0]["step"])
        run.decide(1, "approve")
        run.wait(lambda history: history.proposals[1].state == "applied")
        run.send("stop")
    assert run.history.proposals[1].state == "applied"


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        ("policy", {}, "say which policy"),
        ("policy", {"policy": "perhaps"}, "unknown policy 'perhaps'"),
        ("policy", {"waiting": "never"}, "unknown waiting 'never'"),
        ("stop", {"at_step": -1}, "must be 0 or later"),
        ("explode", {}, "unknown command 'explode'"),
        ("rollback", {"checkpoint": "../../etc"}, "no checkpoint '../../etc'"),
        ("rollback", {"checkpoint": "b0-00000000-a0-0099"}, "hankelboard checkpoints"),
        ("rollback", {}, "no checkpoint None"),
    ],
)
def test_impossible_commands_are_refused_by_the_sender(small_run, kind, arguments, words):
    run = small_run()
    with pytest.raises(CommandRefused, match=words):
        run.send(kind, **arguments)
    assert not list(run.paths.inbox.iterdir())


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_rollback_whose_checkpoint_cannot_be_read_back_is_applied(small_run, monkeypatch):
    run = small_run(reduction={"steps": [20]})
    run.train()
    publish = checkpoints.publish

    def unreadable(*arguments, cause, **options):
        if cause == "branch":
            raise CheckpointError("manifest.json: cannot be read")
        return publish(*arguments, cause=cause, **options)

    monkeypatch.setattr(checkpoints, "publish", unreadable)
    command = run.send("rollback", checkpoint=str(run.checkpoints("before_reduction")[0].name), policy="ask")
    assert run.train() == "finished"
    history = run.history
    assert history.commands[command].state == "applied" and history.branch == 1
    assert history.state_dims == [12, 12]
