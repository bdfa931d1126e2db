"""A model and data of one's own, as a user would write them."""

import torch
from torch import nn

from hankelboard.settings.config import DataConfig
from hankelboard.trainer.data.digits import load_digits_task
from hankelboard.trainer.data.scoring import UNSCORED
from hankelboard.trainer.data.task import Split, Task
from hankelboard.trainer.layers.lru import LRU


class TinyModel(nn.Module):
    """One LRU without blocks around it."""

    def __init__(self, channels, classes, states=10):
        super().__init__()
        self.encoder = nn.Linear(channels, 4)
        self.mixer = LRU(4, states)
        self.head = nn.Linear(4, classes)

    def forward(self, inputs):
        return self.head(self.mixer(self.encoder(inputs)).mean(1))


class Spreading(TinyModel):
    """Begins with one state that matters and learns at a high rate to use the others."""

    def __init__(self, channels, classes, states=6):
        super().__init__(channels, classes, states)
        with torch.no_grad():
            for C in (self.mixer.C_re, self.mixer.C_im):
                C[:, 1:] *= 1e-3


class NothingToCut(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.head = nn.Linear(channels, classes)

    def forward(self, inputs):
        return self.head(inputs.mean(1))


def parity(samples=96, length=12):
    """Sequences of bits; the label says whether their sum is odd."""
    generator = torch.Generator().manual_seed(5)
    bits = torch.randint(0, 2, (samples, length, 1), generator=generator)
    splits = [Split(part.float(), part.sum((1, 2)) % 2) for part in bits.split(samples // 3)]
    return Task(*splits, classes=2)


def seldom_asked(questions=3, val_questions=3):
    """Tokens whose last step alone is asked about, in a few training sequences only; test is never scored."""
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(0, 4, (96, 6, 1), generator=generator).float()
    splits = []
    for part, asked in zip(tokens.split(32), (questions, val_questions, 0), strict=True):
        labels = torch.full(part.shape[:2], UNSCORED)
        labels[:asked, -1] = part[:asked, 0, 0].long()
        splits.append(Split(part, labels))
    return Task(*splits, classes=4)


class EachStep(TinyModel):
    """Answers at every step."""

    def forward(self, inputs):
        return self.head(self.mixer(self.encoder(inputs)))


def with_nan():
    task = load_digits_task(DataConfig())
    broken = Split(task.train.inputs * float("nan"), task.train.labels)
    return Task(broken, task.val, task.test, task.classes)


def broken():
    return 1 / 0
