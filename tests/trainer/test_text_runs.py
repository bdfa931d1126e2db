"""A language model from configuration to figures: bits per character beside accuracy."""

import math

import pytest

from storage.journal import read_journal
from trainer.cli import main

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
