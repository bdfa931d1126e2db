"""Claim: at width 8 the kernel form beats the scan in time; at width 256 it is the reverse.

Forward and backward of one LRU layer, float32, the forms interleaved in one process; medians.
"""

import statistics
import time

import torch

from hankelboard.trainer.layers.lru import LRU
from hankelboard.trainer.layers.recurrences.diagonal_forms import choose_form

# (name, batch, length, width, state_dim)
SHAPES = (
    ("digits", 64, 64, 32, 64),
    ("sMNIST", 50, 784, 8, 256),
    ("wide", 8, 1024, 256, 384),
)
ROUNDS = 5


def seconds(layer: LRU, u: torch.Tensor) -> float:
    started = time.perf_counter()
    layer(u).sum().backward()
    return time.perf_counter() - started


def rows() -> list[tuple[str, ...]]:
    table: list[tuple[str, ...]] = [("shape", "scan", "kernel", "kernel/scan", "chosen")]
    for name, batch, length, width, state_dim in SHAPES:
        u = torch.randn(batch, length, width, requires_grad=True)
        layers = {form: LRU(width, state_dim, form=form) for form in ("scan", "kernel")}
        times: dict[str, list[float]] = {form: [] for form in layers}
        for _ in range(ROUNDS + 1):
            for form, layer in layers.items():
                times[form].append(seconds(layer, u))
        scan, kernel = (statistics.median(times[form][1:]) for form in ("scan", "kernel"))
        table.append(
            (f"{name} {batch}×{length}, H {width}, N {state_dim}", f"{1000 * scan:.1f} ms",
             f"{1000 * kernel:.1f} ms", f"{kernel / scan:.2f}", choose_form(batch, length, width, state_dim))
        )  # fmt: skip
    return table
