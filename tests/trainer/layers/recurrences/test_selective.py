import pytest
import torch

from hankelboard.trainer.layers.recurrences import selective as module
from hankelboard.trainer.layers.recurrences.selective import (
    selective_scan,
    selective_sequential,
    selective_states,
    selective_step,
)


def arguments(batch, length, channels, states, dtype, seed=0):
    draw = torch.Generator().manual_seed(seed)
    x, B, C = (
        torch.randn(batch, length, size, generator=draw, dtype=dtype) for size in (channels, states, states)
    )
    delta = torch.rand(batch, length, channels, generator=draw, dtype=dtype)
    A = -3.0 * torch.rand(channels, states, generator=draw, dtype=dtype)
    return [part.requires_grad_() for part in (x, delta, A, B, C)]


def with_gradients(function, parts):
    y = function(*parts)
    weights = torch.linspace(-1.0, 2.0, y.numel(), dtype=y.dtype).view_as(y)
    return [y, *torch.autograd.grad((y * weights).sum(), parts)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("shape", [(2, 1, 3, 4), (1, 37, 5, 3), (3, 101, 4, 8), (2, 16, 3, 1)])
def test_the_scan_is_the_sequential_form(shape, dtype, tolerance, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_STATES", 7 * shape[0] * shape[2] * shape[3])  # blocks of 7 steps
    parts = arguments(*shape, dtype)
    for found, wanted in zip(
        with_gradients(selective_scan, parts), with_gradients(selective_sequential, parts), strict=True
    ):
        assert (found - wanted).norm() <= tolerance * wanted.norm()


def test_gradients_are_those_of_finite_differences():
    assert torch.autograd.gradcheck(selective_scan, arguments(2, 5, 2, 3, torch.float64))


@pytest.mark.parametrize(("step_states", "block_states"), [(1, 1), (6, 60), (24, 1), (1 << 20, 50)])
def test_tiles_and_blocks_do_not_matter(step_states, block_states, monkeypatch):
    """Tiles of one channel, of two channels of one sequence, of two sequences, and all of them."""
    parts = arguments(3, 50, 4, 3, torch.float64)
    whole = with_gradients(selective_scan, parts)
    monkeypatch.setattr(module, "STEP_STATES", step_states)
    monkeypatch.setattr(module, "BLOCK_STATES", block_states)
    for found, wanted in zip(with_gradients(selective_scan, parts), whole, strict=True):
        assert torch.allclose(found, wanted, rtol=1e-12, atol=1e-13)


def test_states_block_by_block_are_those_of_the_equation(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_STATES", 7 * 2 * 4 * 3)  # blocks of 7 steps
    x, delta, A, B, C = (part.detach() for part in arguments(2, 20, 4, 3, torch.float64))
    h, seen = torch.zeros(2, 4, 3, dtype=torch.float64), 0
    for steps, states, a, b in selective_states(x, delta, A, B):
        for t, found, decay, driven in zip(range(20)[steps], states, a, b, strict=True):
            assert torch.allclose(found, decay * h + driven, rtol=1e-13, atol=1e-14)
            h, _ = selective_step(h, x[:, t], delta[:, t], A, B[:, t], C[:, t])
            assert torch.allclose(found, h, rtol=1e-12, atol=1e-13)
            seen += 1
    assert seen == 20


def test_what_is_kept_between_forward_and_backward_is_one_state_per_block(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_STATES", 10 * 2 * 64 * 32)  # blocks of 10 steps
    parts = arguments(2, 100, 64, 32, torch.float32)
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda part: kept.setdefault(part.untyped_storage().data_ptr(), part), lambda part: part
    ):
        selective_scan(*parts)
    own = {part.untyped_storage().data_ptr() for part in parts}
    assert (
        sum(part.numel() for pointer, part in kept.items() if pointer not in own) == 100 // 10 * 2 * 64 * 32
    )


def test_inputs_and_output_gradients_need_not_be_contiguous():
    parts = arguments(2, 9, 4, 3, torch.float64)
    turned = [part.detach().mT.contiguous().mT.requires_grad_() for part in parts]
    for found, wanted in zip(
        with_gradients(lambda *p: selective_scan(*p).transpose(0, 2), turned),
        with_gradients(lambda *p: selective_sequential(*p).transpose(0, 2), parts),
        strict=True,
    ):
        assert torch.allclose(found, wanted, rtol=1e-12, atol=1e-13)


def test_states_that_forget_at_once_or_never():
    x, delta, _, B, C = arguments(1, 20, 2, 2, torch.float64)
    for size in (0.0, 1e9):
        y, *gradients = with_gradients(
            lambda x, delta, B, C, size=size: selective_scan(x, delta, -size * torch.ones(2, 2), B, C),
            [part.float().detach().requires_grad_() for part in (x, delta, B, C)],
        )
        assert all(torch.isfinite(part).all() for part in (y, *gradients))


def test_a_step_is_the_equation():
    x, delta, A, B, C = (part.detach()[..., :1, :] for part in arguments(1, 1, 1, 2, torch.float64))
    h = torch.tensor([[[0.5, -1.0]]], dtype=torch.float64)
    new, y = selective_step(h, x[:, 0], delta[:, 0], A, B[:, 0], C[:, 0])
    wanted = [
        float(torch.exp(delta[0, 0, 0] * A[0, n]) * h[0, 0, n] + delta[0, 0, 0] * x[0, 0, 0] * B[0, 0, n])
        for n in range(2)
    ]
    assert new.flatten().tolist() == pytest.approx(wanted)
    assert y.item() == pytest.approx(sum(w * float(C[0, 0, n]) for n, w in enumerate(wanted)))
