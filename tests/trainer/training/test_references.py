"""Runs that need other runs: matched dimensions, weights, ranks, a teacher."""

import signal

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from hankelboard.settings.families import FAMILIES
from hankelboard.storage.errors import CheckpointMisfit
from hankelboard.storage.journal import read_journal
from hankelboard.storage.records import read_record
from hankelboard.storage.summary import summarise
from hankelboard.trainer.cli import main
from hankelboard.trainer.compression.checkpoint import load_tensors
from tests.trainer.deaths import AtStep, NotAtAll, train_until
from tests.trainer.small_run import ADA

SHORT = {"steps": 30, "checkpoint_every": 10}
UNCUT = {"attempts": 0, "steps": []}


@pytest.fixture
def compressed(small_run):
    run = small_run()
    assert run.train() == "finished"
    assert run.history.state_dims != [12, 12]
    return run


def tensors(run, checkpoint):
    return load_file(run.paths.checkpoint(checkpoint.name) / "model.safetensors")


def test_a_scratch_run_starts_at_the_final_dimensions_of_another(small_run, compressed):
    run = small_run(model={"state_dim_as": compressed.paths.run_id}, reduction=UNCUT)
    assert run.train() == "finished"
    assert run.history.initial_state_dims == compressed.history.state_dims
    assert run.history.references == [
        {"key": "model.state_dim_as", "run": compressed.paths.run_id,
         "state_dims": compressed.history.state_dims}
    ]  # fmt: skip


def test_a_run_in_the_queue_says_what_it_waits_for(small_run):
    other = small_run()
    run = small_run(model={"state_dim_as": other.paths.run_id}, reduction=UNCUT)
    waits = f"waits for the final state dimensions of {other.paths.run_id}, which is queued"
    assert summarise(run.paths).reason == waits
    missing = small_run(start={"run": "20990101-000000-nobody-aaaa"})
    assert "which is not in this folder" in summarise(missing.paths).reason


def test_the_command_line_does_not_start_what_must_wait(small_run, capsys):
    other = small_run()
    run = small_run(model={"state_dim_as": other.paths.run_id}, reduction=UNCUT)
    assert main(["run", run.paths.run_id, "--runs-dir", str(run.paths.root.parent)]) == 1
    assert "waits for the final state dimensions" in capsys.readouterr().err
    assert run.history.state == "queued"


def test_a_resumed_run_no_longer_depends_on_the_other(small_run, compressed):
    run = small_run(model={"state_dim_as": compressed.paths.run_id}, reduction=UNCUT)
    assert train_until(run.paths, AtStep(33)) == -signal.SIGKILL
    compressed.paths.root.rename(compressed.paths.root.with_name("20990101-000000-gone-aaaa"))
    assert train_until(run.paths, NotAtAll()) == 0
    assert run.history.state == "finished"
    assert len(set(run.history.state_dims)) > 0


def test_weights_are_those_of_the_other_run_and_its_time_counts(small_run, compressed):
    run = small_run(start={"run": compressed.paths.run_id}, training=SHORT, reduction=UNCUT)
    assert run.train() == "finished"
    there, here = tensors(compressed, compressed.checkpoints()[-1]), tensors(run, run.checkpoints("start")[0])
    assert there.keys() == here.keys()
    assert all(torch.equal(there[name], here[name]) for name in there)
    (record,) = run.history.references
    spent = read_record(compressed.paths.checkpoint(compressed.checkpoints()[-1].name) / "loop.json")
    assert record["train_s"] == pytest.approx(spent["loop"]["train_s"])
    assert summarise(run.paths).prior_s == pytest.approx(record["train_s"])


def test_time_adds_up_along_a_chain(small_run, compressed):
    second = small_run(start={"run": compressed.paths.run_id}, training=SHORT, reduction=UNCUT)
    second.train()
    third = small_run(start={"run": second.paths.run_id}, training=SHORT, reduction=UNCUT)
    third.train()
    spent = [summarise(run.paths).train_s for run in (compressed, second)]
    assert summarise(third.paths).prior_s == pytest.approx(sum(spent), rel=0.05)


def test_cut_after_training_without_a_step(small_run, compressed):
    full = small_run(reduction=UNCUT)
    full.train()
    keys = {"steps": [0], "ranks_as": compressed.paths.run_id}
    run = small_run(start={"run": full.paths.run_id}, training={"steps": 0}, reduction=keys)
    assert run.train() == "finished"
    assert run.history.state_dims == compressed.history.state_dims
    assert run.history.step == 0
    assert run.history.finished["test"]["accuracy"] > 0.0


def test_cut_after_training_and_trained_on(small_run, compressed):
    keys = {"steps": [0], "tolerance": 0.3}
    run = small_run(start={"run": compressed.paths.run_id}, training=SHORT, reduction=keys)
    assert run.train() == "finished"
    (outcome,) = run.history.proposals.values()
    assert outcome.applied["step"] == 0
    assert run.history.step == 30


def test_an_attempt_at_the_last_step_is_made(small_run):
    run = small_run(reduction={"steps": [60]})
    assert run.train() == "finished"
    (outcome,) = run.history.proposals.values()
    assert (outcome.state, outcome.applied["step"]) == ("applied", 60)
    last = [record for record in read_journal(run.paths.metrics)[0] if "val/loss" in record][-1]
    assert last["val/loss"] == outcome.applied["after"]["loss"] != outcome.applied["before"]["loss"]
    assert last["state_dim/0"] == run.history.state_dims[0]


def test_ranks_follow_the_cuts_of_another_run(small_run, compressed):
    keys = {"method": "random", "ranks_as": compressed.paths.run_id}
    run = small_run(reduction=keys)
    assert run.train() == "finished"

    def cuts(which):
        return [(o.attempt_step, o.applied["to"]) for o in which.history.proposals.values() if o.applied]

    assert cuts(run) == cuts(compressed)
    decided = run.history.proposals[1].decision
    assert decided["reason"] == f"policy auto: ranks of {compressed.paths.run_id}"


def test_modes_are_shared_out_over_the_layers(small_run, compressed):
    run = small_run(reduction={"method": "last", "ranks_as": compressed.paths.run_id})
    assert run.train() == "finished"
    assert sum(run.history.state_dims) == sum(compressed.history.state_dims)


def test_attempts_at_steps_where_the_other_was_not_cut_are_left_out(small_run, compressed):
    run = small_run(reduction={"steps": [10, 20, 40], "ranks_as": compressed.paths.run_id})
    run.train()
    assert [outcome.attempt_step for outcome in run.history.proposals.values()] == [20, 40]


def test_a_student_learns_from_its_teacher_with_the_same_start(small_run, compressed):
    plain = small_run(reduction=UNCUT, training=SHORT)
    student = small_run(
        reduction=UNCUT, training=SHORT, distillation={"teacher": compressed.paths.run_id}
    )  # fmt: skip
    assert plain.train() == student.train() == "finished"
    starts = [tensors(run, run.checkpoints("start")[0]) for run in (plain, student)]
    assert all(torch.equal(starts[0][name], starts[1][name]) for name in starts[0])
    assert plain.final_weights() != student.final_weights()
    assert summarise(student.paths).prior_s > 0.0


@pytest.mark.parametrize("form", ["majoriser", "naive"])
def test_a_regularised_run_killed_and_resumed_ends_with_the_same_bits(small_run, form):
    keys = {"regularisation": {"hankel_nuclear": 0.01, "form": form, "refresh": 7}}
    quiet, run = small_run(**keys), small_run(**keys)
    assert train_until(quiet.paths, NotAtAll()) == 0
    assert train_until(run.paths, AtStep(33)) == -signal.SIGKILL
    assert train_until(run.paths, NotAtAll()) == 0
    assert run.final_weights() == quiet.final_weights()


def test_a_checkpoint_that_is_not_there_is_named(small_run, compressed):
    run = small_run(start={"run": compressed.paths.run_id, "checkpoint": "b9-00000001-a0-0001"})
    assert run.train() == "failed"
    assert "b9-00000001-a0-0001" in run.history.reason


def test_weights_that_do_not_fit_are_refused(small_run, compressed):
    run = small_run(
        start={"run": compressed.paths.run_id}, model={"layers": 3}, training=SHORT, reduction=UNCUT
    )
    assert run.train() == "failed"
    assert "does not fit the model" in run.history.reason


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_of_another_width_are_refused_and_of_other_states_taken(small_run, family):
    keys = {"model": {"family": family, "layers": 1, "norm": "layer"}, "training": {"steps": 8}}
    source = small_run(**keys, reduction={"steps": [5], "tolerance": 0.3})
    assert source.train() == "finished"
    assert source.history.state_dims != [12]
    keys |= {"start": {"run": source.paths.run_id}, "reduction": UNCUT}
    same = small_run(**keys)
    assert same.train() == "finished"
    assert same.history.state_dims == source.history.state_dims
    keys["model"] |= {"width": 16}
    wider = small_run(**keys)
    assert wider.train() == "failed"
    assert f"start.run = {source.paths.run_id}" in wider.history.reason
    assert "encoder.weight is (8, 1) in the checkpoint, (16, 1) in the model" in wider.history.reason


@pytest.mark.parametrize("family", ["attention", "mamba2", "gla", "deltanet"])
def test_weights_of_other_heads_are_refused(small_run, family):
    keys = {"family": family, "layers": 1, "norm": "layer"}
    source = small_run(model=keys, training=SHORT, reduction=UNCUT)
    assert source.train() == "finished"
    run = small_run(
        model={**keys, "options": {"heads": 2}}, start={"run": source.paths.run_id}, training=SHORT,
        reduction=UNCUT,
    )  # fmt: skip
    assert run.train() == "failed"
    assert "does not fit the model" in run.history.reason


def test_a_run_may_start_with_weights_of_more_states_than_its_configuration_has(small_run, compressed):
    run = small_run(
        start={"run": compressed.paths.run_id}, model={"state_dim": 3}, training=SHORT, reduction=UNCUT
    )
    assert run.train() == "finished"
    assert run.history.state_dims == compressed.history.state_dims


def test_a_teacher_of_other_classes_is_refused(small_run, compressed):
    task = {"task": "tests.trainer.own:parity"}
    run = small_run(data=task, distillation={"teacher": compressed.paths.run_id}, reduction=UNCUT)
    assert run.train() == "failed"
    assert f"distillation.teacher = {compressed.paths.run_id}: " in run.history.reason
    assert "head.weight is (10, 8) in the checkpoint, (2, 8) in the model" in run.history.reason


def test_a_run_whose_data_have_changed_their_classes_does_not_begin_anew(small_run, tmp_path):
    file = tmp_path / "own.txt"
    file.write_text("abcd" * 500)
    data = {"task": "text", "options": {"length": 16, "file": str(file)}}
    run = small_run(data=data, model={"norm": "layer"}, reduction=UNCUT)
    run.send("stop", at_step=30)
    assert run.train() == "stopped"
    run.send("resume")
    file.write_text("abcde" * 500)
    lines = run.paths.events.read_text().splitlines(keepends=True)
    run.paths.events.write_text("".join(line for line in lines if '"run_started"' not in line))
    assert run.train(accept_changes=ADA) == "failed"
    assert "encoder.weight is (4, 8) in the checkpoint, (5, 8) in the model" in run.history.reason
    assert len(run.events("attempt_started")) == 1 and not run.events("changes_accepted")


def test_a_misfit_is_found_before_anything_is_loaded():
    model, other = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)), nn.Linear(3, 4)
    before = [parameter.clone() for parameter in model.parameters()]
    tensors = {**nn.Sequential(nn.Linear(2, 3), other).state_dict()}
    with pytest.raises(CheckpointMisfit, match=r"1\.weight is \(4, 3\) in the checkpoint, \(2, 3\)"):
        load_tensors(model, None, tensors)
    assert all(map(torch.equal, before, model.parameters()))


def test_a_run_is_cut_in_the_real_symmetry(small_run):
    run = small_run(reduction={"symmetry": "real", "moments": "reset"})
    assert run.train() == "finished"
    applied = [outcome.applied for outcome in run.history.proposals.values() if outcome.applied]
    assert applied and run.history.state_dims != [12, 12]
    for event in applied:
        assert event["predicted"]["loss"] == pytest.approx(event["after"]["loss"], rel=0.05)
