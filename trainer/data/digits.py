"""Handwritten digits as sequences: 1,797 images of 8 x 8 pixels, read row by row. Source: digits.txt."""

from pathlib import Path

import numpy as np
import torch

from hankelboard.settings.config import DataConfig
from hankelboard.trainer.data.task import Split, Task, hold_out

FILE = Path(__file__).with_name("digits.npz")
TEST_SHARE = 0.2


def load_digits_task(config: DataConfig) -> Task:
    """Return the embedded default task: it needs no download."""
    images, digits = read_digits()
    inputs = torch.as_tensor(images / 16.0, dtype=torch.float32)[:, :, None]  # (1797, 64, 1)
    labels = torch.as_tensor(digits, dtype=torch.int64)  # (1797,)
    rest, test = hold_out(len(labels), TEST_SHARE, config.split_seed)
    kept, held = hold_out(len(rest), config.validation, config.split_seed + 1)
    splits = (Split(inputs[part], labels[part]) for part in (rest[kept], rest[held], test))
    train, val, last = splits
    return Task(train, val, last, classes=10)


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return images, (1797, 64) in 0..16, and labels, (1797,), as scikit-learn's load_digits gives them."""
    with np.load(FILE) as file:
        return file["images"].astype(np.float64), file["labels"].astype(np.int64)
