"""Public data sets by the `datasets` library, written as the files that the tasks read.

pip install datasets;  hankelboard data mnist ./data/mnist
"""

import gzip
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from hankelboard.storage import atomic
from hankelboard.storage.errors import ConfigError
from hankelboard.trainer.data.cifar import TEST_FILE, TRAIN_FILES
from hankelboard.trainer.data.smnist import IMAGES, LABELS

Load = Callable[..., Any]
"""`datasets.load_dataset`: name and split to rows."""


def download(name: str, folder: Path, load: Load | None = None) -> list[Path]:
    """Get a data set and write its files; returns them.

    Raises
    ------
    ConfigError
        If the name is unknown, or the library is not installed.
    """
    if name not in SOURCES:
        raise ConfigError(f"no data set {name!r}; there are {', '.join(SOURCES)}")
    folder.mkdir(parents=True, exist_ok=True)
    return SOURCES[name](load or _library(), folder)


def _library() -> Load:
    try:
        from datasets import load_dataset
    except ImportError:
        raise ConfigError("downloading needs one more package: pip install datasets") from None
    return load_dataset


def _mnist(load: Load, folder: Path) -> list[Path]:
    written = []
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images, labels = _arrays(load("ylecun/mnist", split=split), "image", (28, 28))
        for kind, magic, array in (("images-idx3", IMAGES, images), ("labels-idx1", LABELS, labels)):
            path = folder / f"{prefix}-{kind}-ubyte.gz"
            header = struct.pack(f">{1 + array.ndim}i", magic, *array.shape)
            atomic.replace_bytes(path, gzip.compress(header + array.tobytes(), compresslevel=6, mtime=0))
            written.append(path)
    return written


def _cifar10(load: Load, folder: Path) -> list[Path]:
    written = []
    for split, files in (("train", TRAIN_FILES), ("test", (TEST_FILE,))):
        images, labels = _arrays(load("uoft-cs/cifar10", split=split), "img", (32, 32, 3))
        planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)  # (n, 3072) red, green, blue
        records = np.concatenate([labels[:, None], planes], axis=1)
        for name, part in zip(files, np.array_split(records, len(files)), strict=True):
            atomic.replace_bytes(folder / name, part.tobytes())
            written.append(folder / name)
    return written


def _arrays(rows: Iterable[Any], column: str, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels as bytes; ConfigError when the source is not what it was."""
    images, labels = [], []
    for row in rows:
        images.append(np.asarray(row[column], dtype=np.uint8))
        labels.append(row["label"])
    if not images or images[0].shape != shape:
        raise ConfigError(f"the source has changed: images of {shape} were expected")
    return np.stack(images), np.asarray(labels, dtype=np.uint8)


SOURCES: dict[str, Callable[[Load, Path], list[Path]]] = {"mnist": _mnist, "cifar10": _cifar10}
