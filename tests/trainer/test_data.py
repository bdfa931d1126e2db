import gzip
import struct

import numpy as np
import pytest
import torch

from storage.errors import ConfigError
from trainer.config import DataConfig
from trainer.data import load_task
from trainer.data.task import Split, Task, batch_indices

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
