"""Every family through the same life: proposed, cut, trained on, rolled back."""

import pytest

from storage.proposals import read_proposal
from trainer.config import METHODS
from trainer.models.families import MIXERS

SIZES = {"model": {"width": 8, "state_dim": 12, "layers": 2, "norm": "layer"}}
OPTIONS = {}
"""Options that a family needs at this size."""


def family_run(small_run, family, **keys):
    model = {**SIZES["model"], "family": family, "options": OPTIONS.get(family, {}), **keys.pop("model", {})}
    return small_run(model=model, **keys)


def test_every_family_has_methods_and_a_layer():
    assert set(METHODS) == set(MIXERS)


@pytest.mark.parametrize("family", MIXERS)
def test_a_family_is_cut_while_it_trains(small_run, family):
    run = family_run(small_run, family, reduction={"tolerance": 0.3})
    assert run.train() == "finished"
    (applied, *_) = run.events("reduction_applied")
    assert sum(applied["to"]) < sum(applied["from"]) == 24
    assert applied["write_back_error"] < 1e-3
    assert applied["predicted"]["loss"] == pytest.approx(applied["after"]["loss"], rel=0.2)
    assert not run.events("run_failed", "loss_not_finite")
    assert all("nothing to cut" in event["reason"] for event in run.events("reduction_refused"))


@pytest.mark.parametrize("family", MIXERS)
def test_a_resumed_run_of_a_family_ends_with_the_same_bits(small_run, family):
    whole = family_run(small_run, family)
    assert whole.train() == "finished"
    parted = family_run(small_run, family)
    parted.send("stop", at_step=30)
    assert parted.train() == "stopped"
    parted.send("resume")
    assert parted.train() == "finished"
    assert parted.final_weights() == whole.final_weights()


@pytest.mark.parametrize("method", METHODS["attention"])
def test_methods_of_a_family_with_matrix_valued_states(small_run, method):
    run = family_run(small_run, "attention", reduction={"method": method, "tolerance": 0.3})
    assert run.train() == "finished"
    assert run.events("reduction_applied")


def test_a_siso_family_notes_with_its_proposals_that_gains_are_modest(small_run):
    run = family_run(small_run, "s4d", reduction={"tolerance": 0.3, "steps": [5]}, training={"steps": 10})
    assert run.train() == "finished"
    assert {"modest gains" in layer["note"] for layer in read_proposal(run.paths, 1)["layers"]} == {True}
    other = family_run(small_run, "s5", reduction={"tolerance": 0.3, "steps": [5]}, training={"steps": 10})
    assert other.train() == "finished"
    assert not any("note" in layer for layer in read_proposal(other.paths, 1)["layers"])


@pytest.mark.parametrize("method", METHODS["mamba"])
def test_methods_of_a_selective_family(small_run, method):
    run = family_run(small_run, "mamba", reduction={"method": method, "tolerance": 0.3})
    assert run.train() == "finished"
    assert run.events("reduction_applied")
