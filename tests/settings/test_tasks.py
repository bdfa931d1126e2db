"""Names and options of tasks are refused where a run is created, not by the trainer that picks it up."""

import math

import pytest

from hankelboard.settings.config import DataConfig, parse
from hankelboard.settings.preset import find_preset
from hankelboard.settings.tasks import TASKS, task_options
from hankelboard.settings.toml import merge
from hankelboard.storage.errors import ConfigError
from hankelboard.trainer.data import load_task

REFUSED = [
    ("digitz", {}, "data.task = 'digitz': unknown; did you mean digits?"),
    ("digits", {"length": 5}, "data.options: length unknown; task digits has no options"),
    ("tones", {"amplitud": 1.0}, "data.options: amplitud unknown; there are classes, length"),
    ("tones", {"amplitude": math.nan}, "data.options.amplitude = nan: must be a number from 0.0 to"),
    ("tones", {"classes": 4.5}, "data.options.classes = 4.5: must be a whole number from 2 to"),
    ("listops", {"max_args": 1}, "data.options.max_args = 1: must be a whole number from 2 to"),
    ("listops", {"min_length": 3000}, "data.options.min_length = 3000: must be at most data.options.max_"),
    ("copying", {"tokens": 40}, "data.options.tokens = 40: must be at most half of data.options.length = 64"),
    ("induction", {"vocabulary": True}, "data.options.vocabulary = True: must be a whole number"),
    ("mqar", {"pairs": 22}, "data.options.pairs = 22: must be at most a third of data.options.length = 64"),
    ("mqar", {"vocabulary": 33}, "data.options.vocabulary = 33: must be even, and at least 18 for 8 pairs"),
    ("text", {"file": 3}, "data.options.file = 3: must be the path of a text file"),
]


@pytest.mark.parametrize(("task", "options", "words"), REFUSED)
def test_what_a_task_does_not_take_is_refused_when_a_run_is_created_and_when_it_starts(task, options, words):
    for refuse in (
        lambda: parse({"data": {"task": task, "options": options}}),
        lambda: load_task(DataConfig(task=task, options=options)),
    ):
        with pytest.raises(ConfigError) as caught:
            refuse()
        assert str(caught.value).startswith(words)


def test_every_task_has_its_options_and_their_defaults_are_allowed():
    for task, row in TASKS.items():
        defaults = {name: default for name, (default, _, _) in row.options.items()}
        assert task_options(task, {}) == task_options(task, defaults) == defaults


def test_options_that_make_a_task_quick_are_allowed():
    for task, row in TASKS.items():
        assert row.small.items() <= task_options(task, row.small).items()


def test_a_number_may_be_whole_and_one_s_own_function_takes_what_it_likes():
    assert parse({"data": {"task": "tones", "options": {"amplitude": 1}}}).data.options == {"amplitude": 1}
    own = {"task": "package.module:load", "options": {"anything": [1, 2]}}
    assert parse({"data": own}).data.options == {"anything": [1, 2]}


def test_another_task_drops_the_options_of_the_one_before():
    tables = merge(find_preset("mqar-mamba2").tables, {"data": {"task": "digits"}})
    assert parse(tables).data.options == {}
