"""The forms for devices, called on a CPU: equal to the equation, and how many calls they take."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from hankelboard.trainer.layers.recurrences import (
    channel_decay,
    delta_rule,
    on_device,
    scalar_decay,
    selective,
)
from hankelboard.trainer.layers.recurrences import installed_kernels as installed

MODULES = (channel_decay, delta_rule, scalar_decay, selective)
LENGTHS = [1, 2, 33, 64, 130]
SIZES = {  # of samples: as trained, odd ranks after cuts, and a single state
    installed.SELECTIVE: [(6, 4), (5, 3), (1, 1)],
    installed.SCALAR_DECAY: [(1, 2, 8, 4), (2, 4, 5, 3), (1, 1, 1, 1)],
    installed.CHANNEL_DECAY: [(2, 8, 4), (3, 5, 7), (1, 1, 1)],
    installed.DELTA_RULE: [(2, 8, 4), (3, 5, 7), (1, 1, 1)],
}
SEQUENTIAL = {
    installed.SELECTIVE: selective.selective_sequential,
    installed.SCALAR_DECAY: scalar_decay.scalar_decay_sequential,
    installed.CHANNEL_DECAY: channel_decay.channel_decay_sequential,
    installed.DELTA_RULE: delta_rule.delta_rule_sequential,
}
CASES = [(kernel, sizes) for kernel, each in SIZES.items() for sizes in each]


@pytest.fixture
def as_on_a_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module in MODULES:
        monkeypatch.setattr(module, "launches_cost", lambda part: True)
    yield


def with_gradients(function: Callable[..., Tensor], parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    leaves = tuple(part.detach().clone().requires_grad_() for part in parts)
    y = function(*leaves)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    return y.detach(), *torch.autograd.grad((y * weights).sum(), leaves)


def sample(kernel: Any, length: int, sizes: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(length)
    draw = lambda *shape: torch.randn(shape, generator=generator, dtype=dtype)  # noqa: E731
    return kernel.sample(draw, 2, length, *sizes)


def worst(kernel: Any, parts: tuple[Tensor, ...]) -> float:
    expected, actual = with_gradients(SEQUENTIAL[kernel], parts), with_gradients(kernel.own, parts)
    return max(
        float((theirs - ours).norm() / max(1.0, float(ours.norm())))
        for ours, theirs in zip(expected, actual, strict=True)
    )


@pytest.mark.usefixtures("as_on_a_device")
@pytest.mark.parametrize(("kernel", "sizes"), CASES, ids=lambda each: getattr(each, "function", str(each)))
def test_output_and_gradients_are_those_of_the_equation(kernel: Any, sizes: tuple[int, ...]) -> None:
    assert {
        length: error
        for length in LENGTHS
        if (error := worst(kernel, sample(kernel, length, sizes, torch.float64))) > 1e-11
    } == {}
    assert worst(kernel, sample(kernel, 130, sizes, torch.float32)) < 2e-5


@pytest.mark.usefixtures("as_on_a_device")
@pytest.mark.parametrize("kernel", SIZES, ids=lambda each: each.function)
def test_parts_of_time_change_nothing(kernel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (on_device, scalar_decay, selective):
        monkeypatch.setattr(module, "DEVICE_NUMBERS", 1)  # a chunk at a time, or DEVICE_STEPS
    assert worst(kernel, sample(kernel, 200, SIZES[kernel][1], torch.float64)) < 1e-11


@pytest.mark.usefixtures("as_on_a_device")
@pytest.mark.parametrize(
    "kernel",
    [installed.SCALAR_DECAY, installed.CHANNEL_DECAY, installed.DELTA_RULE],
    ids=lambda each: each.function,
)
def test_a_decay_of_zero_forgets_everything(kernel: Any) -> None:
    *parts, log_decay = sample(kernel, 100, SIZES[kernel][1], torch.float64)
    log_decay[:, 40] = -torch.inf
    expected, actual = (function(*parts, log_decay) for function in (SEQUENTIAL[kernel], kernel.own))
    torch.testing.assert_close(actual, expected)
