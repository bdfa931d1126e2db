"""Elementwise code gets activations whose last index is the fastest; else it is not vectorised, but slow.

GELU's backward pass took 9 times as long on a transposed tensor, a seventh of a whole step.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hankelboard.settings.config import parse
from hankelboard.settings.families import FAMILIES
from hankelboard.trainer.layers.families import make_mixer
from hankelboard.trainer.layers.network import SequenceModel
from hankelboard.trainer.layers.recurrences.diagonal_forms import FORMS

BATCH, LENGTH, WIDTH, STATES = 5, 71, 8, 6
LAYERS = [(family, "") for family in FAMILIES] + [
    (family, form) for family in ("lru", "s5") for form in FORMS
]
COPIES = {"aten::clone"}
BESIDES = {"aten::glu", "aten::glu_backward", "aten::native_dropout"}
"""Elementwise, though torch does not say so."""


class OutOfOrder(TorchDispatchMode):
    """Collects elementwise operations on activations (batch, L, …) whose last index is not the fastest."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name
        if (torch.Tag.pointwise in func.tags or name in BESIDES) and name not in COPIES:
            activations = [each for each in tree_leaves((args, kwargs)) if is_activation(each)]
            self.found |= {(name, *each.stride()) for each in activations if not in_order(each)}
        return func(*args, **(kwargs or {}))


def is_activation(value):
    """Whether it is one as large as what goes from layer to layer; a number per head is small."""
    whole = BATCH * LENGTH * WIDTH
    return isinstance(value, torch.Tensor) and value.shape[:2] == (BATCH, LENGTH) and value.numel() >= whole


def in_order(tensor):
    """Whether neighbours along the last index are neighbours in memory, or the same number again."""
    return tensor.shape[-1] == 1 or tensor.stride(-1) in (0, 1)


def out_of_order(mixer, norm):
    """What a training step of a network of such layers hands elementwise code in another order."""
    torch.manual_seed(0)
    network = SequenceModel(
        input_dim=1, classes=3, width=WIDTH, layers=2, mixer=mixer, norm=norm, dropout=0.1
    )
    with OutOfOrder() as mode:
        network(torch.randn(BATCH, LENGTH, 1)).square().sum().backward()
    return mode.found


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize(("family", "form"), LAYERS)
def test_no_family_hands_elementwise_code_a_strided_activation(family, form, norm):
    if not form:
        keys = {}
    elif family == "lru":
        keys = {"form": form}
    else:
        keys = {"options": {"form": form}}
    config = parse({"model": {"family": family, "width": WIDTH, **keys}})
    assert out_of_order(lambda: make_mixer(config, 0, STATES), norm) == set()


class Transposed(torch.nn.Module):
    """A layer whose output is a transposed view."""

    def forward(self, u):
        return u.transpose(1, 2).contiguous().transpose(1, 2)


def test_a_transposed_output_is_found():
    found = {name for name, *_ in out_of_order(Transposed, "batch")}
    assert {"aten::gelu", "aten::gelu_backward"} <= found
