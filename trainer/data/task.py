"""What the training loop needs of a data set: three splits of sequences with labels."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Split:
    """Sequences and their labels: one of each sequence, or one of each step."""

    inputs: Tensor  # (samples, length, channels) float32, or uint8: the model casts it; or tokens, 1 channel
    labels: Tensor  # (samples,) or (samples, length) int64; steps with scoring.UNSCORED do not count

    def __post_init__(self) -> None:
        allowed = (self.inputs.shape[:1], self.inputs.shape[:2])
        if self.inputs.ndim != 3 or self.labels.shape not in allowed:
            raise ValueError(
                f"inputs {tuple(self.inputs.shape)} and labels {tuple(self.labels.shape)}: need "
                "(samples, length, channels) and (samples,) or (samples, length)"
            )
        if len(self.labels) == 0:
            raise ValueError("a split holds no sample")

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "Split":
        return Split(self.inputs.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Task:
    """Training, validation and test data. Model selection looks at validation only, never at test."""

    train: Split
    val: Split
    test: Split
    classes: int
    vocabulary: int = 0
    """Inputs are tokens 0 .. vocabulary − 1 in one channel, which the model embeds; 0 = they are numbers."""
    text: bool = False
    """Labels are the next characters of a text: losses are shown as bits per character, too."""
    alphabet: str = ""
    """Of a text: its characters in order; token i is alphabet[i]."""
    fingerprint: str = ""
    """Of a text: SHA-256 of all characters that were read, as UTF-8."""
    rounded: bool = False
    """Inputs are computed with functions that processors round differently: their bytes identify nothing."""

    @property
    def per_step(self) -> bool:
        """Whether every step has a label: the model then answers at every step, and may not look ahead."""
        return self.train.labels.ndim == 2

    @property
    def channels(self) -> int:
        return self.train.inputs.shape[2]

    @property
    def length(self) -> int:
        return self.train.inputs.shape[1]

    def to(self, device: torch.device) -> "Task":
        return replace(self, **{name: getattr(self, name).to(device) for name in ("train", "val", "test")})


def hold_out(count: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return indices kept and held out: a share of `count`, drawn without replacement by a seed."""
    order = np.random.default_rng(seed).permutation(count)
    held = max(1, round(share * count))
    return np.sort(order[held:]), np.sort(order[:held])


def batch_indices(count: int, batch: int, position: int, seed: int) -> np.ndarray:
    """Return the samples of the batch that begins at `position`, counted in samples since the start.

    Every epoch has its own order, drawn from (seed, epoch): the position alone says what comes next, so a
    resumed run sees the data that the interrupted one would have seen. A batch may span two epochs.
    """
    positions = np.arange(position, position + batch)
    chosen = np.empty(batch, dtype=np.int64)
    for epoch in np.unique(positions // count):
        inside = positions // count == epoch
        chosen[inside] = _epoch_order(count, seed, int(epoch))[positions[inside] % count]
    return chosen


def without_waiting(numbers: np.ndarray, device: torch.device) -> Tensor:
    """Return the numbers on a device; a copy to CUDA from pinned memory, so that the host runs ahead of it.

    One from pageable memory waits for all that was launched before: once per step, the device would then
    idle while the next step is prepared.
    """
    here = torch.as_tensor(numbers)
    return here.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else here.to(device)


@lru_cache(maxsize=2)
def _epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(count)
