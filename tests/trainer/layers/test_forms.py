"""Every family in its training form and step by step: one map, one gradient for each parameter."""

import pytest
import torch

from hankelboard.settings.config import parse
from hankelboard.settings.families import FAMILIES
from hankelboard.trainer.layers.families import make_mixer

WIDTH = 8


def layer_of(family, dtype):
    torch.manual_seed(0)
    config = parse({"model": {"family": family, "width": WIDTH}})
    return make_mixer(config, 0, 6).to(dtype)


def in_steps(layer, u):
    state, outputs = None, []
    for u_t in u.unbind(1):
        y, state = layer.step(u_t, state)
        outputs.append(y)
    return torch.stack(outputs, 1)


def with_gradients(form, layer, u):
    """Output, and gradients of a fixed functional of it by the input and every parameter that is there."""
    y = form(u)
    weights = torch.linspace(-1.0, 2.0, y.numel(), dtype=y.dtype).view_as(y)
    learned = [parameter for parameter in layer.parameters() if parameter.numel() and parameter.requires_grad]
    return [y, *torch.autograd.grad((y * weights).sum(), [u, *learned], materialize_grads=True)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 5e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize(("batch", "length"), [(1, 1), (3, 1), (1, 37), (2, 131)])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_training_form_is_the_streaming_form(family, batch, length, dtype, tolerance):
    layer = layer_of(family, dtype)
    draw = torch.Generator().manual_seed(1)
    u = torch.randn(batch, length, WIDTH, generator=draw, dtype=torch.float64).to(dtype).requires_grad_()
    y, *found = with_gradients(layer, layer, u)
    y_wanted, *wanted = with_gradients(lambda u: in_steps(layer, u), layer, u)
    assert y.dtype == dtype and (y - y_wanted).norm() <= tolerance * y_wanted.norm()
    whole = torch.stack([gradient.norm() for gradient in wanted]).norm()
    for mine, reference in zip(found, wanted, strict=True):
        # a gradient that is nearly 0, as of a scale that a norm takes out again, counts as 5 % of the whole
        assert (mine - reference).norm() <= tolerance * torch.maximum(reference.norm(), 0.05 * whole)
