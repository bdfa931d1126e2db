"""A family and a task that only a test registers: configured, trained, cut, resumed, exported, shown."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hankelboard.app.data import command_line
from hankelboard.app.pages import PAGES
from hankelboard.settings.config import Config, parse
from hankelboard.settings.families import FAMILIES, register_family
from hankelboard.settings.setting import describe_fields
from hankelboard.settings.tasks import TASKS, register_task
from hankelboard.storage.errors import ConfigError
from hankelboard.storage.proposals import read_proposal
from hankelboard.trainer.export import export_checkpoint
from hankelboard.trainer.reduction.reducible import Reducible, ReducibleLayer
from hankelboard.trainer.reduction.surgery import reducible_layers
from tests.app.conftest import of_choice, text_of
from tests.settings.toy import rows
from tests.settings.toy.layer import Leaky
from tests.trainer.small_run import SmallRun

ROOT = Path(__file__).parents[2]
TOY = {
    "model": {"family": "leaky", "state_dim": 8, "options": {"slowest": 2.5}},
    "data": {"task": "steps", "options": {"rise": 5}},
    "training": {"steps": 12, "log_every": 1, "evaluate_every": 6, "spectra_every": 4, "checkpoint_every": 6},
    "reduction": {"steps": [6], "tolerance": 0.4, "evidence_samples": 32, "grid": []},
}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """Both rows in this process, and in those that it starts; afterwards as if they had never been."""
    rows.register()
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("HANKELBOARD_PLUGINS", "tests.settings.toy.plugin")
    monkeypatch.setattr(command_line, "_kept", {}, raising=False)
    yield
    del FAMILIES["leaky"], TASKS["steps"]


def trained(folder, **keys):
    run = SmallRun(folder, **{**TOY, **keys})
    assert run.train() == "finished"
    return run


def test_the_configuration_knows_what_is_registered():
    config = parse(TOY)
    assert config.reduction.method == "loudest"
    fields = {field["key"]: field for field in describe_fields(Config())}
    assert ", leaky, or package" in fields["model.family"]["help"]
    assert ", steps, or package" in fields["data.task"]["help"]
    assert "loudest" in fields["reduction.method"]["choices"]


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"model": {"family": "leeky"}}, "model.family = 'leeky': unknown; did you mean leaky?"),
        (
            {"model": {"options": {"fastest": 1.0}}},
            "model.options.fastest = 1.0: family leaky has the options slo",
        ),
        ({"model": {"options": {"slowest": "x"}}}, "model.options.slowest = 'x': must be a number"),
        ({"model": {"r_min": 0.5}}, "model.r_min = 0.5: only for lru, not for leaky"),
        (
            {"reduction": {"method": "balanced"}},
            "reduction.method = balanced: family leaky has loudest, random",
        ),
        (
            {"data": {"options": {"length": 2}}},
            "data.options.length = 2: must be a whole number from 4 to 256",
        ),
        ({"data": {"options": {"rise": 16}}}, "data.options.rise = 16: must be below the length"),
    ],
)
def test_what_the_rows_do_not_allow_is_refused(tables, words):
    with pytest.raises(ConfigError) as caught:
        parse({**TOY, **{name: {**TOY[name], **table} for name, table in tables.items()}})
    assert str(caught.value).startswith(words)


def test_a_key_of_the_row_is_no_more_only_for_the_families_that_had_it():
    assert parse({**TOY, "model": {**TOY["model"], "max_phase": 1.0}}).model.max_phase == 1.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "registered already"),
        ({"name": "a:b"}, "the name must be a word"),
        ({"name": "new", "layer": "package.Class"}, "must be module:Class"),
        ({"name": "new", "methods": ()}, "methods must name at least one"),
        ({"name": "new", "options": {"sizes": list}}, "options must be of type"),
        ({"name": "new", "keys": ("form",)}, "section.key"),
        ({"name": "new", "importance": dataclasses.replace(rows.ROOM, short="ℓ")}, "other words"),
    ],
)
def test_a_row_that_cannot_be_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        register_family(dataclasses.replace(rows.FAMILY, **changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "registered already"),
        ({"name": "new", "loader": "data"}, "must be module:function"),
        ({"name": "new", "options": {"length": (3, 4, 9)}}, "outside its limits"),
        ({"name": "new", "file": "length"}, "among the numbers"),
        ({"name": "new", "small": {"size": 1}}, "no option"),
    ],
)
def test_a_row_of_a_task_that_cannot_be_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        register_task(dataclasses.replace(rows.TASK, **changes))


def test_it_trains_is_cut_and_resumes_with_the_same_bits(runs):
    whole = trained(runs)
    (applied,) = whole.events("reduction_applied")
    assert sum(applied["to"]) < sum(applied["from"]) == 16 and applied["write_back_error"] < 1e-6
    parted = SmallRun(runs, **TOY)
    parted.send("stop", at_step=7)
    assert parted.train() == "stopped"
    parted.send("resume")
    assert parted.train() == "finished"
    assert parted.final_weights() == whole.final_weights()


def test_the_exported_folder_predicts_without_the_family(runs, tmp_path):
    run = trained(runs)
    folder = tmp_path / "model"
    assert "mixer.py" in export_checkpoint(run.paths, "last", folder)
    source = ROOT / "tests" / "settings" / "toy" / "streaming.py"
    assert (folder / "mixer.py").read_bytes() == source.read_bytes()
    spec = importlib.util.spec_from_file_location("toy_loader", folder / "loader.py")
    loader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loader)
    with torch.no_grad():
        logits = loader.load(folder)(torch.ones(2, 16, 1))
    assert logits.shape == (2, 2) and logits.isfinite().all()


def test_a_family_without_a_streaming_form_is_exported_without_a_loader(runs, tmp_path, monkeypatch):
    run = trained(runs)
    with monkeypatch.context() as patch:
        patch.setitem(FAMILIES, "leaky", dataclasses.replace(rows.FAMILY, streaming=""))
        assert export_checkpoint(run.paths, "last", tmp_path / "model") == [
            "config.json",
            "model.safetensors",
        ]


def test_other_processes_know_it_by_the_environment():
    command = [sys.executable, "-P", "-m", "hankelboard", "presets", "--fields", "--json"]
    fields = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    (family,) = (field for field in fields if field["key"] == "model.family")
    assert "leaky" in family["help"]


@pytest.mark.parametrize("command", [["presets"], ["web", "--port", "0"], ["worker", "--once"]], ids=" ".join)
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "ModuleNotFoundError: No module"),
        ("raise KeyError('gone')", "KeyError: 'gone'"),
        ("from hankelboard.settings.families import FAMILIES, register_family as r\nr(FAMILIES['lru'])",
         "ValueError: family 'lru': a family of this name is registered already"),
        ("no python", "SyntaxError: "),
    ],
)  # fmt: skip
def test_a_plugin_that_fails_ends_a_command_in_one_sentence(tmp_path, command, text, problem):
    if text is not None:
        (tmp_path / "rows_of_mine.py").write_text(text)
    environment = {**os.environ, "HANKELBOARD_PLUGINS": "rows_of_mine", "HANKELBOARD_RUNS": str(tmp_path)}
    environment["PYTHONPATH"] = os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(tmp_path)])
    whole = [sys.executable, "-P", "-m", "hankelboard", *command]
    done = subprocess.run(whole, capture_output=True, text=True, check=False, env=environment)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert line.startswith(f"hankelboard: HANKELBOARD_PLUGINS names rows_of_mine: {problem}")


def test_its_run_opens_on_every_page(runs, open_page):
    run = trained(runs).paths.run_id
    for page in PAGES:
        open_page(page.name, run=run)


def test_a_waiting_proposal_shows_the_words_of_its_importance(runs, open_page):
    run = SmallRun(runs, **{**TOY, "reduction": {**TOY["reduction"], "policy": "ask"}})
    with run.training():
        run.wait_pending(1)
        page = open_page("truncation", run=run.paths.run_id)
        shown = text_of(page)
        run.send("stop")
    assert read_proposal(run.paths, 1)["importance"] == "leak_energy"
    assert f"each layer may lose at most this share of {rows.ROOM.total}" in shown
    assert "bound" not in shown
    assert of_choice(page, "rule") is not None


def test_new_run_offers_it_and_the_glossary_explains_it(open_page):
    assert "leaky" in text_of(open_page("new_run"))
    glossary = text_of(open_page("glossary"))
    for words in (rows.FAMILY.description, rows.TASK.description, rows.ROOM.meaning):
        assert words in glossary


def test_a_layer_of_seven_methods_needs_no_base():
    """The methods of the toy layer on a class of a user's that inherits nothing from us."""
    methods = {name: value for name, value in vars(Leaky).items() if name not in ("__init__", "streaming")}
    plain = type("Plain", (torch.nn.Module,), methods)
    layer = plain()
    layer.a_raw = torch.nn.Parameter(torch.zeros(3))
    layer.B, layer.C = (torch.nn.Parameter(torch.ones(shape)) for shape in ((3, 2), (2, 3)))
    assert isinstance(layer, Reducible) and not isinstance(layer, ReducibleLayer)
    ((name, found),) = reducible_layers(layer)
    assert (name, found) == ("", layer) and found.importance == "leak_energy"
    assert (found.note, found.monitored, found.ssm_parameters) == ("", "", ("a_raw",))
    assert found.form_for(1, 1) is None and not found.offers("observing") and not found.offers("inspect")
    assert found.estimate(found.extract())[0] == found.propose(found.extract()).discarded_share
