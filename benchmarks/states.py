"""Claim: forward, the scan of complex states takes at most 4 times as long as a copy of their bytes, in C
1.8 times.

x[t] += λ ∘ x[t−1] in place, block by block as `lru_scan` does it, beside `copy_` into other memory. A copy
reads and writes every byte once; so does the scan where a block stays in the cache. Each scan begins with
fresh states, which are put there outside of the time. Rows in C are left out where there is no compiler.
"""

from functools import partial

import torch
from torch import Tensor

from benchmarks.repetitions import Spent, ratio, spent, spread
from hankelboard.trainer.layers.recurrences import scan_choice
from hankelboard.trainer.layers.recurrences.c_kernels.library import library
from hankelboard.trainer.layers.recurrences.diagonal import _blocks, _scan_in_place

# name: batch, length, state_dim
SHAPES = {"sMNIST": (50, 784, 256), "wide": (8, 1024, 384), "after a cut": (50, 784, 12)}
ROUNDS = 7


def rows() -> list[tuple[str, ...]]:
    head = ("states", "MB", "copy, ms", "scan, ms", "scan / copy", "of processor time", "at most")
    kinds = {"PyTorch": "4 x"} if library().reason else {"PyTorch": "4 x", "C": "1.8 x"}
    return [head, *(row(name, *shape, *kind) for name, shape in SHAPES.items() for kind in kinds.items())]


def row(name: str, batch: int, length: int, state_dim: int, kind: str, most: str) -> tuple[str, ...]:
    torch.manual_seed(0)
    fresh = torch.randn(length, batch * state_dim, dtype=torch.complex64)
    states, other = fresh.clone(), torch.empty_like(fresh)
    decay = torch.polar(torch.full((batch * state_dim,), 0.99), torch.rand(batch * state_dim))

    def once() -> tuple[Spent, Spent]:
        states.copy_(fresh)
        with scan_choice.bound(kind == "C"):
            scanned = spent(partial(scan, states, decay))
        return scanned, spent(lambda: other.copy_(fresh))

    found = [once() for _ in range(ROUNDS + 1)][1:]
    (scan_wall, copy_wall), (scan_cpu, copy_cpu) = (
        [[getattr(one[side], clock) for one in found] for side in (0, 1)] for clock in ("wall", "cpu")
    )
    return (
        f"{name}, {kind}: L {length}, batch {batch}, N {state_dim}",
        f"{fresh.numel() * fresh.element_size() / 1e6:.0f}", spread(copy_wall, 1e3), spread(scan_wall, 1e3),
        ratio(scan_wall, copy_wall), ratio(scan_cpu, copy_cpu), most,
    )  # fmt: skip


def scan(states: Tensor, decay: Tensor) -> None:
    """All blocks of (L, M), in place."""
    last = None
    for steps in _blocks(states, decay):
        last = _scan_in_place(states[steps], decay, last).clone()  # (M,)


if __name__ == "__main__":
    for line in rows():
        print(" | ".join(line))
