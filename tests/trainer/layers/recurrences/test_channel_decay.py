import pytest
import torch
from torch.nn.functional import logsigmoid

from hankelboard.trainer.layers.recurrences import channel_decay as module
from hankelboard.trainer.layers.recurrences.channel_decay import (
    channel_decay,
    channel_decay_sequential,
    channel_decay_states,
    channel_decay_step,
)


def arguments(batch, length, heads, d_k, d_v, dtype, seed=0):
    """q, k, v and log α; the decays of the channels reach from 1 to about e^−20."""
    draw = torch.Generator().manual_seed(seed)
    q, k, v, gate = (
        torch.randn(batch, length, heads, size, generator=draw, dtype=dtype) for size in (d_k, d_k, d_v, d_k)
    )
    strength = torch.logspace(-3, 1.3, d_k, dtype=dtype)
    return [part.requires_grad_() for part in (q, k, v, (logsigmoid(gate) * strength).detach())]


def with_gradients(function, parts):
    o = function(*parts)
    weights = torch.linspace(-1.0, 2.0, o.numel(), dtype=o.dtype).view_as(o)
    return [o, *torch.autograd.grad((o * weights).sum(), parts)]


@pytest.mark.parametrize("chunk", [1, 16, 64])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("shape", [(2, 1, 2, 3, 4), (1, 37, 1, 5, 3), (3, 101, 2, 8, 4), (2, 16, 3, 1, 1)])
def test_the_chunked_form_is_the_sequential_form(shape, dtype, tolerance, chunk, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", chunk)
    parts = arguments(*shape, dtype)
    for found, wanted in zip(
        with_gradients(channel_decay, parts), with_gradients(channel_decay_sequential, parts), strict=True
    ):
        assert (found - wanted).norm() <= tolerance * max(wanted.norm(), 1.0)


def test_gradients_are_those_of_finite_differences():
    assert torch.autograd.gradcheck(channel_decay, arguments(2, 5, 2, 3, 2, torch.float64))


@pytest.mark.parametrize("log_decay", [0.0, -50.0, -1e4, -float("inf")])
def test_states_that_forget_at_once_or_never(log_decay):
    q, k, v, g = arguments(1, 130, 2, 4, 3, torch.float32)
    g = g.detach().clone()
    g[..., 1::2] = log_decay  # beside channels that remember
    parts = [q, k, v, g.requires_grad_()]
    wanted = with_gradients(channel_decay_sequential, [p.double().detach().requires_grad_() for p in parts])
    found = with_gradients(channel_decay, parts)
    for mine, reference in zip(found[:4], wanted[:4], strict=True):
        assert (mine - reference).norm() <= 1e-5 * reference.norm()
    assert torch.isfinite(found[4]).all()


def test_a_strong_decay_between_two_weak_ones_costs_no_accuracy():
    q, k, v, g = (part.detach() for part in arguments(1, 64, 1, 4, 3, torch.float32))
    g = torch.full_like(g, -1e-3)
    g[:, 20] = -1e5  # a running sum of logarithms would round the ones after it to 1e-2
    wanted = channel_decay_sequential(*(part.double() for part in (q, k, v, g)))
    assert (channel_decay(q, k, v, g) - wanted).norm() <= 1e-6 * wanted.norm()


def test_a_step_is_the_equation():
    S = torch.tensor([[[[0.5, -1.0], [2.0, 0.25]]]], dtype=torch.float64)
    q, k, v = (torch.tensor([[pair]], dtype=torch.float64) for pair in ([1.0, 2.0], [3.0, -1.0], [0.5, 4.0]))
    decay = torch.tensor([[[0.5, 0.1]]], dtype=torch.float64)
    new, o = channel_decay_step(S, q, k, v, decay.log())
    wanted = torch.diag(decay[0, 0]) @ S[0, 0] + torch.outer(k[0, 0], v[0, 0])
    assert torch.allclose(new[0, 0], wanted)
    assert torch.allclose(o[0, 0], wanted.T @ q[0, 0])


def test_the_states_are_those_that_outputs_read():
    q, k, v, g = (part.detach() for part in arguments(2, 9, 2, 3, 4, torch.float64))
    read = [(q[:, t, ..., None] * S).sum(-2) for t, S in enumerate(channel_decay_states(k, v, g))]
    assert torch.allclose(torch.stack(read, 1), channel_decay(q, k, v, g), atol=1e-12)


def test_the_tape_keeps_states_of_chunk_boundaries_only():
    parts = arguments(2, 256, 2, 4, 4, torch.float64)
    output = channel_decay(*parts)  # the tape lives as long as it does
    saved = output.grad_fn.saved_tensors
    states = 2 * 2 * 4 * 4  # of all sequences and heads, at one step
    assert sum(part.numel() for part in saved) <= sum(part.numel() for part in parts) + 5 * states


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_of_decays_are_never_subnormal(dtype):
    rates = torch.logspace(-2, 1.6, 40, dtype=dtype)
    decay = (-rates).exp().expand(1, 64, -1)  # (n, T, d_k)
    ones = torch.ones_like(decay)
    for found in module._scores(ones, ones, decay):
        smallest = found[found > 0].min()
        assert smallest >= torch.finfo(dtype).tiny
    assert (module._scores(ones, ones, decay)[1][:, 0] > 0).all()
