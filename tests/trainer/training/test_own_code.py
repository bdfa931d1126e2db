"""People's own models and data come in by their names and are cut like ours."""

import importlib
import sys

import pytest

from hankelboard.settings.imports import import_object
from hankelboard.storage.errors import ConfigError
from hankelboard.storage.journal import read_journal
from hankelboard.storage.verification import verify_run

OWN_DATA = {"task": "tests.trainer.own:parity", "options": {"samples": 60}}


def test_a_model_and_data_of_ones_own_are_trained_cut_and_rolled_back(small_run):
    model = {"family": "tests.trainer.own:TinyModel", "options": {"states": 9}, "state_dim": 12, "width": 8}
    run = small_run(model=model, data=OWN_DATA, reduction={"steps": [20], "tolerance": 0.3})
    assert run.train() == "finished"
    applied = run.events("reduction_applied")[0]
    assert applied["from"] == [9] and applied["to"] == run.history.state_dims and applied["to"][0] < 9
    run.send("rollback", checkpoint=applied["checkpoint"])
    assert run.train() == "finished"
    assert run.history.state_dims == [9]


def test_a_model_without_states_trains_and_says_that_there_is_nothing_to_cut(small_run):
    run = small_run(model={"family": "tests.trainer.own:NothingToCut"}, reduction={"steps": [20]})
    assert run.train() == "finished"
    assert "no layer that can be cut" in run.events("reduction_refused")[0]["reason"]


@pytest.mark.parametrize(("asked", "policy"), [(3, "auto"), (0, "auto"), (3, "pragmatic")])
def test_batches_splits_and_trials_in_which_nothing_is_scored_are_no_trouble(small_run, asked, policy):
    """0 of 0: no record says null, nothing is called not finite, and the run comes to its end."""
    options = {"questions": 3, "val_questions": asked}
    run = small_run(
        model={"family": "tests.trainer.own:EachStep"},
        data={"task": "tests.trainer.own:seldom_asked", "options": options},
        training={"batch": 2, "log_every": 1},
        reduction={"steps": [20], "tolerance": 0.3, "policy": policy},
    )
    assert run.train() == "finished"
    metrics = read_journal(run.paths.metrics)[0]
    assert run.events("loss_not_finite") == [] and not [r for r in metrics if None in r.values()]
    recorded = ["train/loss" in record for record in metrics if record["step"]]
    assert any(recorded) and not all(recorded), "batches without a question leave the loss out"
    assert all(record["train/loss"] > 0 for record in metrics if "train/loss" in record)
    assert any("val/accuracy" in record for record in metrics) == bool(asked)
    assert run.history.finished["test"] == {} and run.history.unknown == 0
    assert run.events("reduction_applied") and not [f for f in verify_run(run.paths) if f.damage]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lrx", "must be lru or package.module:Name"),
        ("no_such_package:Model", "No module named 'no_such_package'"),
        ("tests.trainer.own:Nothing", "module tests.trainer.own has no Nothing"),
        (":x", "must be lru or"),
    ],
)
def test_a_name_that_leads_nowhere(name, words):
    with pytest.raises(ConfigError, match=r"model\.family") as caught:
        import_object(name, key="model.family", builtin=("lru",))
    assert words in str(caught.value)


@pytest.fixture
def sought(monkeypatch):
    """What Python searches; as before when the test is over."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    return sys.path


def test_a_module_beside_the_configuration_is_found(tmp_path, sought):
    (tmp_path / "beside_it.py").write_text("value = 3\n")
    assert import_object("beside_it:value", key="data.task", builtin=(), folder=str(tmp_path)) == 3


def test_ones_own_module_comes_first_and_later_pythons_do(tmp_path, sought):
    (tmp_path / "colorsys.py").write_text("value = 'own'\n")
    first, folder = list(sought), str(tmp_path)
    for _ in range(2):
        sys.modules.pop("colorsys", None)
        assert import_object("colorsys:value", key="data.task", builtin=(), folder=folder) == "own"
        assert sorted(sought) == sorted([*first, folder])
    del sys.modules["colorsys"]
    assert not hasattr(importlib.import_module("colorsys"), "value")


def test_what_a_module_imports_later_is_the_file_beside_it(tmp_path, sought):
    packages = tmp_path / "site-packages"
    for folder, whose in ((tmp_path, "own"), (packages, "installed")):
        folder.mkdir(exist_ok=True)
        (folder / "shared_name.py").write_text(f"value = {whose!r}\n")
    (tmp_path / "late.py").write_text("def find():\n    import shared_name\n    return shared_name.value\n")
    sought.insert(0, str(packages))
    assert import_object("late:find", key="data.task", builtin=(), folder=str(tmp_path))() == "own"


def test_a_module_may_change_what_python_searches(tmp_path, sought):
    (tmp_path / "clearing.py").write_text("import sys\nsys.path.clear()\nvalue = 3\n")
    assert import_object("clearing:value", key="data.task", builtin=(), folder=str(tmp_path)) == 3


@pytest.mark.parametrize("module", ["trainer.task", "storage.run", "app.live_data", "comparison.frame"])
def test_a_module_that_used_to_be_ours_is_said_where_it_is_now(module):
    with pytest.raises(ConfigError, match=rf"are called hankelboard\.{module.partition('.')[0]}"):
        import_object(f"{module}:x", key="data.task", builtin=())


def test_data_of_the_wrong_kind_fails_the_run_with_what_is_wanted(small_run):
    run = small_run(data={"task": "builtins:dict"})
    assert run.train() == "failed"
    assert "must return hankelboard.trainer.data.task.Task, not dict" in run.history.reason
