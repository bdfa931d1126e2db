"""Claim: at width 8 the kernel form is fastest with many states, chunks with few; at width 256 the scan is.

Forward and backward of one LRU layer, float32, the forms interleaved in one process; medians of processor
time.
"""

import statistics
import time

import torch

from hankelboard.trainer.layers.lru import LRU
from hankelboard.trainer.layers.recurrences.diagonal_forms import FORMS, choose_form

# (name, batch, length, width, state_dim)
SHAPES = (
    ("digits", 64, 64, 32, 64),
    ("sMNIST", 50, 784, 8, 256),
    ("after a cut", 50, 784, 8, 24),
    ("after a cut", 50, 784, 8, 12),
    ("three channels", 50, 784, 3, 12),
    ("long", 16, 2048, 16, 32),
    ("wide", 8, 1024, 256, 384),
)
ROUNDS = 5


def seconds(layer: LRU, u: torch.Tensor) -> float:
    started = time.process_time()
    layer(u).sum().backward()
    return time.process_time() - started


def rows() -> list[tuple[str, ...]]:
    table: list[tuple[str, ...]] = [("shape", *FORMS, "best", "chosen")]
    for name, batch, length, width, state_dim in SHAPES:
        u = torch.randn(batch, length, width, requires_grad=True)
        layers = {form: LRU(width, state_dim, form=form) for form in FORMS}
        times: dict[str, list[float]] = {form: [] for form in FORMS}
        for _ in range(ROUNDS + 1):
            for form, layer in layers.items():
                times[form].append(seconds(layer, u))
        medians = {form: statistics.median(times[form][1:]) for form in FORMS}
        shape = f"{name} {batch}×{length}, H {width}, N {state_dim}"
        shown = [f"{1000 * medians[form]:.1f} ms" for form in FORMS]
        best = min(medians, key=lambda form: medians[form])
        table.append((shape, *shown, best, choose_form(batch, length, width, state_dim)))
    return table


if __name__ == "__main__":
    for line in rows():
        print(" | ".join(line), flush=True)
