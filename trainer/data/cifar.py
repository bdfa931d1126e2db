"""Sequential CIFAR-10 in colour: images of 32 x 32 pixels as sequences of 1024 steps with 3 channels.

Read from the data set's binary version: records of one label byte and 3072 pixels, red, green, blue planes in
turn (`data_batch_1.bin` … `data_batch_5.bin`, `test_batch.bin`), as published by Krizhevsky (2009).
"""

from pathlib import Path

import numpy as np
import torch

from hankelboard.settings.config import DataConfig
from hankelboard.storage.errors import ConfigError
from hankelboard.storage.given_files import MAX_DATA_BYTES, read_given_bytes
from hankelboard.trainer.data.folders import find_folder
from hankelboard.trainer.data.task import Split, Task, hold_out

MEAN = np.array([0.4914, 0.4822, 0.4465], np.float32)
DEVIATION = np.array([0.2470, 0.2435, 0.2616], np.float32)
"""Of the training pixels, per channel."""
RECORD = 1 + 3 * 1024
TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILE = "test_batch.bin"


def load_cifar_task(config: DataConfig) -> Task:
    """Return CIFAR-10's own test set; validation is held out of its training set."""
    folder = find_folder(config.folder, TEST_FILE, ("cifar10", "cifar-10-batches-bin"), "cifar10")
    parts = [read_batch(folder / name) for name in TRAIN_FILES]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    train, val = hold_out(len(labels), config.validation, config.split_seed)
    test = _split(*read_batch(folder / TEST_FILE))
    return Task(_split(images[train], labels[train]), _split(images[val], labels[val]), test, classes=10)


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    pixels = (images.astype(np.float32) / 255.0 - MEAN) / DEVIATION  # (n, 1024, 3)
    return Split(torch.from_numpy(pixels), torch.from_numpy(labels.astype(np.int64)))


def read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return images (n, 1024, 3) and labels (n,), bytes; ConfigError when the file is not valid."""
    data = np.frombuffer(read_given_bytes(path, MAX_DATA_BYTES), np.uint8)
    if not len(data) or len(data) % RECORD:
        raise ConfigError(f"{path}: {len(data)} bytes are no whole number of CIFAR-10 records ({RECORD})")
    records = data.reshape(-1, RECORD)  # (n, 3073)
    labels = records[:, 0]
    if labels.max() > 9:
        raise ConfigError(f"{path}: holds a label above 9; is it CIFAR-10's binary version?")
    return records[:, 1:].reshape(-1, 3, 1024).transpose(0, 2, 1), labels
