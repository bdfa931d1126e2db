import gzip
import hashlib
import struct
import sys

import numpy as np
import pytest
import torch

from hankelboard.settings.config import DataConfig
from hankelboard.storage.errors import ConfigError
from hankelboard.trainer.data import cifar, load_task
from hankelboard.trainer.data.cifar import TEST_FILE, TRAIN_FILES
from hankelboard.trainer.data.digits import read_digits
from hankelboard.trainer.data.download import download
from hankelboard.trainer.data.listops import SYMBOLS
from hankelboard.trainer.data.task import Split, Task, batch_indices

NAMES = {"train-images": 20, "train-labels": 20, "t10k-images": 5, "t10k-labels": 5}


def write_idx(folder, compress=True):
    """A tiny MNIST: 20 + 5 images of 2 x 2 pixels."""
    for name, count in NAMES.items():
        images = name.endswith("images")
        header = struct.pack(">4i", 0x803, count, 2, 2) if images else struct.pack(">2i", 0x801, count)
        body = bytes(range(count * 4)) if images else bytes(i % 10 for i in range(count))
        path = folder / f"{name}-idx{3 if images else 1}-ubyte{'.gz' if compress else ''}"
        with gzip.open(path, "wb") if compress else path.open("wb") as file:
            file.write(header + body)


def test_digits_are_those_of_scikit_learn_to_the_bit():
    images, labels = read_digits()
    assert (images.dtype, images.shape, labels.dtype, labels.shape) == ("f8", (1797, 64), "i8", (1797,))
    assert [hashlib.sha256(array.tobytes()).hexdigest() for array in (images, labels)] == [
        "20def7f70a702f0af9732fbba4375e147a7d54fe70d8c45569b8e7c1c7010c10",
        "a3c91c262eddcf7ba8f0e37507c30284493c9b20412ffe4af30d536401f7ba21",
    ]


def test_digits_are_sequences_of_64_and_split_without_overlap():
    task = load_task(DataConfig())
    assert task.length == 64 and task.channels == 1 and task.classes == 10
    assert len(task.train) + len(task.val) + len(task.test) == 1797
    rows = {
        part: {tuple(x.flatten().tolist()) for x in getattr(task, part).inputs}
        for part in ("train", "val", "test")
    }
    assert (
        not rows["train"] & rows["test"]
        and not rows["val"] & rows["test"]
        and not rows["train"] & rows["val"]
    )


def test_the_split_depends_on_its_seed_alone():
    first, again = load_task(DataConfig()), load_task(DataConfig())
    other = load_task(DataConfig(split_seed=1))
    assert torch.equal(first.val.inputs, again.val.inputs)
    assert not torch.equal(first.val.labels, other.val.labels)


@pytest.mark.parametrize("compress", [True, False])
def test_smnist_reads_idx_files_from_the_folder_or_the_environment(tmp_path, monkeypatch, compress):
    write_idx(tmp_path, compress)
    task = load_task(DataConfig(task="smnist", folder=str(tmp_path)))
    assert task.train.inputs.shape == (17, 4, 1) and len(task.val) == 3 and len(task.test) == 5
    monkeypatch.setenv("HANKELBOARD_DATA", str(tmp_path))
    assert torch.equal(load_task(DataConfig(task="smnist")).train.inputs, task.train.inputs)


def test_absent_data_says_what_to_set(tmp_path, monkeypatch):
    monkeypatch.delenv("HANKELBOARD_DATA", raising=False)
    with pytest.raises(ConfigError, match="HANKELBOARD_DATA"):
        load_task(DataConfig(task="smnist"))


def test_a_cut_off_idx_file_is_named(tmp_path):
    write_idx(tmp_path, compress=False)
    path = tmp_path / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ConfigError, match="t10k-images-idx3-ubyte: is not a complete idx file"):
        load_task(DataConfig(task="smnist", folder=str(tmp_path)))


def test_every_epoch_sees_every_sample_once_whatever_the_batch():
    seen = np.concatenate([batch_indices(10, 4, position, seed=3) for position in range(0, 20, 4)])
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert list(seen[:10]) != list(seen[10:])


def test_the_position_alone_says_what_comes_next():
    assert np.array_equal(batch_indices(10, 4, 8, seed=3), batch_indices(10, 4, 8, seed=3))


def constant_task(classes=2):
    split = Split(torch.zeros(4, 3, 1), torch.zeros(4, dtype=torch.int64))
    return Task(split, split, split, classes)


def test_data_of_ones_own_comes_from_a_function(monkeypatch):
    name = f"{__name__}:constant_task"
    assert load_task(DataConfig(task=name, options={"classes": 7})).classes == 7


@pytest.mark.parametrize("name", ["nonsense", "no.such.module:f", f"{__name__}:no_such_function"])
def test_a_wrong_name_says_which_key(name):
    with pytest.raises(ConfigError, match=r"data\.task"):
        load_task(DataConfig(task=name))


def test_tones_are_the_formula_with_noise_and_drawn_by_the_seed():
    task = load_task(DataConfig(task="tones", options={"classes": 4, "length": 256, "amplitude": 5.0}))
    assert task.length == 256 and task.classes == 4
    assert (len(task.train), len(task.val), len(task.test)) == (3400, 600, 2000)
    spectrum = np.abs(np.fft.rfft(task.test.inputs[:, :, 0].numpy(), n=4096))
    strongest = spectrum.argmax(1) * 2 * np.pi / 4096
    expected = 0.25 + (np.pi - 0.5) * (task.test.labels.numpy() + 0.5) / 4
    assert np.abs(strongest - expected).max() < 0.05
    again = load_task(DataConfig(task="tones", options={"classes": 4, "length": 256, "amplitude": 5.0}))
    assert torch.equal(again.val.inputs, task.val.inputs)
    with pytest.raises(ConfigError, match="amplitud"):
        load_task(DataConfig(task="tones", options={"amplitud": 1.0}))


SMALL_LISTS = {"sequences": 30, "test": 10, "max_depth": 4, "max_args": 4, "min_length": 5, "max_length": 40}


def evaluate(words):
    """A list by hand: words to a value."""
    stack = []
    for word in words:
        if word != "]":
            stack.append(word if word.startswith("[") else int(word))
            continue
        values = []
        while isinstance(stack[-1], int):
            values.append(stack.pop())
        values.sort()
        middle = len(values) // 2
        even = (values[middle - 1] + values[middle]) // 2
        median = even if len(values) % 2 == 0 else values[middle]
        known = {"[MIN": values[0], "[MAX": values[-1], "[MED": median, "[SM": sum(values) % 10}
        stack.append(known[stack.pop()])
    (result,) = stack
    return result


def test_listops_are_lists_with_their_values_padded_with_nothing():
    task = load_task(DataConfig(task="listops", options=SMALL_LISTS))
    assert task.train.inputs.shape[1:] == (40, 15)
    for sequence, label in zip(task.test.inputs, task.test.labels, strict=True):
        length = int(sequence.any(1).sum())
        assert 5 <= length <= 40 and not sequence[length:].any() and (sequence[:length].sum(1) == 1).all()
        assert evaluate([SYMBOLS[place] for place in sequence[:length].argmax(1)]) == int(label)


def test_listops_that_cannot_be_say_so():
    with pytest.raises(ConfigError, match="no list of 5000"):
        load_task(DataConfig(task="listops", options={**SMALL_LISTS, "min_length": 5000, "max_length": 5001}))


def write_cifar(folder, label=3):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 3, 1024), dtype=np.uint8)
    for name in (*TRAIN_FILES, TEST_FILE):
        records = np.concatenate([np.full((20, 1), label, np.uint8), images.reshape(20, -1)], axis=1)
        (folder / name).write_bytes(records.tobytes())
    return images


def test_cifar_reads_the_binary_version_in_colour(tmp_path):
    images = write_cifar(tmp_path)
    task = load_task(DataConfig(task="cifar", folder=str(tmp_path)))
    assert task.test.inputs.shape == (20, 1024, 3) and len(task.train) + len(task.val) == 100
    red = (images[0, 0, 5] / 255.0 - 0.4914) / 0.2470
    assert task.test.inputs[0, 5, 0].item() == pytest.approx(red, rel=1e-5)
    assert set(task.test.labels.tolist()) == {3}


def test_cifar_that_is_none_is_refused_with_the_command(tmp_path):
    with pytest.raises(ConfigError, match="hankelboard data cifar10"):
        load_task(DataConfig(task="cifar", folder=str(tmp_path)))
    write_cifar(tmp_path, label=11)
    with pytest.raises(ConfigError, match="label above 9"):
        load_task(DataConfig(task="cifar", folder=str(tmp_path)))
    (tmp_path / TRAIN_FILES[0]).write_bytes(b"x" * 100)
    with pytest.raises(ConfigError, match="no whole number"):
        load_task(DataConfig(task="cifar", folder=str(tmp_path)))


def rows(name, split):
    """What `datasets.load_dataset` gives, in small."""
    count, column, shape = (20, "image", (28, 28)) if "mnist" in name else (20, "img", (32, 32, 3))
    rng = np.random.default_rng(len(split))
    return [{column: rng.integers(0, 256, shape, dtype=np.uint8), "label": i % 10} for i in range(count)]


@pytest.mark.parametrize(("name", "task"), [("mnist", "smnist"), ("cifar10", "cifar")])
def test_downloads_are_written_as_the_tasks_read_them(tmp_path, name, task):
    download(name, tmp_path / name, rows)
    read = load_task(DataConfig(task=task, folder=str(tmp_path)))
    source = rows(name, "test")
    assert len(read.train) + len(read.val) == len(read.test) == 20
    assert read.test.labels.tolist() == [row["label"] for row in source]
    pixel = source[7]["image" if name == "mnist" else "img"][3, 4]
    mean, deviation = (
        (0.1307, 0.3081) if name == "mnist" else (np.array(cifar.MEAN), np.array(cifar.DEVIATION))
    )
    expected = np.atleast_1d((pixel / 255.0 - mean) / deviation)
    width = 28 if name == "mnist" else 32
    assert read.test.inputs[7, 3 * width + 4].numpy() == pytest.approx(expected, rel=1e-5)


def test_a_download_without_the_package_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match="pip install datasets"):
        download("mnist", tmp_path)
    with pytest.raises(ConfigError, match="there are mnist, cifar10"):
        download("imagenet", tmp_path)
