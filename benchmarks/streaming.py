"""Streaming inference, one token at a time with constant memory: microseconds per step and numbers of state,
before and after a cut to an eighth of the states. One layer of width 64, batch 32, one thread, interleaved.

States that a step carries do not grow with the sequence. Outputs of the step form are those of the training
form (tests/trainer/layers).
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hankelboard.settings.config import parse
from hankelboard.settings.families import FAMILIES
from hankelboard.trainer.compression.calibration import calibrate
from hankelboard.trainer.compression.what_if import cut_copy, evaluating
from hankelboard.trainer.layers.families import make_mixer

WIDTH, STATES, LENGTH, BATCH = 64, 64, 64, 32
ROUNDS, STEPS = 9, 40


def rows() -> list[tuple[str, ...]]:
    head = (
        "family",
        "states",
        "µs per step",
        "after the cut, µs",
        "before / after",
        "numbers of state, a sequence",
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [head, *(row(family) for family in FAMILIES)]
    finally:
        torch.set_num_threads(threads)


def row(family: str) -> tuple[str, ...]:
    """One family, freshly initialised and calibrated on noise."""
    torch.manual_seed(0)
    layer = make_mixer(parse({"model": {"family": family, "width": WIDTH}}), 0, STATES)
    u = torch.randn(BATCH, LENGTH, WIDTH)
    trial = cut_copy(calibrate(layer, u), [STATES // 8])
    times: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for found, one in zip(times, (layer, trial), strict=True):
            found.append(_seconds(one, u))
    before, after = (1e6 * statistics.median(found[1:]) / STEPS for found in times)
    with evaluating(layer), evaluating(trial):
        sizes = [_numbers(one.step(u[:1, 0])[1]) for one in (layer, trial)]  # type: ignore[operator]
    return (
        family, f"{STATES} → {STATES // 8}", f"{before:.0f}", f"{after:.0f}", f"{before / after:.1f}",
        f"{sizes[0]:,} → {sizes[1]:,}",
    )  # fmt: skip


def _seconds(layer: nn.Module, u: Tensor) -> float:
    step: Callable[..., Any] = layer.step  # type: ignore[assignment]
    with evaluating(layer):
        _, state = step(u[:, 0])
        started = time.perf_counter()
        for t in range(1, STEPS + 1):
            _, state = step(u[:, t], state)
        return time.perf_counter() - started


def _numbers(state: Any) -> int:
    """Real numbers that a state holds."""
    if isinstance(state, Tensor):
        return state.numel() * (2 if state.is_complex() else 1)
    return sum(_numbers(part) for part in state if part is not None)


if __name__ == "__main__":
    for line in rows():
        print(" | ".join(line))
