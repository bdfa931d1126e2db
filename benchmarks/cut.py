"""Claim: a smaller state dimension makes the training step cheaper. One LRU layer, interleaved."""

import statistics

import torch

from benchmarks.recurrence import seconds
from hankelboard.trainer.layers.lru import LRU

BATCH, LENGTH, WIDTH = 8, 1024, 64
DIMS = (256, 128, 64, 32)
ROUNDS = 5


def rows() -> list[tuple[str, ...]]:
    u = torch.randn(BATCH, LENGTH, WIDTH, requires_grad=True)
    layers = {state_dim: LRU(WIDTH, state_dim) for state_dim in DIMS}
    times: dict[int, list[float]] = {state_dim: [] for state_dim in DIMS}
    for _ in range(ROUNDS + 1):
        for state_dim, layer in layers.items():
            times[state_dim].append(seconds(layer, u))
    medians = {state_dim: statistics.median(found[1:]) for state_dim, found in times.items()}
    full = medians[DIMS[0]]
    return [
        (f"N, batch {BATCH}×{LENGTH}, H {WIDTH}", "step", f"against N {DIMS[0]}", "form"),
        *(
            (str(n), f"{1000 * t:.1f} ms", f"{t / full:.2f}", str(layers[n].form_used))
            for n, t in medians.items()
        ),
    ]
