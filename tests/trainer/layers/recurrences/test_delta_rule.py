import pytest
import torch
from torch.nn.functional import normalize

from hankelboard.trainer.layers.recurrences import delta_rule as module
from hankelboard.trainer.layers.recurrences.delta_rule import (
    delta_rule,
    delta_rule_sequential,
    delta_rule_states,
    delta_rule_step,
)


def arguments(batch, length, heads, d_k, d_v, dtype, seed=0):
    """q, k, v, β and log a; the decays of the heads reach from 1 to about e^−3."""
    draw = torch.Generator().manual_seed(seed)
    q, k, v = (
        torch.randn(batch, length, heads, size, generator=draw, dtype=dtype) for size in (d_k, d_k, d_v)
    )
    beta, forget = torch.rand(2, batch, length, heads, generator=draw, dtype=dtype)
    decay = -forget * torch.logspace(-3, 0.5, heads, dtype=dtype)
    return [part.requires_grad_() for part in (normalize(q, dim=-1), normalize(k, dim=-1), v, beta, decay)]


def with_gradients(function, parts):
    o = function(*parts)
    weights = torch.linspace(-1.0, 2.0, o.numel(), dtype=o.dtype).view_as(o)
    return [o, *torch.autograd.grad((o * weights).sum(), parts)]


@pytest.mark.parametrize("chunk", [1, 16, 32])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("shape", [(2, 1, 2, 3, 4), (1, 37, 1, 5, 3), (3, 101, 2, 8, 4), (2, 32, 3, 1, 1)])
def test_the_chunked_form_is_the_sequential_form(shape, dtype, tolerance, chunk, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", chunk)
    parts = arguments(*shape, dtype)
    for found, wanted in zip(
        with_gradients(delta_rule, parts), with_gradients(delta_rule_sequential, parts), strict=True
    ):
        assert (found - wanted).norm() <= tolerance * max(wanted.norm(), 1.0)


def test_gradients_are_those_of_finite_differences():
    assert torch.autograd.gradcheck(delta_rule, arguments(2, 5, 2, 3, 2, torch.float64))


@pytest.mark.parametrize("log_decay", [0.0, -50.0, -1e4, -float("inf")])
def test_states_that_forget_at_once_or_never(log_decay):
    parts = arguments(1, 80, 2, 4, 3, torch.float32)
    decay = parts.pop().detach().clone()
    decay[:, ::3] = log_decay
    parts.append(decay.requires_grad_())
    wanted = with_gradients(delta_rule_sequential, [p.double().detach().requires_grad_() for p in parts])
    found = with_gradients(delta_rule, parts)
    for mine, reference in zip(found[:5], wanted[:5], strict=True):
        assert (mine - reference).norm() <= 1e-5 * reference.norm()
    assert torch.isfinite(found[5]).all()


def test_a_strong_decay_between_two_weak_ones_costs_no_accuracy():
    q, k, v, beta, decay = (part.detach() for part in arguments(1, 32, 1, 4, 3, torch.float32))
    decay = torch.full_like(decay, -1e-3)
    decay[:, 10] = -1e5  # a running sum of logarithms would round the ones after it to 1e-2
    wanted = delta_rule_sequential(*(part.double() for part in (q, k, v, beta, decay)))
    assert (delta_rule(q, k, v, beta, decay) - wanted).norm() <= 1e-6 * wanted.norm()


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_the_same_key_again_and_again_is_solved_to_single_precision(strength):
    q, k, v, beta, decay = (part.detach() for part in arguments(1, 200, 1, 4, 3, torch.float32))
    parts = q, k[:, :1].expand_as(k), v, torch.full_like(beta, strength), torch.zeros_like(decay)
    wanted = delta_rule_sequential(*(part.double() for part in parts))
    assert (delta_rule(*parts) - wanted).norm() <= 1e-5 * wanted.norm()


def test_a_key_that_was_written_with_full_strength_is_read_back():
    _, k, v, beta, decay = (part.detach() for part in arguments(2, 50, 2, 4, 3, torch.float64))
    o = delta_rule(k, k, v, torch.ones_like(beta), decay)
    assert torch.allclose(o, v, atol=1e-12)


def test_a_step_is_the_equation():
    S = torch.tensor([[[[0.5, -1.0], [2.0, 0.25]]]], dtype=torch.float64)
    q, k, v = (torch.tensor([[pair]], dtype=torch.float64) for pair in ([1.0, 2.0], [0.6, -0.8], [0.5, 4.0]))
    beta, decay = torch.tensor([[0.7]], dtype=torch.float64), torch.tensor([[0.9]], dtype=torch.float64)
    new, o = delta_rule_step(S, q, k, v, beta, decay.log())
    erase = torch.eye(2, dtype=torch.float64) - 0.7 * torch.outer(k[0, 0], k[0, 0])
    wanted = 0.9 * erase @ S[0, 0] + 0.7 * torch.outer(k[0, 0], v[0, 0])
    assert torch.allclose(new[0, 0], wanted)
    assert torch.allclose(o[0, 0], wanted.T @ q[0, 0])


def test_the_states_are_those_that_outputs_read():
    q, *parts = (part.detach() for part in arguments(2, 40, 2, 3, 4, torch.float64))
    read = [(q[:, t, ..., None] * S).sum(-2) for t, S in enumerate(delta_rule_states(*parts))]
    assert torch.allclose(torch.stack(read, 1), delta_rule(q, *parts), atol=1e-12)


def test_the_tape_keeps_states_of_chunk_boundaries_only():
    parts = arguments(2, 128, 2, 4, 4, torch.float64)
    output = delta_rule(*parts)  # the tape lives as long as it does
    saved = output.grad_fn.saved_tensors
    states = 2 * 2 * 4 * 4  # of all sequences and heads, at one step
    assert sum(part.numel() for part in saved) <= sum(part.numel() for part in parts) + 4 * states


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_of_decays_are_never_subnormal(dtype):
    log_decay = -torch.logspace(-2, 1.6, 40, dtype=dtype)[:, None, None].expand(-1, 64, 1)  # (n, T, 1)
    for found in module._decays(log_decay):
        assert found[found > 0].min() >= torch.finfo(dtype).tiny
        assert (found > 0).any(1).all()
