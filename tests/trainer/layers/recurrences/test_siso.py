"""One system per channel: the kernel and its convolution against the recurrence."""

import pytest
import torch

from hankelboard.trainer.layers.recurrences.siso import (
    siso_convolution,
    siso_kernel,
    siso_sequential,
    siso_step,
)


def systems(channels=3, modes=4, dtype=torch.float64, seed=0):
    """log λ and ρ, moduli between 0.6 and 1."""
    draw = torch.Generator().manual_seed(seed)
    nu, theta = torch.rand(2, channels, modes, generator=draw, dtype=dtype)
    residues = torch.randn(channels, modes, 2, generator=draw, dtype=dtype)
    return torch.complex(-0.5 * nu - 1e-3, 3.0 * theta), torch.view_as_complex(residues)


def inputs(length, batch=2, channels=3, dtype=torch.float64):
    return torch.randn(batch, length, channels, generator=torch.Generator().manual_seed(1), dtype=dtype)


@pytest.mark.parametrize("length", [1, 2, 3, 16, 17, 25, 101])
def test_the_kernel_is_its_definition(length):
    logarithms, residues = systems()
    steps = torch.arange(length)
    wanted = 2.0 * (residues[..., None] * torch.exp(logarithms[..., None] * steps)).sum(1).real
    assert torch.allclose(siso_kernel(logarithms, residues, length), wanted, atol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize(("length", "batch"), [(1, 1), (1, 3), (33, 1), (100, 2)])
def test_both_forms_agree_in_outputs_and_gradients(dtype, tolerance, length, batch):
    found = []
    for form in (siso_sequential, lambda u, *modes: siso_convolution(u, siso_kernel(*modes, length))):
        given = [
            part.requires_grad_() for part in (inputs(length, batch, dtype=dtype), *systems(dtype=dtype))
        ]
        y = form(*given)
        (y * torch.linspace(-1.0, 1.0, y.numel(), dtype=dtype).view_as(y)).mean().backward()
        found.append([y.detach(), *(part.grad for part in given)])
    for wanted, other in zip(*found, strict=True):
        assert other.dtype == wanted.dtype
        assert (other - wanted).norm() <= tolerance * wanted.norm().clamp_min(1e-3)


def test_gradients_are_those_of_finite_differences():
    given = [part.requires_grad_() for part in (inputs(7, 1, 2), *systems(2, 3))]
    assert torch.autograd.gradcheck(lambda u, *modes: siso_convolution(u, siso_kernel(*modes, 7)), given)


def test_modes_that_die_at_once_and_modes_that_turn_sign():
    logarithms = torch.tensor([[-800.0 + 0j, complex(-0.1, torch.pi)]], dtype=torch.complex128)
    residues = torch.tensor([[1.0 + 0j, 0.5]], dtype=torch.complex128)
    u = inputs(40, 1, 1)
    wanted, x = torch.zeros(40, dtype=torch.float64), 0.0
    for t, v in enumerate(u[0, :, 0]):
        x = -torch.exp(torch.tensor(-0.1, dtype=torch.float64)) * x + v
        wanted[t] = 2.0 * v + x
    K = siso_kernel(logarithms, residues, 40)
    assert torch.allclose(siso_convolution(u, K)[0, :, 0], wanted, atol=1e-12)


def test_a_step_goes_on_from_a_state():
    logarithms, residues = systems()
    u = inputs(9)
    x = torch.zeros(2, 3, 4, dtype=torch.complex128)
    for v in u[:, :-1].unbind(1):
        _, x = siso_step(v, logarithms, residues, x)
    y, _ = siso_step(u[:, -1], logarithms, residues, x)
    assert torch.allclose(y, siso_sequential(u, logarithms, residues)[:, -1])
