"""Seconds per training step of models, measured in turns: what else the machine does hits all of them."""

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from hankelboard.storage.schema import Proposal, SecondsPerStep
from hankelboard.trainer.compression import generators
from hankelboard.trainer.compression.workload import Workload

ROUNDS = 5


def seconds_per_step(models: Sequence[nn.Module], workload: Workload) -> list[float]:
    """Return the median seconds of forward and backward of each model. Take copies: gradients add up."""
    seconds: list[list[float]] = [[] for _ in models]
    with generators.kept():
        for _ in range(ROUNDS + 1):  # the first round warms up
            for model, times in zip(models, seconds, strict=True):
                times.append(_timed(partial(_forward_backward, model, workload), next(model.parameters())))
    return [sorted(times[1:])[ROUNDS // 2] for times in seconds]


def timed_already(proposal: Proposal, ranks: Sequence[int]) -> SecondsPerStep | None:
    """Return what was measured in turns of the model and its copy at these ranks; None where nothing was.

    However long ago: it depends on shapes, not on weights.
    """
    if list(ranks) == proposal["ranks"] and "cost" in proposal:
        return proposal["cost"]["seconds_per_step"]
    for point in proposal["measured"]["points"]:
        if point["ranks"] == list(ranks) and "seconds_per_step" in point and "seconds_per_step_now" in point:
            return {"now": point["seconds_per_step_now"], "after": point["seconds_per_step"]}
    return None


def _forward_backward(model: nn.Module, workload: Workload) -> None:
    model.train()
    workload.forward_backward(model)


def _timed(work: Callable[[], None], tensor: Tensor) -> float:
    _synchronise(tensor)
    started = time.perf_counter()
    work()
    _synchronise(tensor)
    return time.perf_counter() - started


def _synchronise(tensor: Tensor) -> None:
    if tensor.device.type == "cuda":
        torch.cuda.synchronize(tensor.device)
