"""Batches of any form: a tensor, or a tuple, list or dict of them whose tensors share the first axis.

What is no such tensor (a number, a text, None, a tensor without axes) belongs to every part of a batch.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree


def samples(batch: Any) -> int:
    """Return how many samples a batch holds: the length of the first axis of its first tensor that has one.

    Raises ValueError where there is none.
    """
    return len(_first(batch))


def steps(batch: Any) -> int:
    """Return the steps of each sample: the length of the second axis of the first tensor; 1 without one."""
    first = _first(batch)
    return first.shape[1] if first.ndim > 1 else 1


def some(batch: Any, chosen: slice) -> Any:
    """Return these samples of a batch, in a batch of the same form.

    >>> some({"x": torch.arange(6.0).view(3, 2), "y": torch.tensor([1, 2, 3])}, slice(1, 2))
    {'x': tensor([[2., 3.]]), 'y': tensor([2])}
    """
    count = samples(batch)

    def part(leaf: Any) -> Any:
        shared = isinstance(leaf, Tensor) and leaf.ndim > 0 and len(leaf) == count
        return leaf[chosen] if shared else leaf

    return pytree.tree_map(part, batch)


def parts(batch: Any, count: int) -> list[Any]:
    """Return a batch in parts of equal size, the first ones larger by one where that does not come out even.

    >>> parts(torch.arange(5), 2)
    [tensor([0, 1, 2]), tensor([3, 4])]
    """
    numbers = torch.arange(samples(batch)).tensor_split(count)
    return [some(batch, slice(int(part[0]), int(part[-1]) + 1)) for part in numbers if len(part)]


def moved(batch: Any, device: torch.device) -> Any:
    """Return a batch with its tensors on a device."""
    return pytree.tree_map(lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf, batch)


def _first(batch: Any) -> Tensor:
    for leaf in pytree.tree_leaves(batch):
        if isinstance(leaf, Tensor) and leaf.ndim:
            return leaf
    raise ValueError(
        f"a batch needs a tensor whose first axis counts samples; there is none in {batch!r:.200}"
    )
