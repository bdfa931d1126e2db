"""Generated tasks: the answer is in the context, splits do not share sequences, seeds say everything."""

import hashlib
import math
from collections import Counter

import numpy as np
import pytest
import torch

from hankelboard.settings.config import DataConfig
from hankelboard.storage.errors import ConfigError
from hankelboard.trainer.data import load_task
from hankelboard.trainer.data.sample_text import SAYING, VERBS, sample_text
from hankelboard.trainer.data.scoring import UNSCORED

SMALL = {"sequences": 200, "test": 50}
RECALL = ("copying", "induction", "mqar")


def task_of(name, split_seed=0, **options):
    small = {} if name == "text" else SMALL
    return load_task(DataConfig(task=name, split_seed=split_seed, options={**small, **options}))


def rows(split):
    return {tuple(row) for row in split.inputs[:, :, 0].tolist()}


def scored(split):
    """Tokens, steps that are asked about, and their answers, of every sequence."""
    for inputs, labels in zip(split.inputs[:, :, 0].tolist(), split.labels.tolist(), strict=True):
        steps = [t for t, label in enumerate(labels) if label != UNSCORED]
        yield inputs, steps, [labels[t] for t in steps]


def test_what_is_copied_stands_in_the_sequence_in_order():
    task = task_of("copying", length=30, tokens=5, vocabulary=7)
    assert (task.length, task.classes, task.vocabulary, task.per_step) == (30, 7, 9, True)
    for inputs, steps, answers in scored(task.test):
        assert steps == list(range(25, 30))
        assert {inputs[t] for t in steps} == {8}
        assert [token - 1 for token in inputs[:25] if token] == answers


def test_tokens_to_copy_stand_anywhere():
    inputs = task_of("copying", length=30, tokens=5).train.inputs[:, :25, 0]
    assert ((inputs != 0).float().mean(0) > 0).all()
    assert len({tuple((row != 0).tolist()) for row in inputs}) > 100


def test_the_token_after_the_trigger_is_asked_for():
    task = task_of("induction", length=12, vocabulary=5)
    assert (task.classes, task.vocabulary) == (5, 6)
    for inputs, steps, answers in scored(task.test):
        first = inputs.index(5)
        assert steps == [11]
        assert inputs.count(5) == 2
        assert answers == [inputs[first + 1]]


def test_every_key_is_asked_for_once_and_its_value_was_read():
    task = task_of("mqar", length=40, pairs=6, vocabulary=20)
    assert (task.classes, task.vocabulary) == (10, 20)
    for inputs, steps, answers in scored(task.test):
        keys, values = inputs[0:12:2], inputs[1:12:2]
        assert all(1 <= key < 10 for key in keys) and all(10 <= value < 20 for value in values)
        assert min(steps) >= 12 and sorted(inputs[t] for t in steps) == sorted(keys)
        told = dict(zip(keys, values, strict=True))
        assert [told[inputs[t]] - 10 for t in steps] == answers
        assert all(inputs[t] == 0 for t in range(12, 40) if t not in steps)


def test_questions_come_early_more_often_than_late():
    labels = task_of("mqar", length=64, pairs=4).train.labels[:, 8:] != UNSCORED
    share = labels.float().mean(0)
    assert share[0] > 3 * share[28:].mean() > 0


@pytest.mark.parametrize(("name", "options"), [
    ("copying", {"length": 2, "tokens": 1}), ("induction", {"length": 3}),
    ("mqar", {"length": 3, "pairs": 1, "vocabulary": 4}), ("text", {"length": 1, "characters": 100}),
])  # fmt: skip
def test_the_smallest_tasks_are_tasks(name, options):
    assert task_of(name, **options).length == options["length"]


@pytest.mark.parametrize("name", [*RECALL, "text"])
def test_splits_share_no_sequence(name):
    task = task_of(name)
    train, val, test = rows(task.train), rows(task.val), rows(task.test)
    assert not train & val and not train & test and not val & test


@pytest.mark.parametrize("name", RECALL)
def test_the_seed_of_the_split_draws_the_sequences(name):
    first, again, other = task_of(name), task_of(name), task_of(name, split_seed=1)
    for part in ("train", "val", "test"):
        assert torch.equal(getattr(first, part).inputs, getattr(again, part).inputs)
        assert torch.equal(getattr(first, part).labels, getattr(again, part).labels)
    assert not torch.equal(first.test.inputs, other.test.inputs)


@pytest.mark.parametrize(("name", "options", "said"), [
    ("copying", {"tokens": 40}, r"data\.options\.tokens = 40.*half of data\.options\.length = 64"),
    ("copying", {"length": 1}, r"data\.options\.length = 1: must be a whole number from 2 to 65536"),
    ("copying", {"colour": 1}, r"colour unknown; there are length, tokens"),
    ("induction", {"vocabulary": 1}, r"data\.options\.vocabulary = 1: .* from 2 to"),
    ("induction", {"length": 64.0}, r"data\.options\.length = 64\.0"),
    ("mqar", {"pairs": 22}, r"data\.options\.pairs = 22: must be at most a third"),
    ("mqar", {"pairs": 16, "vocabulary": 32}, r"vocabulary = 32: must be even, and at least 34"),
    ("mqar", {"vocabulary": 33}, r"must be even"),
    ("mqar", {"sequences": True}, r"data\.options\.sequences = True"),
    ("text", {"fil": "x"}, r"fil unknown; there are length, characters, file"),
    ("text", {"characters": 200}, r"data\.options\.length = 128: the shortest split has 20"),
])  # fmt: skip
def test_options_that_cannot_be_are_named_with_their_limits(name, options, said):
    with pytest.raises(ConfigError, match=said):
        load_task(DataConfig(task=name, options=options))


# Text.


def test_every_label_is_the_next_character_of_the_text():
    task = task_of("text", length=20, characters=3000)
    letters = sorted(set(sample_text(3000)))
    whole = task.train.inputs[:, :, 0].flatten().tolist()
    assert "".join(letters[code] for code in whole) == sample_text(3000)[: len(whole)]
    assert torch.equal(task.train.labels.flatten()[:-1], task.train.inputs.flatten()[1:].long())
    assert task.text and task.classes == task.vocabulary == len(letters)


def test_splits_of_a_text_are_stretches_in_order(tmp_path):
    (tmp_path / "numbers.txt").write_text("".join(chr(0x4E00 + i) for i in range(1000)), encoding="utf-8")
    options = {"file": "numbers.txt", "length": 9}
    task = load_task(DataConfig(task="text", folder=str(tmp_path), options=options))
    stretches = [split.inputs.flatten() for split in (task.train, task.val, task.test)]
    assert all((part.diff() == 1).all() for part in stretches)
    assert stretches[0].max() < stretches[1].min() <= stretches[1].max() < stretches[2].min()
    assert stretches[1].min() >= 764 and stretches[2].min() == 900


def test_a_text_may_be_cut_short_and_have_any_line_ends(tmp_path):
    path = tmp_path / "poem.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "Zeile für Zeile\r\n".encode() * 100)
    task = load_task(DataConfig(task="text", options={"file": str(path), "length": 8, "characters": 800}))
    assert len(task.train) == (612 - 1) // 8
    assert task.vocabulary == len(set("Zeile für Zeile\n"))


@pytest.mark.parametrize(("content", "said"), [
    (None, "No such file"), (b"", "is empty"), (b"\xff\xfe\x00a", r"not UTF-8 text \(byte 0\)"),
    (b"abc\x00def", "NUL characters"), (b"short", "shortest split has 1"),
])  # fmt: skip
def test_what_is_no_text_is_refused_with_the_reason(tmp_path, content, said):
    path = tmp_path / "some.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        load_task(DataConfig(task="text", options={"file": str(path)}))


@pytest.mark.parametrize("given", ["", 3])
def test_a_file_is_a_path(given):
    with pytest.raises(ConfigError, match=r"data\.options\.file = .* must be the path"):
        load_task(DataConfig(task="text", options={"file": given}))


def test_the_sample_is_the_same_everywhere_and_longer_ones_begin_alike():
    text = sample_text(400_000)
    assert len(text) == 400_000
    assert hashlib.sha256(text.encode()).hexdigest().startswith("b79e0b796ec512ed")
    assert sample_text(1000) == text[:1000]
    assert sample_text(1000, seed=1) != text[:1000]


def conditional_bits(text, context):
    """Entropy of a character given so many before it, bits."""
    longer = Counter(text[i : i + context + 1] for i in range(len(text) - context))
    before = Counter(text[i : i + context] for i in range(len(text) - context))
    total = len(text) - context
    return sum(n / total * -math.log2(n / before[part[:-1]]) for part, n in longer.items())


@pytest.mark.parametrize(("context", "bits"), [(0, 4.28), (1, 2.90), (4, 0.73)])
def test_what_a_guess_costs_on_the_sample_is_as_documented(context, bits):
    assert conditional_bits(sample_text(400_000), context) == pytest.approx(bits, abs=0.01)


def test_quotations_and_brackets_of_the_sample_are_closed_in_order():
    pairs = {")": "(", "]": "[", "”": "“", "’": "‘"}
    depths = Counter()
    for paragraph in sample_text(100_000).split("\n\n")[:-1]:
        open_ = []
        for mark in paragraph:
            if mark in pairs:
                assert open_.pop() == pairs[mark]
            elif mark in pairs.values():
                open_.append(mark)
                depths[len(open_)] += 1
        assert not open_
    assert depths[3] > 20


def test_a_paragraph_of_the_sample_comes_back_to_its_person_and_place():
    for paragraph in sample_text(50_000).split("\n\n")[:-1]:
        first, last = paragraph.split(".")[0].split(), paragraph.split(".")[-2].split()
        assert (last[1], last[-4]) == (first[0], first[3])
    assert len(set(VERBS + SAYING)) == len(VERBS) + len(SAYING)


def test_tokens_are_small_numbers():
    for name in (*RECALL, "text"):
        task = task_of(name)
        assert task.train.inputs.dtype == torch.int16
        assert 0 <= int(task.train.inputs.min()) <= int(task.train.inputs.max()) < task.vocabulary
        assert np.isin(task.train.labels.unique(), [UNSCORED, *range(task.classes)]).all()
