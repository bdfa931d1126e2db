"""Launches of a training step on a device, counted on PyTorch's meta device: no host reads, and bounded."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hankelboard.settings.config import parse
from hankelboard.trainer.data.task import Split, Task, without_waiting
from hankelboard.trainer.training.model import build_model

NO_LAUNCH = ("aten::empty", "aten::new_empty", "aten::_unsafe_view", "aten::_reshape_alias")


class Launches(TorchDispatchMode):
    """Counts what a device would launch: all operations but views and memory that is only laid out."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = func._schema.returns
        view = any(each.alias_info and not each.alias_info.is_write for each in returned)
        if not view and not func._schema.name.startswith(NO_LAUNCH):
            self.counted[func._schema.name] += 1
        return func(*args, **(kwargs or {}))


def launches(family: str, layers: int, length: int, **model: Any) -> int:
    """Return launches of forward and backward pass."""
    settings = {"family": family, "layers": layers, "width": 32, "state_dim": 16, **model}
    inputs = torch.zeros(50, length, 1)
    split = Split(inputs, torch.zeros(50, dtype=torch.int64))
    network = build_model(parse({"model": settings}), Task(split, split, split, classes=10)).to("meta")
    with Launches() as seen:
        torch.autograd.backward(network(inputs.to("meta")).sum())
    return sum(seen.counted.values())


@pytest.mark.parametrize(
    ("family", "layers", "length", "most"),
    [
        ("lru", 2, 64, 320), ("lru", 6, 1024, 1600), ("s4d", 2, 64, 350), ("s5", 2, 64, 430),
        ("mamba", 1, 784, 400), ("mamba2", 2, 784, 500), ("attention", 2, 784, 400),
        ("gla", 1, 784, 300), ("gla", 2, 784, 570), ("deltanet", 1, 784, 340), ("deltanet", 2, 784, 660),
    ],
)  # fmt: skip
def test_a_step_launches_no_more_than(family: str, layers: int, length: int, most: int) -> None:
    assert launches(family, layers, length) <= most


@pytest.mark.parametrize(("state_dim", "most"), [(256, 140), (24, 220)], ids=["kernel", "chunks after a cut"])
def test_every_form_of_a_narrow_layer_launches_no_more_than(state_dim: int, most: int) -> None:
    assert launches("lru", 1, 784, width=8, state_dim=state_dim) <= most


def test_states_of_the_size_of_the_paper_are_kept_on_a_device() -> None:
    assert launches("lru", 6, 1024, width=512, state_dim=384) <= 1200  # computed again: 1452


def test_a_batch_is_chosen_by_the_same_numbers_on_every_device() -> None:
    numbers = np.array([5, 0, 3])
    here = without_waiting(numbers, torch.device("cpu"))
    assert here.tolist() == [5, 0, 3]
    assert here.data_ptr() == numbers.ctypes.data  # no copy at all


def test_a_batch_for_a_gpu_goes_by_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy from pageable memory waits for the device: once a step."""
    asked: list[Any] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: asked.append("pinned") or self)
    monkeypatch.setattr(
        torch.Tensor, "to", lambda self, *args, **kwargs: asked.append((args, kwargs)) or self
    )
    without_waiting(np.array([1]), torch.device("cuda"))
    assert asked == ["pinned", ((torch.device("cuda"),), {"non_blocking": True})]
