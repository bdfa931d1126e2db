"""Stored modes of truncated real systems: against dense simulation, the bound, and exact gradients."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg

from hankelboard.trainer.reduction.linear.conjugate_pairs import (
    Gradients,
    balance_pairs,
    doubled,
    importances,
    monitoring_importances,
    order_for,
    ranks_to_check,
    shuffled,
    transport_first,
    transport_second,
    truncate_pairs,
)
from hankelboard.trainer.reduction.linear.hankel import (
    DiagonalSystem,
    frequency_response,
    hankel_singular_values,
)
from tests.trainer.reduction.linear.test_truncation import random_system

OMEGAS = np.linspace(0.0, 2.0 * np.pi, 801)


def response(eigenvalues, B, C):
    """Of u -> 2 Re(C x)."""
    return frequency_response(doubled(DiagonalSystem(eigenvalues, B, C)), OMEGAS)


def of_modes(modes):
    return response(modes.eigenvalues, modes.B, modes.C)


def siso(eigenvalues, C):
    one = np.ones((len(eigenvalues), 1))
    return DiagonalSystem(np.asarray(eigenvalues), one, np.asarray(C)[None])


def test_its_singular_values_are_those_of_the_doubled_system():
    system = random_system(5, 2, 3)
    both = doubled(system)
    wanted = hankel_singular_values(both.eigenvalues, both.B, both.C)
    assert balance_pairs(system).hsv == pytest.approx(wanted, rel=1e-8, abs=1e-10)
    cheaper = monitoring_importances(system)
    assert cheaper == pytest.approx(wanted.reshape(5, 2).sum(axis=1), abs=1e-7 * wanted[0])


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (2, 3)])
@pytest.mark.parametrize("rank", [1, 2, 4, 7])
def test_the_modes_are_the_dense_system_within_its_bound(rank, inputs, outputs):
    system = random_system(8, inputs, outputs, seed=rank)
    balanced = balance_pairs(system)
    modes = truncate_pairs(balanced, rank, system)
    x, z = np.zeros(rank, complex), np.zeros(modes.order)
    for u in np.random.default_rng(0).standard_normal((40, inputs)):
        x, z = modes.eigenvalues * x + modes.B @ u, modes.A_r @ z + modes.B_r @ u
        assert 2.0 * (modes.C @ x).real == pytest.approx(modes.C_r @ z, abs=1e-10)
    assert len(modes.eigenvalues) == rank <= modes.order <= 2 * rank
    full = response(system.eigenvalues, system.B, system.C)
    error = np.linalg.norm(full - of_modes(modes), ord=2, axis=(1, 2)).max()
    assert 0.5 * balanced.hsv[modes.order] <= error <= 2.0 * balanced.hsv[modes.order :].sum() * (1 + 1e-9)


def test_real_poles_take_a_mode_each_with_half_of_their_output():
    system = siso([0.9, -0.8, 0.5], [1.0, 2.0, 0.05])
    modes = truncate_pairs(balance_pairs(system), 2, system)
    assert modes.order == 2 and modes.real.all() and not modes.padding.any()
    assert sorted(modes.eigenvalues.real) == pytest.approx([-0.8, 0.9], abs=0.02)
    full = response(system.eigenvalues, system.B, system.C)
    assert np.abs(full - of_modes(modes)).max() < 0.4 < 0.1 * np.abs(full).max()


def test_modes_that_are_left_over_are_former_ones_without_output():
    system = siso([0.9, 0.5, 0.3j], [1.0, 0.0, 0.0])
    modes = truncate_pairs(balance_pairs(system), 2, system)
    assert modes.order == 1 and modes.padding.tolist() == [False, True]
    assert modes.eigenvalues[1] in system.eigenvalues and modes.C[0, 1] == 0.0
    assert np.abs(response(system.eigenvalues, system.B, system.C) - of_modes(modes)).max() < 1e-12


def test_a_system_that_passes_nothing_on_is_all_padding():
    system = siso([0.9, 0.5], [0.0, 0.0])
    modes = truncate_pairs(balance_pairs(system), 1, system)
    assert modes.order == 0 and modes.padding.tolist() == [True] and modes.condition == 1.0


def test_orders_grow_with_the_rank_and_hold_at_least_as_many_states():
    for seed in range(10):
        balanced = balance_pairs(random_system(6, 1, 1, seed=seed))
        orders = [order_for(balanced, rank) for rank in range(1, 7)]
        assert orders == sorted(orders)
        for rank, order in enumerate(orders, 1):
            eigenvalues = np.linalg.eigvals(balanced.A[:order, :order])
            assert rank <= order and (eigenvalues.imag >= 0.0).sum() <= rank


def test_large_layers_have_fewer_ranks_to_choose():
    assert ranks_to_check(64) == set(range(1, 65))
    few = ranks_to_check(256)
    assert 25 <= len(few) <= 40 and {1, 2, 3, 4, 256} <= few
    assert ranks_to_check(64, systems=128) < set(range(1, 65))


def test_two_real_poles_that_meet_give_way_to_a_lower_order():
    system = siso([0.9, 0.5], [1.0, 0.3])
    balanced = balance_pairs(system)
    joined = np.array([[0.5, 1.0], [0.0, 0.5]])
    defective = type(balanced)(**(vars(balanced) | {"A": scipy.linalg.block_diag(joined, 0.1)[:2, :2]}))
    assert truncate_pairs(defective, 2, system).order == 1


def test_random_choices_of_balanced_states_are_stable_and_seeded():
    system = random_system(6, 1, 1)
    balanced = balance_pairs(system)
    for seed in range(10):
        chosen = shuffled(balanced, seed)
        assert np.abs(truncate_pairs(chosen, 3, system).eigenvalues).max() < 1.0
        assert sorted(chosen.hsv) == pytest.approx(sorted(balanced.hsv))
        assert importances(chosen) == pytest.approx(importances(balanced))
    assert (shuffled(balanced, 3).hsv == shuffled(balanced, 3).hsv).all()
    assert (shuffled(balanced, 3).hsv != shuffled(balanced, 4).hsv).any()


# Gradients of L = Σ_t w[t] · y[t] for y = 2 Re(C x).


def gradients(eigenvalues, B, C, u, w):
    n = len(eigenvalues)
    x, states = np.zeros(n, complex), []
    for v in u:
        states.append(x)
        x = eigenvalues * x + B @ v
    after = [*states[1:], x]
    p, g_eigenvalues, g_B, g_C = np.zeros(n, complex), np.zeros(n, complex), 0.0, 0.0
    for t in reversed(range(len(u))):
        g_C = g_C + 2.0 * np.outer(w[t], after[t].conj())
        p = eigenvalues.conj() * p + 2.0 * C.conj().T @ w[t]
        g_eigenvalues = g_eigenvalues + p * states[t].conj()
        g_B = g_B + np.outer(p, u[t])
    return Gradients(g_eigenvalues, g_B, g_C)


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (2, 3)])
def test_moments_are_exact_where_nothing_is_lost(inputs, outputs):
    small = random_system(3, inputs, outputs, seed=1)
    eigenvalues = np.concatenate([small.eigenvalues[:2], [0.7 + 0j], [0.5 + 0.2j, 0.3 - 0.6j]])
    B, C = random_system(5, inputs, outputs, seed=2).B, random_system(5, inputs, outputs, seed=3).C
    B[2], C[:, 2], C[:, 3:] = B[2].real, C[:, 2].real, 0.0
    system = DiagonalSystem(eigenvalues, B, C)
    draw = np.random.default_rng(0)
    u, w = draw.standard_normal((30, inputs)), draw.standard_normal((30, outputs))
    modes = truncate_pairs(balance_pairs(system), 3, system).with_row_norms(1.0)
    assert modes.order == 5 and modes.real.sum() == 1
    found = transport_first(system, gradients(eigenvalues, B, C, u, w), modes)
    true = gradients(modes.eigenvalues, modes.B, modes.C, u, w)
    assert pytest.approx(np.where(modes.real, true.C.real, true.C), rel=1e-6, abs=1e-6) == found.C
    assert pytest.approx(np.where(modes.real[:, None], true.B.real, true.B), rel=1e-6, abs=1e-6) == found.B
    for here, wanted in zip(found.eigenvalues, true.eigenvalues, strict=True):
        assert here == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (2, 3)])
def test_gradients_of_poles_are_those_of_the_dense_state_matrix_in_any_basis(inputs, outputs):
    system, draw = random_system(4, inputs, outputs, seed=7), np.random.default_rng(0)
    u, w = draw.standard_normal((30, inputs)), draw.standard_normal((30, outputs))
    both = doubled(system)
    x, states, p, dense = np.zeros(8, complex), [], np.zeros(8, complex), 0.0
    for v in u:
        states.append(x)
        x = both.eigenvalues * x + both.B @ v
    for t in reversed(range(30)):  # adjoint of the stacked system: dL/dA = Σ p[t] x[t−1]ᴴ
        p = both.eigenvalues.conj() * p + both.C.conj().T @ w[t]
        dense = dense + np.outer(p, states[t].conj())
    modes = truncate_pairs(balance_pairs(system), 3, system)
    V, W = draw.standard_normal((2, 8, 3, 2)) @ [1.0, 1.0j]
    modes = replace(modes, V=V, W=W, real=np.zeros(3, bool), padding=np.zeros(3, bool))
    given = gradients(system.eigenvalues, system.B, system.C, u, w)
    found = transport_first(system, given, modes).eigenvalues
    assert found == pytest.approx(2.0 * np.diag(V.conj().T @ dense @ W), rel=1e-5)


def test_the_output_of_padding_learns_as_its_former_mode_did():
    system = siso([0.9, 0.5 + 0.3j, 0.3j], [1.0, 0.0, 0.0])
    modes = truncate_pairs(balance_pairs(system), 2, system)
    draw = np.random.default_rng(0)
    u, w = draw.standard_normal((2, 30, 1))
    given = gradients(system.eigenvalues, system.B, system.C, u, w)
    found = transport_first(system, given, modes)
    true = gradients(modes.eigenvalues, modes.B, modes.C, u, w)
    assert found.C[:, 1] == pytest.approx(true.C[:, 1], rel=1e-10)
    assert found.eigenvalues[1] == true.eigenvalues[1] == 0.0


def test_second_moments_are_those_of_many_independent_gradients():
    system = random_system(4, 1, 2, seed=5)
    modes = truncate_pairs(balance_pairs(system), 2, system)
    draw, size = np.random.default_rng(0), 100_000
    of_C = draw.standard_normal((size, 2, 4)) + 3j * draw.standard_normal((size, 2, 4))
    stacked = 0.5 * np.concatenate([of_C, of_C.conj()], axis=2)
    moved = 2.0 * stacked @ modes.W
    zeros = np.zeros((4, 1), complex)
    found = transport_second(Gradients(zeros[:, 0], zeros, np.full((2, 4), 1.0 + 9.0j)), modes).C
    assert found.real == pytest.approx((moved.real**2).mean(0), rel=0.05)
    assert found.imag == pytest.approx((moved.imag**2).mean(0), rel=0.05)
