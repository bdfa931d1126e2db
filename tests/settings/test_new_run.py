"""A run as chosen at the command line or on a page: the same choices, the same run."""

import pytest

from hankelboard.settings.new_run import NewRun
from hankelboard.trainer.cli import build_parser
from hankelboard.trainer.cli.acting import chosen

CHOICES = [
    NewRun(preset="digits-lru"),
    NewRun(preset="digits-lru", name="-- a 'name' =", group="--set", policy="auto", queued=False),
    NewRun(preset="x", assignments=("training.steps=300", "model.options={a = 1}")),
]


@pytest.mark.parametrize("choices", CHOICES)
def test_the_arguments_of_choices_are_read_as_the_same_choices(choices):
    assert chosen(build_parser().parse_args(choices.arguments())) == choices


def test_a_file_is_an_argument_too(tmp_path):
    choices = NewRun(preset="digits-lru", file=tmp_path / "own.toml")
    assert chosen(build_parser().parse_args(choices.arguments())) == choices


@pytest.mark.parametrize("path", [".", "", "code"])
@pytest.mark.parametrize("variable", [True, False])
def test_ones_own_code_lies_where_the_person_works(tmp_path, monkeypatch, path, variable):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(tmp_path if variable else here)
    if variable:
        monkeypatch.setenv("HANKELBOARD_FOLDER", str(here))
    given = ("model.family=trainer.models:Own", f"model.path={path}", "data.task=app:own")
    config = NewRun(preset="digits-lru", assignments=given).config()
    assert (config.model.path, config.data.path) == (str(here / path), str(here))
