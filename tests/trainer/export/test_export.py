"""A checkpoint taken away: the loader needs torch and safetensors only, and predicts the same."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from hankelboard.settings.config import DataConfig, parse
from hankelboard.settings.families import FAMILIES
from hankelboard.settings.tasks import TASKS
from hankelboard.storage.errors import CheckpointError, ConfigError
from hankelboard.storage.runs import read_run
from hankelboard.trainer.cli import main
from hankelboard.trainer.compression.checkpoint import load_tensors
from hankelboard.trainer.data import answers_every_step, load_task
from hankelboard.trainer.export import export_checkpoint
from hankelboard.trainer.layers import streaming
from hankelboard.trainer.training.references import Source, teacher_of
from tests.trainer.training.test_families import family_run

BARE = """
import sys
from importlib.machinery import PathFinder
class OnlyTorch:
    known = {"torch", "torchgen", "functorch", "safetensors", "typing_extensions", "sympy", "mpmath",
             "networkx", "jinja2", "markupsafe", "fsspec", "filelock"}
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top in self.known or top in sys.stdlib_module_names or top == "loader":
            return
        if PathFinder.find_spec(name, path):  # PyTorch may ask whether a package is there
            raise ModuleNotFoundError(f"{name} is not in this environment", name=name)
sys.meta_path.insert(0, OnlyTorch())
sys.path.insert(0, sys.argv[1])
import runpy, torch, loader
x = torch.linspace(-1.0, 1.0, 3 * 64).reshape(3, 64, 1)
torch.save(loader.load()(x).detach(), sys.argv[2])
print(*(file.rsplit("/")[-1] for file in sys.argv[3:] if runpy.run_path(file)["step"]))
try:
    import hankelboard
except ModuleNotFoundError:
    print("bare")
"""  # fmt: skip
MIXER_FILES = sorted(Path(streaming.__file__).parent.glob("[!_]*.py"))
FOLDER = ["config.json", "loader.py", "mixer.py", "model.safetensors"]
SHORT = {
    "training": {"steps": 12, "evaluate_every": 12, "checkpoint_every": 4},
    "reduction": {"steps": [8], "tolerance": 0.4, "evidence_samples": 32, "grid": []},
}
"""Of a run that is cut once."""
UNCUT = {"training": {"steps": 2}, "reduction": {"steps": []}}
PARITY = {"task": "tests.trainer.own:parity"}
TOKENS = {"task": "copying", "options": {"length": 20, "tokens": 4, "sequences": 100, "test": 20}}
DOWNLOADED = {"smnist", "cifar"}
"""Tasks that read files which have to be downloaded first: a new one of that kind belongs here."""


def test_the_exported_model_predicts_the_same_without_hankelboard(small_run, tmp_path):
    run = small_run()
    assert run.train() == "finished"
    folder = tmp_path / "model"
    assert export_checkpoint(run.paths, "last", folder) == FOLDER
    arguments = [folder, tmp_path / "logits.pt", *MIXER_FILES]
    command = [sys.executable, "-c", BARE, *map(str, arguments)]
    told = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert told.returncode == 0, told.stderr
    assert told.stdout == " ".join(file.name for file in MIXER_FILES) + "\nbare\n"
    last = run.checkpoints()[-1]
    x = torch.linspace(-1.0, 1.0, 3 * 64).reshape(3, 64, 1)
    logits = torch.load(tmp_path / "logits.pt", weights_only=True)
    assert torch.allclose(logits, rebuilt(run, last)(x), atol=1e-5)
    assert json.loads((folder / "config.json").read_text())["state_dims"] == last.state_dims


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_predicts_the_same_before_and_after_a_cut(small_run, tmp_path, family):
    norm = {"lru": "batch", "mamba2": "batch"}.get(family, "layer")
    run = family_run(small_run, family, model={"norm": norm}, data=PARITY, **SHORT)
    assert run.train() == "finished"
    before, *_, after = run.checkpoints()
    assert sum(after.state_dims) < sum(before.state_dims) == 24
    x = torch.randn(3, 21, 1, generator=torch.Generator().manual_seed(1))
    for checkpoint in (before, after):
        folder = tmp_path / str(checkpoint.name)
        assert export_checkpoint(run.paths, str(checkpoint.name), folder) == FOLDER
        assert_same_answers(loaded(folder), rebuilt(run, checkpoint), x)


@pytest.mark.parametrize("family", ["mamba", "deltanet"])
def test_a_model_of_tokens_answers_at_every_step(small_run, tmp_path, family):
    run = family_run(small_run, family, data=TOKENS, **SHORT)
    assert run.train() == "finished"
    export_checkpoint(run.paths, "last", tmp_path / "model")
    tokens = torch.randint(18, (2, 9, 1), generator=torch.Generator().manual_seed(1), dtype=torch.int16)
    model = loaded(tmp_path / "model")
    assert model(tokens).shape == (2, 9, 16)
    assert_same_answers(model, rebuilt(run, run.checkpoints()[-1]), tokens)


def test_padding_does_not_count_where_pooling_is_masked(small_run, tmp_path):
    run = small_run(model={"pooling": "masked"}, data=PARITY, **UNCUT)
    assert run.train() == "finished"
    export_checkpoint(run.paths, "last", tmp_path / "model")
    x = torch.ones(3, 10, 1)
    x[1, 6:] = x[2] = 0.0
    model, own = loaded(tmp_path / "model"), rebuilt(run, run.checkpoints()[-1])
    assert torch.allclose(model(x), own(x), atol=1e-5)
    assert torch.allclose(model(x)[1], model(x[1:2, :6])[0], atol=1e-6)


def test_layers_stay_in_order_when_there_are_more_than_ten(small_run, tmp_path):
    run = small_run(model={"layers": 11, "width": 4}, data=PARITY, **UNCUT)
    assert run.train() == "finished"
    export_checkpoint(run.paths, "last", tmp_path / "model")
    x = torch.linspace(-1.0, 1.0, 24).reshape(2, 12, 1)
    model = loaded(tmp_path / "model")
    assert_same_answers(model, rebuilt(run, run.checkpoints()[-1]), x)
    weights = load_file(tmp_path / "model" / "model.safetensors")
    assert model.state_dict().keys() == weights.keys()


def test_models_of_different_families_are_loaded_side_by_side(small_run, tmp_path):
    runs = {family: family_run(small_run, family, data=PARITY, **UNCUT) for family in ("gla", "attention")}
    for family, run in runs.items():
        assert run.train() == "finished"
        export_checkpoint(run.paths, "last", tmp_path / family / "model")
    load = loader_of(tmp_path / "gla" / "model").load
    models = {family: load(tmp_path / family / "model") for family in runs}
    x = torch.linspace(-1.0, 1.0, 24).reshape(2, 12, 1)
    for family, run in runs.items():
        assert torch.allclose(models[family](x), rebuilt(run, run.checkpoints()[-1])(x), atol=1e-5)


def test_a_model_of_ones_own_goes_without_a_loader_and_that_is_said(small_run, tmp_path, capsys):
    run = small_run(model={"family": "tests.trainer.own:TinyModel"}, data=PARITY, **UNCUT)
    assert run.train() == "finished"
    folder = ["--runs-dir", str(run.paths.root.parent)]
    assert main(["export", run.paths.run_id, "last", str(tmp_path / "model"), *folder]) == 0
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    assert "without a loader" in capsys.readouterr().out


@pytest.mark.parametrize("task", sorted(TASKS.keys() - DOWNLOADED))
def test_which_tasks_ask_at_every_step_is_known_without_their_data(task):
    config = DataConfig(task=task, options=dict(TASKS[task].small))
    assert answers_every_step(config) == load_task(config).per_step


def test_a_task_of_ones_own_is_asked():
    assert not answers_every_step(DataConfig(task="tests.trainer.own:parity"))


def loader_of(folder):
    """The module loader.py of an exported folder."""
    spec = importlib.util.spec_from_file_location("exported_loader", folder / "loader.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def loaded(folder):
    return loader_of(folder).load(folder)


def rebuilt(run, checkpoint):
    source = Source(run.paths, checkpoint.name)
    model = teacher_of(source, load_task(parse(read_run(run.paths).config).data), torch.device("cpu"))
    load_tensors(model, None, source.tensors())
    return model


@torch.no_grad()
def assert_same_answers(model, own, x):
    """In single precision and, to its digits, in double; and by steps."""
    assert torch.allclose(model(x), own(x), atol=1e-5)
    model, own = model.double(), own.double()
    answers = own(x)
    assert torch.allclose(model(x), answers, atol=1e-10, rtol=1e-10)
    state = None
    for now in x.unbind(1):
        logits, state = model.step(now, state)
    last = answers if answers.ndim == 2 else answers[:, -1]
    assert torch.allclose(logits, last, atol=1e-10, rtol=1e-10)


def test_what_cannot_be_exported_is_said_and_nothing_is_written(small_run, tmp_path):
    run = small_run(training={"steps": 20}, reduction={"steps": [10]})
    run.train()
    with pytest.raises(CheckpointError, match="has no checkpoint b7"):
        export_checkpoint(run.paths, "b7-00000001-a0-0001", tmp_path / "model")
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        export_checkpoint(run.paths, "last", full)
    weights = run.paths.checkpoint(run.checkpoints()[-1].name) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError):
        export_checkpoint(run.paths, "last", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_journals_become_tables(small_run, tmp_path, capsys):
    run = small_run()
    run.train()
    folder = ["--runs-dir", str(run.paths.root.parent)]
    files = {
        name: tmp_path / f"{name}.{ending}" for name, ending in (("metrics", "csv"), ("spectra", "parquet"))
    }
    arguments = [part for name, file in files.items() for part in (f"--{name}", str(file))]
    assert main(["export", run.paths.run_id, *arguments, *folder]) == 0
    metrics, spectra = pd.read_csv(files["metrics"]), pd.read_parquet(files["spectra"])
    assert list(metrics["step"])[-1] == 60 and metrics["live"].all()
    last = spectra[(spectra["step"] == 60) & (spectra["layer"] == 0)]
    assert list(last["index"]) == list(range(1, run.history.state_dims[0] + 1))
    assert list(last["hsv"]) == sorted(last["hsv"], reverse=True)
    assert main(["export", run.paths.run_id, "--metrics", str(tmp_path / "m.xls"), *folder]) == 2
    assert ".csv or .parquet" in capsys.readouterr().err
    assert main(["export", run.paths.run_id, "last", *folder]) == 2
