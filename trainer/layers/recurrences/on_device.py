"""Recurrences on devices where a call costs more than memory: all chunks of time at once, states one by one.

On a CPU a chunk after the other stays in the cache. On a device each call is a launch, some microseconds for
the host whatever its size. Only the states at the beginnings of chunks depend on each other, so the rest of
a recurrence takes every chunk as one more sequence of a batch.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

DEVICE_NUMBERS = 1 << 26
"""Numbers of the largest tensor of a recurrence: 256 MiB in single precision, and about six are alive."""


def launches_cost(part: Tensor) -> bool:
    """Return whether calls cost more than memory where this is: on every device but the CPU."""
    return part.device.type != "cpu"


def spans(length: int, size: int, numbers: int) -> Iterator[slice]:
    """Yield steps of as many chunks of a size as are worked on at once; `numbers` are those of a chunk."""
    several = size * max(1, DEVICE_NUMBERS // numbers)
    for start in range(0, length, several):
        yield slice(start, min(start + several, length))


def split(part: Tensor, size: int) -> Tensor:
    """Map (batch, L, heads, d) to (chunks · batch · heads, size, d), filled up with zeros at the end."""
    chunks = -(-part.shape[1] // size)
    missing = chunks * size - part.shape[1]
    filled = functional.pad(part, (0, 0, 0, 0, 0, missing)) if missing else part
    return filled.unflatten(1, (chunks, size)).permute(1, 0, 3, 2, 4).flatten(0, 2).contiguous()


def join(whole: Tensor, chunks: Tensor) -> None:
    """Write chunks (chunks · batch · heads, size, d) into (batch, L, heads, d): the reverse of `split`."""
    batch, length, heads, _ = whole.shape
    by_time = chunks.unflatten(0, (-1, batch, heads)).permute(1, 0, 3, 2, 4).flatten(1, 2)
    whole.copy_(by_time[:, :length])


def carried(
    step: Callable[[Tensor, Tensor, Tensor], Tensor],
    written: Tensor,
    factor: Tensor,
    first: Tensor,
    *,
    backwards: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the states that chunks begin with, (chunks · n, a, b), and the last one, (n, a, b).

    A state is `step` (torch.addcmul or torch.baddbmm) of what its chunk has written, a factor, and the state
    before it: a call per chunk. Backwards, chunks begin with the last.
    """
    states, n = [first], len(first)
    order = list(zip(written.split(n), factor.split(n), strict=True))
    for part, scale in reversed(order) if backwards else order:
        states.append(step(part, scale, states[-1]))
    last = states.pop()
    return torch.cat(states[::-1] if backwards else states), last
