"""The forms of the recurrence are one map, with one gradient."""

import math

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hankelboard.trainer.layers.recurrences import diagonal as scan
from hankelboard.trainer.layers.recurrences.diagonal import lru_kernel, lru_scan, lru_sequential
from hankelboard.trainer.layers.recurrences.diagonal_chunks import lru_chunks
from hankelboard.trainer.layers.recurrences.diagonal_forms import FORMS, choose_form, lru_recurrence

FAST_FORMS = (lru_scan, lru_kernel, lru_chunks)
SHAPES = [  # batch, L, H, N
    (1, 1, 1, 1),
    (3, 1, 2, 4),
    (2, 2, 3, 1),
    (3, 100, 1, 7),
    (2, 37, 4, 5),
    (4, 100, 3, 16),
    (1, 1024, 2, 3),
    (1, 301, 2, 3),  # steps and chunks left over
    (2, 150, 2, 600),
    (2, 9, 130, 2),  # wider than a chunk's table
    (3, 48, 8, 5),  # chunks that fill the length
]


def system(width, state_dim, moduli=None, seed=0):
    """λ, B, C in double precision; moduli drawn from 0.5 to 0.999 when not given."""
    generator = torch.Generator().manual_seed(seed)
    draw = {"dtype": torch.float64, "generator": generator}
    if moduli is None:
        moduli = 0.5 + 0.499 * torch.rand(state_dim, **draw)
    eigenvalues = torch.polar(torch.as_tensor(moduli).double(), 2 * math.pi * torch.rand(state_dim, **draw))
    B = torch.complex(torch.randn(state_dim, width, **draw), torch.randn(state_dim, width, **draw))
    C = torch.complex(torch.randn(width, state_dim, **draw), torch.randn(width, state_dim, **draw))
    return eigenvalues, B, C


def inputs(batch, length, width, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, length, width, dtype=torch.float64, generator=generator)


def value_and_gradients(form, u, *parameters):
    """y, then the gradients of a fixed random functional of y for u, λ, B, C."""
    leaves = [value.detach().clone().requires_grad_() for value in (u, *parameters)]
    y = form(*leaves)
    return [y.detach(), *torch.autograd.grad(y, leaves, inputs(*y.shape, seed=2))]


def assert_same_map(form, u, *parameters, tolerance=1e-10):
    names = ("y", "du", "dλ", "dB", "dC")
    expected = value_and_gradients(lru_sequential, u, *parameters)
    actual = value_and_gradients(form, u, *parameters)
    for name, one, other in zip(names, actual, expected, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype, name
        error = torch.linalg.vector_norm(one - other)
        assert error <= tolerance * torch.linalg.vector_norm(other), (name, error)


@pytest.mark.parametrize("form", FAST_FORMS)
@pytest.mark.parametrize(("batch", "length", "width", "state_dim"), SHAPES)
def test_fast_forms_agree_with_the_equation(form, batch, length, width, state_dim):
    assert_same_map(form, inputs(batch, length, width), *system(width, state_dim))


@pytest.mark.parametrize("length", [32, 37, 121])
@pytest.mark.parametrize("block", [1, 40, 50])
@pytest.mark.parametrize("kept", [0, 1 << 25])
def test_scan_does_not_depend_on_blocks_and_chunks(monkeypatch, length, block, kept):
    batch, state_dim = 2, 3
    monkeypatch.setattr(scan, "KEPT_BYTES", kept)
    monkeypatch.setattr(scan, "BLOCK_STATES", block * batch * state_dim)
    for step_states in (1, 1000):  # without chunks, with them
        monkeypatch.setattr(scan, "STEP_STATES", step_states)
        assert_same_map(lru_scan, inputs(batch, length, 2), *system(2, state_dim))


class _Calls(TorchDispatchMode):
    """Counts the calls of addcmul_, one per step or per step of all chunks."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten.addcmul_.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("length", "most"), [(31, 31), (784, 30), (787, 33), (4096, 33)])
def test_calls_of_a_scan_of_few_states_grow_as_the_logarithm_of_its_length(length, most):
    """784 steps: 7 and 1 of 98 chunks, of their ends 7 and 1 of 12 chunks, 11 ends of those, 2 left over."""
    with _Calls() as calls:
        lru_scan(inputs(1, length, 2), *system(2, 3))
    assert calls.count <= most


@pytest.mark.parametrize(("batch", "length", "state_dim"), [(1, 1, 1), (3, 100, 7), (2, 150, 600)])
def test_states_computed_again_give_the_same_gradients_bit_for_bit(monkeypatch, batch, length, state_dim):
    monkeypatch.setattr(scan, "BLOCK_STATES", 20 * batch * state_dim)
    arguments = inputs(batch, length, 3), *system(3, state_dim)
    kept = value_and_gradients(lru_scan, *arguments)
    monkeypatch.setattr(scan, "KEPT_BYTES", 0)
    for one, other in zip(value_and_gradients(lru_scan, *arguments), kept, strict=True):
        assert torch.equal(one, other)


def test_gradients_from_states_computed_again_are_those_of_finite_differences(monkeypatch):
    monkeypatch.setattr(scan, "KEPT_BYTES", 0)
    monkeypatch.setattr(scan, "BLOCK_STATES", 4 * 2 * 3)
    leaves = [value.requires_grad_() for value in (inputs(2, 9, 2), *system(2, 3))]
    assert torch.autograd.gradcheck(lru_scan, leaves)


@pytest.mark.parametrize(("states", "blocks"), [(1 << 14, "all"), (1 << 22, "ends")])
def test_of_many_states_only_those_before_each_block_wait_for_the_backward_pass(states, blocks):
    """32 MiB of single-precision states are 2²² of them: here 2²² + 2¹⁴, and 2¹⁴."""
    batch, state_dim, kept = 2, 64, []
    length = states // (batch * state_dim) + 128
    leaves = [value.to(torch.complex64) for value in system(1, state_dim)]
    leaves = [leaf.requires_grad_() for leaf in (inputs(batch, length, 1).float(), *leaves)]
    with torch.autograd.graph.saved_tensors_hooks(lambda part: kept.append(part.nbytes) or part, lambda p: p):
        lru_scan(*leaves)
    whole = length * batch * state_dim * 8
    assert sum(kept) > whole if blocks == "all" else sum(kept) < whole / 50


@pytest.mark.parametrize("form", [lru_sequential, *FAST_FORMS])
def test_output_is_that_of_a_dense_simulation_in_numpy(form):
    eigenvalues, B, C = system(3, 5)
    u = inputs(2, 40, 3)
    A, b, c = np.diag(eigenvalues.numpy()), B.numpy(), C.numpy()
    expected = np.zeros((2, 40, 3))
    for t in range(40):
        for s in range(t + 1):
            impulse = (c @ np.linalg.matrix_power(A, t - s) @ b).real  # (H, H)
            expected[:, t] += u[:, s].numpy() @ impulse.T
    np.testing.assert_allclose(form(u, eigenvalues, B, C).numpy(), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("form", FAST_FORMS)
@pytest.mark.parametrize(
    ("batch", "length", "width", "state_dim"), [(2, 1, 2, 3), (2, 4, 2, 3), (1, 33, 1, 2)]
)
def test_gradients_are_those_of_finite_differences(form, batch, length, width, state_dim):
    leaves = [value.requires_grad_() for value in (inputs(batch, length, width), *system(width, state_dim))]
    assert torch.autograd.gradcheck(form, leaves)


@pytest.mark.parametrize("form", FAST_FORMS)
@pytest.mark.parametrize(
    "moduli",
    [
        pytest.param([1 - 1e-7, 1 - 1e-12, 1.0], id="on the edge"),
        pytest.param([1e-3, 1e-30, 1e-200], id="underflow"),
        pytest.param([0.0, 0.5, 0.999], id="zero"),
    ],
)
def test_extreme_moduli_change_nothing(form, moduli):
    assert_same_map(form, inputs(2, 200, 2), *system(2, 3, moduli))


@pytest.mark.parametrize("form", FAST_FORMS)
def test_negative_real_and_vanishing_eigenvalues_have_finite_gradients(form):
    _, B, C = system(2, 4)
    eigenvalues = torch.tensor([-0.9, -1e-20, 0.0, 0.7], dtype=torch.complex128)
    assert_same_map(form, inputs(2, 70, 2), eigenvalues, B, C)
    for value in value_and_gradients(form, inputs(2, 70, 2), eigenvalues, B, C):
        assert torch.isfinite(torch.view_as_real(value) if value.is_complex() else value).all()


@pytest.mark.parametrize("form", FAST_FORMS)
def test_single_precision_stays_single_and_near_the_double_result(form):
    eigenvalues, B, C = system(4, 32)
    u = inputs(3, 300, 4)
    single = [value.to(torch.complex64) for value in (eigenvalues, B, C)]
    y = form(u.float(), *single)
    expected = lru_sequential(u, eigenvalues, B, C)
    assert y.dtype == torch.float32
    assert torch.linalg.vector_norm(y - expected) <= 1e-4 * torch.linalg.vector_norm(expected)


@pytest.mark.parametrize("form", FAST_FORMS)
def test_inputs_and_output_gradients_need_not_be_contiguous(form):
    u = inputs(40, 3, 2).transpose(0, 1)  # (3, 40, 2)
    leaves = [value.detach().requires_grad_() for value in (u, *system(2, 3))]
    for one, other in zip(
        torch.autograd.grad(form(*leaves).mean(dim=1).sum(), leaves),
        torch.autograd.grad(lru_sequential(*leaves).mean(dim=1).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_scan_needs_no_gradient_of_anything():
    u, (eigenvalues, B, C) = inputs(2, 50, 2), system(2, 3)
    expected = lru_sequential(u, eigenvalues, B, C)
    torch.testing.assert_close(lru_scan(u, eigenvalues, B, C), expected)
    with torch.no_grad():
        torch.testing.assert_close(lru_scan(u.requires_grad_(), eigenvalues, B, C), expected)
    torch.testing.assert_close(u.grad, None)


@pytest.mark.parametrize("form", FAST_FORMS)
def test_a_tape_can_be_gone_through_twice(form):
    leaves = [value.requires_grad_() for value in (inputs(2, 50, 2), *system(2, 3))]
    loss = form(*leaves).square().sum()
    first = torch.autograd.grad(loss, leaves, retain_graph=True)
    for one, other in zip(first, torch.autograd.grad(loss, leaves), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("batch", "length", "width", "state_dim", "form"),
    [
        (50, 784, 8, 256, "kernel"),
        (50, 784, 8, 96, "kernel"),
        (50, 784, 8, 24, "chunks"),
        (50, 784, 8, 12, "chunks"),
        (50, 784, 3, 12, "chunks"),
        (16, 2048, 16, 32, "chunks"),
        (16, 2048, 16, 8, "scan"),
        (128, 256, 16, 128, "kernel"),
        (32, 512, 32, 32, "scan"),
        (64, 128, 8, 64, "kernel"),
        (64, 128, 8, 16, "chunks"),
        (64, 64, 16, 12, "scan"),
        (8, 1024, 256, 384, "scan"),
        (64, 64, 64, 64, "scan"),
        (64, 64, 32, 64, "scan"),
        (64, 64, 32, 16, "scan"),
    ],
)
def test_the_form_chosen_is_the_faster_one_measured(batch, length, width, state_dim, form):
    assert choose_form(batch, length, width, state_dim) == form


def test_recurrence_takes_the_form_it_is_told():
    u, parameters = inputs(2, 20, 2), system(2, 3)
    for name, form in zip(FORMS, FAST_FORMS, strict=True):
        assert torch.equal(lru_recurrence(u, *parameters, name), form(u, *parameters))


def test_recurrence_says_what_is_wrong():
    u, (eigenvalues, B, C) = inputs(2, 20, 2), system(2, 3)
    with pytest.raises(ValueError, match="allowed are scan, kernel, chunks"):
        lru_recurrence(u, eigenvalues, B, C, "fft")
    with pytest.raises(ValueError, match=r"B must be \(3, 2\)"):
        lru_recurrence(u, eigenvalues, B.T, C, "scan")
    with pytest.raises(ValueError, match=r"u must be \(batch, L, H\)"):
        lru_recurrence(u[:, :0], eigenvalues, B, C, "scan")
