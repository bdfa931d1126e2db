"""A language model from configuration to figures: bits per character beside accuracy."""

import hashlib
import json
import math

import pytest

from hankelboard.settings.new_run import NewRun
from hankelboard.storage.journal import read_journal
from hankelboard.trainer.cli import main
from hankelboard.trainer.export import export_checkpoint
from tests.trainer.small_run import ADA

TEXT = {"task": "text", "options": {"length": 16, "characters": 4000}}


def test_a_run_on_a_text_records_bits_per_character(small_run, capsys, monkeypatch):
    run = small_run(data=TEXT, model={"family": "mamba", "layers": 1, "norm": "layer"})
    assert run.train() == "finished"
    (finished,) = run.events("run_finished")
    assert finished["test"]["bits_per_character"] == pytest.approx(finished["test"]["loss"] / math.log(2))
    validated = [record for record in read_journal(run.paths.metrics)[0] if "val/accuracy" in record]
    at_best = next(r for r in validated if r["step"] == finished["best"]["step"])
    assert finished["best"]["bits_per_character"] == at_best["val/bits_per_character"]
    assert all("val/bits_per_character" in record for record in validated)
    monkeypatch.setenv("HANKELBOARD_RUNS", str(run.paths.root.parent))
    main(["show", run.paths.run_id])
    shown = capsys.readouterr().out
    assert f"{finished['test']['bits_per_character']:.3f} bits per character" in shown


def test_other_runs_have_none(small_run):
    run = small_run(training={"steps": 20}, reduction={"steps": []})
    assert run.train() == "finished"
    assert "bits_per_character" not in str(run.events("run_finished"))


@pytest.fixture
def stopped(small_run, tmp_path):
    """A run on a file of one's own, stopped half way, and the file."""
    file = tmp_path / "own.txt"
    file.write_text("ab cd\n\u2028é" * 500, encoding="utf-8")
    data = {"task": "text", "options": {"length": 16, "file": str(file)}}
    run = small_run(data=data, model={"layers": 1, "norm": "layer"}, reduction={"steps": []})
    run.send("stop", at_step=30)
    assert run.train() == "stopped"
    run.send("resume")
    return run, file


def test_a_run_records_what_its_tokens_mean(stopped):
    run, file = stopped
    (started,) = run.events("run_started")
    text = file.read_text(encoding="utf-8")
    assert started["text"] == {
        "alphabet": "\n abcdé\u2028", "sha256": hashlib.sha256(text.encode()).hexdigest()
    }  # fmt: skip
    assert run.history.text == started["text"]


@pytest.mark.parametrize(
    ("edited", "acceptable", "why"),
    [
        ("xb cd\n\u2028é", False, "data.options.file: the text is not the one that this run began with"),
        ("ba cd\n\u2028é", True, "the text (data.options.file), the training data (train), "),
    ],
)
def test_a_run_is_not_resumed_on_another_text(stopped, edited, acceptable, why):
    """With other characters the tokens mean something else: that nobody can accept."""
    run, file = stopped
    whole = file.read_text(encoding="utf-8")
    file.write_text(edited * 500, encoding="utf-8")
    assert run.train() == "interrupted"
    assert why in run.history.held and run.history.state == "stopped"
    assert run.train(accept_changes=ADA) == ("finished" if acceptable else "interrupted")
    file.write_text(whole, encoding="utf-8")
    if not acceptable:
        assert run.train() == "finished"


def test_a_run_of_before_texts_were_recorded_is_resumed(stopped):
    run, _ = stopped
    lines = [json.loads(line) for line in run.paths.events.read_text(encoding="utf-8").split("\n") if line]
    old = [{key: value for key, value in line.items() if key != "text"} for line in lines]
    run.paths.events.write_text("".join(json.dumps(line) + "\n" for line in old), encoding="utf-8")
    assert not run.history.text
    assert run.train() == "finished"


def test_an_exported_model_knows_its_alphabet(stopped, tmp_path):
    run, file = stopped
    file.unlink()
    export_checkpoint(run.paths, "last", tmp_path / "exported")
    described = json.loads((tmp_path / "exported" / "config.json").read_text(encoding="utf-8"))
    assert described["alphabet"] == "\n abcdé\u2028"


@pytest.mark.parametrize("there", [True, False])
def test_an_older_run_is_exported_with_the_alphabet_of_its_text_if_that_is_there(stopped, tmp_path, there):
    run, file = stopped
    lines = run.paths.events.read_text(encoding="utf-8").split("\n")
    run.paths.events.write_text("\n".join(line for line in lines if '"run_started"' not in line))
    if not there:
        file.unlink()
    export_checkpoint(run.paths, "last", tmp_path / "exported")
    described = json.loads((tmp_path / "exported" / "config.json").read_text(encoding="utf-8"))
    assert described.get("alphabet") == ("\n abcdé\u2028" if there else None)


@pytest.mark.parametrize("folder", ["", "texts"])
def test_the_text_is_that_of_the_folder_in_which_a_run_is_created(tmp_path, monkeypatch, folder):
    (tmp_path / "texts").mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / folder / "own.txt").write_text("abc")
    given = ("data.task=text", 'data.options.file="own.txt"', f'data.folder="{folder}"')
    config = NewRun(preset="text-mamba", assignments=given).config()
    assert config.data.options["file"] == str(tmp_path / folder / "own.txt")


def test_a_text_that_is_not_there_keeps_its_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = NewRun(preset="text-mamba", assignments=('data.options.file="own.txt"',)).config()
    assert config.data.options["file"] == "own.txt"
