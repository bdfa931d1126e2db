"""Kernels in C: the same numbers as PyTorch's code, for every shape, and exact where that is exact."""

import math

import pytest
import torch

from hankelboard.trainer.layers.mamba import SelectiveSSM
from hankelboard.trainer.layers.recurrences import diagonal, installed_kernels, scan_choice
from hankelboard.trainer.layers.recurrences.c_kernels import functions, library
from hankelboard.trainer.layers.recurrences.installed_kernels import (
    C_CHANNEL_DECAY,
    C_DELTA_RULE,
    C_KERNELS,
    C_SCALAR_DECAY,
    C_SCANS,
    C_SELECTIVE,
    OWN,
    C,
    InstalledKernel,
    compute,
    refusal,
)

CPU = torch.device("cpu")
SHAPES = {  # batch, length, and the sizes of the sample
    C_SELECTIVE: [(1, 1, 1, 1), (2, 33, 17, 5), (3, 64, 40, 16), (2, 100, 3, 128), (2, 70, 64, 1)],
    C_SCALAR_DECAY: [(1, 1, 1, 1, 1, 1), (2, 33, 2, 4, 5, 3), (3, 64, 1, 4, 11, 17), (2, 100, 1, 3, 130, 1)],
    C_CHANNEL_DECAY: [(1, 1, 1, 1, 1), (2, 33, 2, 5, 3), (3, 64, 2, 11, 17), (2, 100, 1, 130, 1)],
    C_DELTA_RULE: [(1, 1, 1, 1, 1), (2, 33, 2, 5, 3), (3, 64, 2, 11, 33), (2, 100, 1, 130, 1)],
}


@pytest.fixture(autouse=True)
def _compiled(c_kernels):
    """All of these need the library."""


def draw(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=generator)


def sample(kernel: InstalledKernel, *sizes: int):
    return kernel.sample(draw(), *sizes)


def both_ways(function, parts):
    parts = [part.detach().requires_grad_() for part in parts]
    y = function(*parts)
    return [y.detach(), *torch.autograd.grad((y * draw(1)(*y.shape)).sum(), parts)]


def assert_agreement(kernel, parts, tolerance=3e-6, absolute=1e-7):
    ours, theirs = both_ways(kernel.own, parts), both_ways(kernel.load(), parts)
    for own, c in zip(ours, theirs, strict=True):
        assert c.shape == own.shape
        assert (c - own).norm() <= tolerance * own.norm() + absolute


@pytest.mark.parametrize(
    ("kernel", "shape"),
    [
        pytest.param(kernel, shape, id=f"{kernel.function}-{shape}")
        for kernel, shapes in SHAPES.items()
        for shape in shapes
    ],
)
def test_output_and_all_gradients_agree_with_ours(kernel, shape):
    assert_agreement(kernel, sample(kernel, *shape))


@pytest.mark.parametrize("kernel", SHAPES, ids=lambda kernel: kernel.function)
def test_views_of_other_tensors_are_taken(kernel):
    parts = [torch.stack([part, part], dim=-1)[..., 0] for part in sample(kernel, *SHAPES[kernel][1])]
    assert not any(part.is_contiguous() for part in parts if part.numel() > 1)
    assert_agreement(kernel, parts)


@pytest.mark.parametrize("kernel", SHAPES, ids=lambda kernel: kernel.function)
def test_the_comparison_before_the_first_use_is_passed(kernel):
    assert refusal(kernel, CPU, SHAPES[kernel][1][2:]) == "" == refusal(C_SCANS, CPU, (600,))


@pytest.mark.parametrize("trained", [True, False])
def test_a_decay_that_is_constant_in_time(trained):
    q, k, v, log_decay = sample(C_SCALAR_DECAY, 3, 40, 2, 4, 5, 3)
    constant = log_decay[0, 0].clone()
    own, c = (
        both_ways(lambda *parts, f=f: f(*parts, constant.requires_grad_(trained)), (q, k, v))
        for f in (C_SCALAR_DECAY.own, functions.scalar_decay_scan)
    )
    assert all(torch.allclose(one, other, rtol=1e-4, atol=1e-5) for one, other in zip(own, c, strict=True))
    if trained:
        assert_agreement(C_SCALAR_DECAY, (q, k, v, constant))


def with_decays(kernel, value):
    """A sample whose decays are all the exponential of this value."""
    parts = list(sample(kernel, *SHAPES[kernel][1]))
    if kernel is C_SELECTIVE:
        parts[1], parts[2] = torch.ones_like(parts[1]), torch.full_like(parts[2], value)
    else:
        parts[-1] = torch.full_like(parts[-1], value)
    return parts


@pytest.mark.parametrize("kernel", SHAPES, ids=lambda kernel: kernel.function)
def test_a_decay_of_0_forgets_exactly(kernel):
    """The output of a step is what it would be if it were the first one; gradients are finite."""
    parts = with_decays(kernel, -math.inf)
    y, *gradients = both_ways(kernel.load(), parts)
    alone = kernel.load()(*(part if part.ndim == 2 else part[:, -1:] for part in parts))
    assert torch.equal(y[:, -1:], alone)
    if kernel is not C_SELECTIVE:  # there A itself is infinite
        assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("kernel", SHAPES, ids=lambda kernel: kernel.function)
def test_decays_that_underflow_agree_with_ours(kernel):
    for value in (-95.0, -45.0):  # ours takes some of these gradients from differences of numbers near 1
        assert_agreement(kernel, with_decays(kernel, value), absolute=1e-5)


@pytest.mark.parametrize("kernel", SHAPES, ids=lambda kernel: kernel.function)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_stays_visible(kernel, value):
    """In every argument: from its step on where it enters the states."""
    for index, part in enumerate(sample(kernel, *SHAPES[kernel][1])):
        parts = list(sample(kernel, *SHAPES[kernel][1]))
        part = part.clone()
        part.view(-1)[part.numel() // 2] = value
        parts[index] = part
        assert not kernel.load()(*parts).isfinite().all(), index


def test_denormal_inputs_are_numbers():
    q, k, v, log_decay = sample(C_SCALAR_DECAY, 1, 3, 1, 1, 2, 2)
    y = functions.scalar_decay_scan(
        torch.ones_like(q), torch.ones_like(k), torch.full_like(v, 1e-41), log_decay
    )
    assert (y > 0).all()


def test_the_exponential_is_as_exact_as_single_precision():
    """y[1] = exp(Δ A) for Δ = 1 and input 1 at the first step alone."""
    A = torch.linspace(-87.0, 88.0, 100_000)[:, None]  # (D, 1)
    x = torch.zeros(1, 2, len(A))
    x[:, 0] = 1.0
    one = torch.ones(1, 2, 1)
    y = functions.selective_scan(x, torch.ones_like(x), A, one, one)[0, 1]
    wanted = A[:, 0].double().exp()
    assert ((y - wanted) / wanted).abs().max() < 2.5e-7
    beyond = torch.tensor([[0.0], [-87.5], [-1e30], [-math.inf], [89.0], [math.nan]])
    x, delta = torch.zeros(2, 1, 2, len(beyond))
    x[:, 0], delta[:, 0], delta[:, 1] = 2.0, 0.5, 1.0
    y = functions.selective_scan(x, delta, beyond, one, one)[0, 1]
    assert y[0] == 1.0 and (y[1:4] == 0.0).all() and y[4] == math.inf and y[5].isnan()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("length", "columns"), [(1, 1), (7, 3), (50, 520), (33, 1100)])
def test_the_scan_of_complex_states_agrees_with_ours(reverse, length, columns):
    x, decay, before = C_SCANS.sample(draw(), 1, length, columns)
    for start in (before, None, before.conj()):
        found = []
        for in_c in (False, True):
            with scan_choice.bound(in_c):
                states = x.clone()
                last = diagonal._scan_in_place(states, decay.conj(), start, reverse=reverse)
                assert torch.equal(last, states[0 if reverse else -1])
                found.append(states)
        own, c = found
        assert (c - own).norm() <= 1e-6 * own.norm()


def test_a_scan_takes_its_last_state_as_the_one_before():
    """As blocks of time do: the last state is a view of what was scanned."""
    x, decay, before = C_SCANS.sample(draw(), 1, 24, 5)
    with scan_choice.bound(True):
        whole, parts = x.clone(), x.clone()
        diagonal._scan_in_place(whole, decay, before)
        last = diagonal._scan_in_place(parts[:10], decay, before)
        diagonal._scan_in_place(parts[10:], decay, last)
    assert torch.equal(whole, parts)


def test_the_layers_gradients_are_the_same_with_scans_in_c():
    u, (B, C_out) = (
        draw()(2, 50, 3),
        (torch.complex(draw(i)(*s), draw(i + 2)(*s)) for i, s in ((0, (7, 3)), (1, (3, 7)))),
    )
    decay = torch.polar(draw()(7).sigmoid(), draw(4)(7))
    found = []
    for in_c in (False, True):
        with scan_choice.bound(in_c):
            found.append(both_ways(diagonal.lru_scan, (u, decay, B, C_out)))
    assert all((one - other).norm() <= 1e-5 * one.norm() for one, other in zip(*found, strict=True))


def test_double_precision_scans_are_ours():
    with scan_choice.bound(True):
        assert not scan_choice.in_c(torch.zeros(3, 4, dtype=torch.complex128))
        assert not scan_choice.in_c(torch.zeros(3, 4, dtype=torch.complex64, device="meta"))
        assert scan_choice.in_c(torch.zeros(3, 4, dtype=torch.complex64))


@pytest.mark.parametrize("kernel", SHAPES, ids=lambda kernel: kernel.function)
def test_double_precision_is_ours(kernel):
    parts = tuple(part.double() for part in sample(kernel, *SHAPES[kernel][1]))
    assert torch.equal(compute((kernel,), C, parts), compute((kernel,), OWN, parts))


@pytest.mark.parametrize("kernel", SHAPES, ids=lambda kernel: kernel.function)
def test_any_number_of_threads_gives_the_same_bits(kernel):
    threads, parts, found = torch.get_num_threads(), sample(kernel, *SHAPES[kernel][2]), []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            found.append(both_ways(kernel.load(), parts))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_no_states_are_kept_where_nothing_goes_back(monkeypatch):
    passed = []
    monkeypatch.setattr(functions, "call", lambda *arguments: passed.append(arguments))
    functions.selective_scan(*sample(C_SELECTIVE, 2, 9, 3, 2))
    assert passed[0][-1] is None


@pytest.mark.parametrize("kernel", SHAPES, ids=lambda kernel: kernel.function)
def test_a_second_derivative_is_refused(kernel):
    parts = [part.requires_grad_() for part in sample(kernel, *SHAPES[kernel][1])]
    (gradient,) = torch.autograd.grad(kernel.load()(*parts).square().sum(), parts[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("kernel", SHAPES, ids=lambda kernel: kernel.function)
def test_shapes_that_disagree_reach_no_pointer(kernel):
    parts = sample(kernel, *SHAPES[kernel][1])
    for index in range(1, len(parts)):
        wrong = [part[..., :-1] if i == index else part for i, part in enumerate(parts)]
        if kernel is C_SELECTIVE or index != 2:  # the values of heads may have any size
            with pytest.raises((ValueError, RuntimeError)):
                kernel.load()(*wrong)


def test_autocast_computes_in_single_precision():
    layer, x = SelectiveSSM(8, 4, 1), draw()(2, 20, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer.form_kept = C
        y = layer(x)
        layer.form_kept = OWN
        wanted = layer(x)
    assert y.dtype == torch.float32 and torch.allclose(y, wanted, rtol=1e-4, atol=1e-5)


def test_a_kernel_that_is_wrong_is_not_used(monkeypatch):
    right = functions.selective_scan
    monkeypatch.setattr(functions, "selective_scan", lambda *parts: 1.001 * right(*parts))
    refusal.cache_clear()
    with pytest.warns(RuntimeWarning, match=r"c is not used: its output differs by 1\.0e-03"):
        assert installed_kernels.choose((C_SELECTIVE,), None, CPU, (5, 3)) == OWN


def test_all_kernels_are_functions_of_the_library():
    assert {kernel.package for kernel in C_KERNELS} == {C}
    assert library.lanes() in (4, 8, 16)
