"""Every family through the same life: proposed, cut, trained on, rolled back."""

import inspect

import pytest

from hankelboard.settings.config import parse
from hankelboard.settings.families import FAMILIES, TYPE_NAMES
from hankelboard.storage.errors import ConfigError
from hankelboard.storage.proposals import read_proposal
from hankelboard.trainer.layers.families import make_mixer, model_keys
from hankelboard.trainer.reduction.surgery import reducible_layers

SIZES = {"model": {"width": 8, "state_dim": 12, "layers": 2, "norm": "layer"}}
OPTIONS = {}
"""Options that a family needs at this size."""


def family_run(small_run, family, **keys):
    model = {**SIZES["model"], "family": family, "options": OPTIONS.get(family, {}), **keys.pop("model", {})}
    return small_run(model=model, **keys)


def defaults_of(family):
    """What the class has defaults for, besides its method and the keys of [model]."""
    elsewhere = {"method", *model_keys(family)}
    parameters = inspect.signature(type(mixer_of(family))).parameters.values()
    keywords = [each for each in parameters if each.kind is each.KEYWORD_ONLY]
    return {each.name: each.default for each in keywords if each.name not in elsewhere}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_row_of_a_family_says_what_its_layer_says(family):
    row, mixer = FAMILIES[family], mixer_of(family)
    ((_, layer),) = reducible_layers(mixer)
    assert row.options == {name: type(default) for name, default in defaults_of(family).items()}
    assert row.importance.name == layer.importance
    assert row.systems == layer.offers("realisation")
    assert row.streaming == mixer.streaming.__name__
    assert row.kernel_package == (layer.kernels[0].package if hasattr(layer, "kernels") else "")


def mixer_of(family, **options):
    return make_mixer(parse({"model": {"family": family, "width": 8, "options": options}}), 0, 4)


@pytest.mark.parametrize("family", FAMILIES)
def test_options_of_a_family_are_numbers_and_texts_that_its_layer_takes(family):
    defaults = defaults_of(family)
    assert {type(default) for default in defaults.values()} <= set(TYPE_NAMES)
    ((_, layer),) = reducible_layers(mixer_of(family, **defaults))
    assert layer.state_dim == 4


@pytest.mark.parametrize(
    ("family", "options", "words"),
    [
        (
            "mamba",
            {"heads": 3},
            "model.options.heads = 3: family mamba has the options expand, conv",
        ),
        ("mamba", {"dt_rank": "x"}, "model.options.dt_rank = 'x': must be a whole number"),
        ("mamba", {"conv": 2.5}, "model.options.conv = 2.5: must be a whole number"),
        ("mamba", {"expand": True}, "model.options.expand = True: must be a whole number"),
        ("s4d", {"dt_min": "x"}, "model.options.dt_min = 'x': must be a number"),
        ("s5", {"form": 1}, "model.options.form = 1: must be a text"),
        ("lru", {"r_min": 0.5}, "model.options.r_min = 0.5: family lru has no options"),
        ("gla", {"method": "energy"}, "model.options.method = 'energy': family gla has the options heads"),
        ("mamba", {"conv": 0}, "model.family = mamba: width, state_dim, expand and conv must be at least 1"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_allowed(family, options, words):
    with pytest.raises(ConfigError) as caught:
        mixer_of(family, **options)
    assert str(caught.value).startswith(words)


def test_a_number_of_seconds_may_be_whole():
    assert mixer_of("s4d", dt_min=1, dt_max=2).state_dim == 4


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_cut_while_it_trains(small_run, family):
    run = family_run(small_run, family, reduction={"tolerance": 0.3})
    assert run.train() == "finished"
    (applied, *_) = run.events("reduction_applied")
    assert sum(applied["to"]) < sum(applied["from"]) == 24
    assert applied["write_back_error"] < 1e-3
    assert applied["predicted"]["loss"] == pytest.approx(applied["after"]["loss"], rel=0.2)
    assert not run.events("run_failed", "loss_not_finite")
    assert all("nothing to cut" in event["reason"] for event in run.events("reduction_refused"))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_resumed_run_of_a_family_ends_with_the_same_bits(small_run, family):
    whole = family_run(small_run, family)
    assert whole.train() == "finished"
    parted = family_run(small_run, family)
    parted.send("stop", at_step=30)
    assert parted.train() == "stopped"
    parted.send("resume")
    assert parted.train() == "finished"
    assert parted.final_weights() == whole.final_weights()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_that_a_person_cut_and_rolled_back_ends_as_if_it_had_not_been_cut(small_run, family):
    keys = {"model": {"layers": 1}, "training": {"steps": 14, "checkpoint_every": 0}}
    rule = {"steps": [6], "tolerance": 0.3, "measure_share": 0.0}
    uncut = family_run(small_run, family, **keys, reduction={**rule, "policy": "keep"})
    assert uncut.train() == "finished"
    run = family_run(small_run, family, **keys, reduction={**rule, "policy": "ask"})
    with run.training() as outcome:
        run.wait_pending(1)
        run.decide(1, "approve")
    assert outcome == ["finished"]
    assert run.history.state_dims[0] < 12 and run.final_weights() != uncut.final_weights()
    run.send("rollback", checkpoint=str(run.checkpoints("before_reduction")[0].name), policy="keep")
    assert run.train() == "finished"
    assert run.history.branch == 1 and run.history.state_dims == [12]
    assert run.final_weights() == uncut.final_weights()


@pytest.mark.parametrize("method", FAMILIES["attention"].methods)
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


@pytest.mark.parametrize("method", FAMILIES["mamba"].methods)
def test_methods_of_a_selective_family(small_run, method):
    run = family_run(small_run, "mamba", reduction={"method": method, "tolerance": 0.3})
    assert run.train() == "finished"
    assert run.events("reduction_applied")
