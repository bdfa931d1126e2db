"""Sequential MNIST: images of 28 x 28 pixels as sequences of 784, from idx files in a folder."""

import gzip
import io
from pathlib import Path

import numpy as np
import torch

from hankelboard.settings.config import DataConfig
from hankelboard.storage.errors import ConfigError
from hankelboard.storage.given_files import MAX_DATA_BYTES, read_given_bytes
from hankelboard.trainer.data.folders import find_folder
from hankelboard.trainer.data.task import Split, Task, hold_out

MEAN, DEVIATION = 0.1307, 0.3081  # of the training pixels
IMAGES, LABELS = 0x803, 0x801  # magic numbers of the idx format


def load_smnist_task(config: DataConfig) -> Task:
    """Return MNIST's own test set; validation is held out of its training set."""
    folder = find_folder(config.folder, "train-images-idx3-ubyte", ("mnist",), "mnist")
    images, labels = (
        read_idx(folder, "train-images-idx3-ubyte", IMAGES),
        read_idx(folder, "train-labels-idx1-ubyte", LABELS),
    )
    train, val = hold_out(len(labels), config.validation, config.split_seed)
    test = _split(
        read_idx(folder, "t10k-images-idx3-ubyte", IMAGES), read_idx(folder, "t10k-labels-idx1-ubyte", LABELS)
    )
    return Task(_split(images[train], labels[train]), _split(images[val], labels[val]), test, classes=10)


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    pixels = images.reshape(len(images), -1, 1).astype(np.float32) / 255.0  # (n, 784, 1)
    return Split(torch.from_numpy((pixels - MEAN) / DEVIATION), torch.from_numpy(labels.astype(np.int64)))


def read_idx(folder: Path, name: str, magic: int) -> np.ndarray:
    """Return an idx file, plain or gzipped, as an array of bytes; ConfigError when it is not valid."""
    path = folder / name
    path = path if path.exists() else path.with_name(f"{name}.gz")
    try:
        data = read_given_bytes(path, MAX_DATA_BYTES)
        if path.suffix == ".gz":
            data = gzip.GzipFile(fileobj=io.BytesIO(data)).read(MAX_DATA_BYTES)
    except (OSError, EOFError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    axes = magic & 0xFF
    header = np.frombuffer(data[: 4 + 4 * axes], dtype=">i4")
    if len(header) != 1 + axes or header[0] != magic or len(data) != 4 + 4 * axes + np.prod(header[1:]):
        raise ConfigError(f"{path}: is not a complete idx file")
    return np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * axes).reshape(header[1:])
