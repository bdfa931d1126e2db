import pytest
import torch

from hankelboard.trainer.layers.recurrences import scalar_decay as module
from hankelboard.trainer.layers.recurrences.scalar_decay import (
    scalar_decay_scan,
    scalar_decay_sequential,
    scalar_decay_states,
    scalar_decay_step,
)

SHAPES = [
    (2, 1, 1, 2, 3, 4),
    (1, 37, 2, 2, 5, 3),
    (3, 101, 1, 3, 4, 8),
    (2, 14, 2, 4, 1, 1),
    (1, 8, 1, 1, 4, 2),
]
"""batch, L, groups, heads, N, P."""


def arguments(batch, length, groups, heads, states, values, dtype=torch.float64, seed=0):
    draw = torch.Generator().manual_seed(seed)
    q, k = (torch.randn(batch, length, groups, states, generator=draw, dtype=dtype) for _ in range(2))
    v = torch.randn(batch, length, heads, values, generator=draw, dtype=dtype)
    log_decay = -2.0 * torch.rand(batch, length, heads, generator=draw, dtype=dtype)
    return [part.requires_grad_() for part in (q, k, v, log_decay)]


def with_gradients(function, parts):
    o = function(*parts)
    weights = torch.linspace(-1.0, 2.0, o.numel(), dtype=o.dtype).view_as(o)
    wanted = [part for part in parts if part.requires_grad]
    return [o, *torch.autograd.grad((o * weights).sum(), wanted)]


def same(parts, tolerance):
    for found, wanted in zip(
        with_gradients(scalar_decay_scan, parts), with_gradients(scalar_decay_sequential, parts), strict=True
    ):
        assert (found - wanted).norm() <= tolerance * wanted.norm()


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of 7 steps, worked on one by one."""
    monkeypatch.setattr(module, "CHUNK", 7)
    monkeypatch.setattr(module, "AT_ONCE", 1)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_chunked_form_is_the_sequential_form(shape, dtype, tolerance, small_chunks):
    same(arguments(*shape, dtype), tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("length", [64, 65, 150])
def test_it_is_so_with_chunks_of_the_usual_size(length, dtype, tolerance):
    same(arguments(2, length, 2, 4, 6, 5, dtype), tolerance)


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_decay_that_is_constant_is_one_that_does_not_change(shape, learned, small_chunks):
    q, k, v, _ = arguments(*shape)
    log_decay = -torch.rand(shape[3], dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    log_decay.requires_grad_(learned)
    same([q, k, v, log_decay], 1e-10)
    everywhere = log_decay.detach().expand(shape[0], shape[1], -1)
    wanted = scalar_decay_sequential(q, k, v, everywhere)
    assert torch.allclose(scalar_decay_scan(q, k, v, log_decay), wanted, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 5, 1, 2, 2, 3), (1, 8, 2, 2, 3, 1)])
def test_gradients_are_those_of_finite_differences(shape, small_chunks):
    assert torch.autograd.gradcheck(scalar_decay_scan, arguments(*shape))


def test_it_is_attention_with_decaying_weights():
    q, k, v, log_decay = (part.detach() for part in arguments(2, 20, 1, 1, 3, 4))
    running = log_decay[..., 0].cumsum(1)  # (batch, L)
    weights = torch.exp(running[:, :, None] - running[:, None]).tril()
    wanted = (q[:, :, 0] @ k[:, :, 0].mT * weights) @ v[:, :, 0]
    assert torch.allclose(scalar_decay_scan(q, k, v, log_decay)[:, :, 0], wanted, atol=1e-12)


def test_steps_one_by_one_are_the_chunked_form():
    q, k, v, log_decay = (part.detach() for part in arguments(2, 20, 2, 4, 3, 5))
    state, outputs = None, []
    for t in range(20):
        state, o = scalar_decay_step(state, q[:, t], k[:, t], v[:, t], log_decay[:, t])
        outputs.append(o)
    assert torch.allclose(torch.stack(outputs, 1), scalar_decay_scan(q, k, v, log_decay), atol=1e-12)
    assert state.shape == (2, 4, 3, 5)


@pytest.mark.parametrize("constant", [True, False])
def test_states_are_those_of_the_steps(constant, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_STATES", 7 * 2 * 4 * 3 * 5)
    q, k, v, log_decay = (part.detach() for part in arguments(2, 20, 2, 4, 3, 5))
    log_decay = log_decay[0, 0] if constant else log_decay
    blocks = list(scalar_decay_states(k, v, log_decay))
    assert [steps.stop - steps.start for steps, _ in blocks] == [7, 7, 6]
    states = torch.cat([states for _, states in blocks], dim=1)  # (batch, L, heads, N, P)
    o = (q.repeat_interleave(2, dim=2)[..., None, :] @ states)[..., 0, :]
    assert torch.allclose(o, scalar_decay_sequential(q, k, v, log_decay), atol=1e-12)


@pytest.mark.parametrize("log_decay", [0.0, -1e9, -float("inf")])
def test_states_that_forget_at_once_or_never(log_decay, small_chunks):
    q, k, v, _ = (part.float().detach().requires_grad_() for part in arguments(1, 20, 1, 2, 3, 2))
    decay = torch.full((1, 20, 2), log_decay).requires_grad_()
    o, *gradients = with_gradients(scalar_decay_scan, [q, k, v, decay])
    assert all(torch.isfinite(part).all() for part in (o, *gradients))
    if log_decay < 0.0:
        assert torch.allclose(o, (q * k).sum(-1, keepdim=True) * v)


def test_a_strong_decay_costs_weak_ones_after_it_no_digits():
    q, k, v, log_decay = arguments(1, 64, 1, 1, 3, 2, torch.float32)
    with torch.no_grad():
        log_decay.fill_(-1e-3)[:, ::8] = -3e4
    same([q, k, v, log_decay], 1e-6)


def test_between_forward_and_backward_states_are_kept_once_per_chunk(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 16)
    q, k, v, log_decay = arguments(2, 160, 1, 2, 8, 8)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        scalar_decay_scan(q, k, v, log_decay)
    states = 10 * 2 * 2 * 8 * 8
    assert sum(kept) == q.numel() + k.numel() + v.numel() + log_decay.numel() + states
