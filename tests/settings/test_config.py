import pytest

from hankelboard.settings.config import Config, parse
from hankelboard.settings.families import FAMILIES
from hankelboard.settings.preset import find_preset, presets
from hankelboard.settings.setting import describe_fields
from hankelboard.settings.toml import merge, parse_assignment
from hankelboard.storage.errors import ConfigError


def assign(*assignments):
    tables = {}
    for assignment in assignments:
        tables = merge(tables, parse_assignment(assignment))
    return parse(tables)


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("training.stepz=3", ["training.stepz", "did you mean training.steps"]),
        ("trainin.steps=3", ["unknown section trainin", "training"]),
        ("training.steps=0", ["training.steps = 0", "at least 1"]),
        ("training.steps=ten", ["training.steps = 'ten'", "a whole number"]),
        ("training.steps=1.5", ["training.steps = 1.5", "a whole number"]),
        ("training.steps=true", ["training.steps = True", "a whole number"]),
        ("training.learning_rate=nan", ["training.learning_rate = nan", "finite"]),
        ("training.learning_rate=0", ["above 0.0"]),
        ("reduction.policy=maybe", ["reduction.policy = 'maybe'", "ask, auto, pragmatic, keep"]),
        ("reduction.tolerance=1.0", ["reduction.tolerance = 1.0", "below 1.0"]),
        ("reduction.steps=[5000]", ["5000 is beyond 2000"]),
        ("model.state_dim=[8]", ["model.state_dim = [8]", "2 numbers"]),
        ("model.state_dim=[8,true]", ["list of numbers"]),
        ("model.r_min=0.9999", ["model.r_min", "below model.r_max"]),
        ("output.tensorboard=1", ["true or false"]),
        ("training", ["section.key=value"]),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(assignment, words):
    with pytest.raises(ConfigError) as caught:
        assign(assignment)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("family", "words"),
    [
        ("mambaa", "unknown; did you mean mamba?; a model of your own is package.module:Class"),
        (
            "transformer",
            f"unknown; there are {', '.join(FAMILIES)}; a ",
        ),
        ("", "unknown; there are lru"),
    ],
)
def test_a_family_that_is_not_there_is_refused(family, words):
    with pytest.raises(ConfigError) as caught:
        parse({"model": {"family": family}})
    assert f"model.family = {family!r}: {words}" in str(caught.value)


@pytest.mark.parametrize(
    ("family", "assignment", "words"),
    [
        ("mamba", "reduction.symmetry=real", "reduction.symmetry = real: only for lru, not for mamba"),
        ("s4d", "reduction.compensation=false", "compensation = False: only for mamba and gla, not for s4d"),
        ("lru", "reduction.compensation=false", "only for mamba and gla, not for lru"),
        ("s4d", "model.r_min=0.5", "model.r_min = 0.5: only for lru, not for s4d"),
        ("gla", "model.max_phase=1", "model.max_phase = 1.0: only for lru, not for gla"),
        ("s5", "model.form=scan", "model.form = scan: only for lru, not for s5; set model.options.form"),
        ("own.models:Model", "model.r_max=0.5", "model.r_max = 0.5: only for lru, not for own.models:Model"),
    ],
)
def test_a_setting_that_the_family_would_ignore_is_refused(family, assignment, words):
    with pytest.raises(ConfigError) as caught:
        assign(f"model.family={family}", assignment)
    assert str(caught.value).endswith(words)


def test_a_setting_is_taken_by_its_families_and_at_its_default_by_all():
    assert not assign("model.family=gla", "reduction.compensation=false").reduction.compensation
    assert assign("model.form=scan", "model.r_min=0.5").model.form == "scan"
    assert assign("model.family=s4d", "model.r_min=0.9").model.r_min == 0.9
    assert assign("reduction.symmetry=real", "reduction.moments=reset").reduction.symmetry == "real"


def test_values_are_read_as_toml_and_else_as_text():
    config = assign("training.learning_rate=1", "reduction.steps=[10, 20]", "data.folder=some/where")
    assert config.training.learning_rate == 1.0
    assert config.reduction.steps == [10, 20] and config.data.folder == "some/where"


def test_a_model_of_ones_own_may_be_a_single_text():
    assert parse({"model": "package.module:Class"}).model.family == "package.module:Class"


def test_a_configuration_survives_its_json():
    config = assign("model.state_dim=[4, 8]", "model.family=mamba", "model.options.conv=2")
    assert parse(config.as_dict()) == config and config.state_dims == [4, 8]


def test_every_preset_is_valid_and_says_what_it_is_for():
    assert {"digits-lru", "digits-baseline", "digits-scratch", "smnist-lru"} <= set(presets())
    assert all(preset.description and preset.role for preset in presets().values())
    with pytest.raises(ConfigError, match="did you mean digits-lru"):
        find_preset("digits-lrv")


def test_every_key_has_help():
    rows = describe_fields(Config())
    assert all(row["help"] for row in rows)
    assert {row["key"] for row in rows} == {
        f"{section}.{key}" for section, keys in Config().as_dict().items() for key in keys
    }


def test_options_are_merged_key_by_key_and_dropped_with_the_family_or_task_they_are_for():
    preset = find_preset("mqar-mamba2").tables
    changed = merge(preset, parse_assignment("model.options.conv=2"))
    assert changed["model"]["options"] == {**preset["model"]["options"], "conv": 2}
    assert merge(preset, parse_assignment("model.family=gla"))["model"].get("options") is None
    assert merge(preset, parse_assignment("data.task=copying"))["data"].get("options") is None
    assert merge(preset, parse_assignment("model.family=mamba2"))["model"] == preset["model"]
