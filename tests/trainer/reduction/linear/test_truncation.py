"""Balanced truncation: bound, exactness, ranks that cannot be realised."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from hankelboard.trainer.reduction.linear import truncation as truncation_module
from hankelboard.trainer.reduction.linear.hankel import (
    DiagonalSystem,
    difference,
    frequency_grid,
    frequency_response,
    hankel_singular_values,
)
from hankelboard.trainer.reduction.linear.truncation import (
    balance,
    balanced_truncation,
    checked_ranks,
    median_row_norm,
    realisable_ranks,
    realisations,
    scale_modes,
    truncate,
)


def random_system(n, inputs, outputs, seed=0, moduli=(0.3, 0.99), phase=2 * np.pi):
    rng = np.random.default_rng(seed)
    eigenvalues = rng.uniform(*moduli, n) * np.exp(1j * rng.uniform(0.0, phase, n))
    B = rng.standard_normal((n, inputs)) + 1j * rng.standard_normal((n, inputs))
    C = rng.standard_normal((outputs, n)) + 1j * rng.standard_normal((outputs, n))
    return DiagonalSystem(eigenvalues, B, C)


def modal(truncation):
    return DiagonalSystem(truncation.eigenvalues, truncation.B, truncation.C)


def dense_response(truncation, omegas):
    identity = np.eye(truncation.rank)
    return np.array(
        [
            truncation.C_r @ np.linalg.solve(np.exp(1j * w) * identity - truncation.A_r, truncation.B_r)
            for w in omegas
        ]
    )


def gain(system, omegas):
    return np.linalg.norm(frequency_response(system, omegas), ord=2, axis=(1, 2)).max()


def jordan_like_system(gap):
    """Two modes `gap` apart that act as one Jordan block, a strong one and a weak third mode."""
    eigenvalues = np.array([0.5, 0.5 + gap, -0.1])
    return DiagonalSystem(
        eigenvalues, np.array([[-1.0], [1.0], [1e-3]]) / gap, np.array([[1.0, 1.0, 1e-3 * gap]])
    )


def checked(balanced, ranks=None):
    return realisable_ranks(balanced, realisations(balanced, ranks))


@pytest.mark.parametrize(
    ("n", "width", "moduli", "phase"),
    [
        (2, 1, (0.3, 0.9), 6.28),
        (16, 1, (0.9, 0.999), 0.3),
        (24, 3, (0.9, 0.999), 6.28),
        (64, 2, (0.5, 0.99), 6.28),
    ],
)
def test_the_error_stays_below_twice_the_tail_at_every_frequency(n, width, moduli, phase):
    system = random_system(n, width, width, seed=n, moduli=moduli, phase=phase)
    balanced = balance(system)
    for rank in {1, n // 4 or 1, n // 2, n - 1}:
        if rank <= balanced.numerical_rank:
            reduced = modal(truncate(balanced, rank))
            omegas = np.concatenate([frequency_grid(system), frequency_grid(reduced, points=1)])
            error = gain(difference(system, reduced), omegas)
            bound = 2.0 * balanced.hsv[rank:].sum()
            assert error <= bound * (1 + 1e-9) + 1e-12 * balanced.hsv[0]


@pytest.mark.parametrize(("n", "width"), [(1, 1), (3, 2), (16, 1), (64, 1), (40, 4)])
def test_rank_n_gives_the_same_outputs_to_a_simulated_input(n, width):
    """Also for 64 SISO states, whose smallest σ are rounding: rank N discards nothing."""
    system = random_system(n, width, width, seed=n)
    kept = truncate(balance(system), n)
    u = np.random.default_rng(1).standard_normal((100, width))

    def outputs(eigenvalues, B, C):
        x, ys = np.zeros(n, complex), []
        for u_k in u:
            ys.append(C @ x)
            x = eigenvalues * x + B @ u_k
        return np.array(ys)

    before = outputs(system.eigenvalues, system.B, system.C)
    after = outputs(kept.eigenvalues, kept.B, kept.C)
    assert np.linalg.norm(after - before) < 1e-8 * np.linalg.norm(before)
    assert kept.condition == 1.0


@pytest.mark.parametrize(("n", "width"), [(4, 1), (12, 2), (40, 8), (64, 4)])
def test_the_square_root_route_itself_is_exact_when_only_noise_is_discarded(n, width):
    """One more state that is barely driven: cutting it is a change of basis of all the others."""
    system = random_system(n, width, width, seed=n)
    more = DiagonalSystem(
        np.append(system.eigenvalues, 0.2),
        np.vstack([system.B, np.full((1, width), 1e-9)]),
        np.hstack([system.C, np.full((width, 1), 1e-3)]),
    )
    reduced = modal(truncate(balance(more), n))
    omegas = frequency_grid(system)
    assert gain(difference(system, reduced), omegas) < 1e-8 * gain(system, omegas)


@pytest.mark.parametrize(("n", "width", "phase"), [(2, 1, 6.28), (16, 1, 0.3), (32, 4, 6.28), (64, 2, 6.28)])
def test_the_modal_form_is_the_dense_reduced_system_to_ten_digits(n, width, phase):
    system = random_system(n, width, width, seed=n, phase=phase)
    balanced = balance(system)
    for rank in {1, n // 2, min(n - 1, balanced.numerical_rank)}:
        reduced = truncate(balanced, rank)
        omegas = np.concatenate([np.linspace(0, 6.28, 40), np.angle(reduced.eigenvalues)])
        dense = dense_response(reduced, omegas)
        error = np.abs(frequency_response(modal(reduced), omegas) - dense).max()
        assert error <= 1e-10 * np.abs(dense).max()


def test_the_change_of_basis_is_biorthogonal_and_maps_the_system():
    system = random_system(20, 3, 2, seed=3)
    reduced = truncate(balance(system), 8)
    V, W = reduced.V_n, reduced.W_n
    np.testing.assert_allclose(W.conj().T @ V, np.eye(8), atol=1e-11)
    np.testing.assert_allclose(W.conj().T @ system.B, reduced.B, atol=1e-11)
    np.testing.assert_allclose(system.C @ V, reduced.C, atol=1e-11)
    A = W.conj().T @ (system.eigenvalues[:, None] * V)
    np.testing.assert_allclose(A, np.diag(reduced.eigenvalues), atol=1e-11)


def test_the_rest_is_balanced_both_gramians_are_the_kept_hsv():
    reduced = truncate(balance(random_system(20, 3, 2, seed=3)), 19)
    P = scipy.linalg.solve_discrete_lyapunov(reduced.A_r, reduced.B_r @ reduced.B_r.conj().T)
    Q = scipy.linalg.solve_discrete_lyapunov(reduced.A_r.conj().T, reduced.C_r.conj().T @ reduced.C_r)
    # In discrete time the truncated Gramians are only diagonal up to the discarded part of the state.
    discarded = reduced.hsv[19]
    np.testing.assert_allclose(P, np.diag(reduced.hsv[:19]), atol=20 * discarded)
    np.testing.assert_allclose(Q, np.diag(reduced.hsv[:19]), atol=20 * discarded)


def test_the_reduced_response_is_that_of_a_dense_textbook_computation():
    """Independent route: scipy's Lyapunov solver, eigh factors, an explicit N×N inverse."""
    system = random_system(10, 2, 2, seed=8, moduli=(0.3, 0.9))
    A = np.diag(system.eigenvalues)
    P = scipy.linalg.solve_discrete_lyapunov(A, system.B @ system.B.conj().T)
    Q = scipy.linalg.solve_discrete_lyapunov(A.conj().T, system.C.conj().T @ system.C)
    R = np.linalg.cholesky(P)
    squares, K = np.linalg.eigh(R.conj().T @ Q @ R)
    T = R @ K[:, ::-1] * squares[::-1] ** -0.25
    T_inv = np.linalg.inv(T)
    A_b, B_b, C_b = (T_inv @ A @ T)[:4, :4], (T_inv @ system.B)[:4], (system.C @ T)[:, :4]
    omegas = np.linspace(0, 6.28, 30)
    expected = [C_b @ np.linalg.solve(np.exp(1j * w) * np.eye(4) - A_b, B_b) for w in omegas]
    response = frequency_response(modal(truncate(balance(system), 4)), omegas)
    np.testing.assert_allclose(response, expected, atol=1e-8 * np.abs(expected).max())


def test_input_rows_have_the_median_norm_from_before():
    system = random_system(21, 3, 2, seed=3)
    reduced = truncate(balance(system), 8)
    np.testing.assert_allclose(np.linalg.norm(reduced.B, axis=1), median_row_norm(system.B), rtol=1e-12)


def test_scaling_the_modes_leaves_the_map_and_the_duality_alone():
    reduced = truncate(balance(random_system(9, 2, 2)), 4)
    scaled = scale_modes(reduced, np.array([0.1, 1.0, 7.0, 30.0]))
    np.testing.assert_allclose(np.linalg.norm(scaled.B, axis=1), [0.1, 1.0, 7.0, 30.0], rtol=1e-12)
    np.testing.assert_allclose(scaled.W_n.conj().T @ scaled.V_n, np.eye(4), atol=1e-9)
    omegas = np.linspace(0, 6, 9)
    np.testing.assert_allclose(
        frequency_response(modal(scaled), omegas), frequency_response(modal(reduced), omegas), rtol=1e-10
    )


@settings(max_examples=40, deadline=None)
@given(n=st.integers(2, 12), width=st.integers(1, 3), seed=st.integers(0, 2**31), data=st.data())
def test_every_realised_rank_is_stable_biorthogonal_and_within_its_bound(n, width, seed, data):
    system = random_system(n, width, width, seed)
    balanced = balance(system)
    rank = data.draw(st.integers(1, n))
    if not checked(balanced)[0][rank]:
        with pytest.raises(ValueError, match=f"rank {rank} cannot be realised"):
            truncate(balanced, rank)
        return
    reduced = truncate(balanced, rank)
    assert reduced.rank == rank
    assert (np.abs(reduced.eigenvalues) < 1.0).all()
    slack = 1e-14 * n * balanced.hsv[0] / balanced.hsv[rank - 1] * reduced.condition
    np.testing.assert_allclose(reduced.W_n.conj().T @ reduced.V_n, np.eye(rank), atol=max(1e-10, slack))
    error = gain(difference(system, modal(reduced)), frequency_grid(system, points=64))
    assert error <= 2.0 * balanced.hsv[rank:].sum() * (1 + 1e-9) + 1e-11 * balanced.hsv[0]


@pytest.mark.parametrize("rank", [-1, 0, 4])
def test_ranks_outside_one_to_n_are_refused(rank):
    with pytest.raises(ValueError, match=f"rank = {rank}: must be between 1 and the state dimension 3"):
        truncate(balance(random_system(3, 1, 1)), rank)


def test_a_layer_that_passes_nothing_on_is_refused_at_every_rank():
    balanced = balance(DiagonalSystem(np.array([0.5, 0.9]), np.zeros((2, 1)), np.ones((1, 2))))
    for rank in (1, 2):
        with pytest.raises(ValueError, match="passes nothing on"):
            truncate(balanced, rank)
    assert checked(balanced) == ([False] * 3, [None] * 3)


def test_singular_gramians_are_cut_exactly_to_what_is_left_and_no_further_rank_is_offered():
    """A duplicated mode, one that is not driven and one that is not seen leave 2 of 5 states."""
    eigenvalues = np.array([0.5, 0.5, 0.9, -0.3, -0.8])
    B = np.array([[1.0], [2.0], [0.0], [1.0], [1.0]])
    C = np.array([[1.0, 1.0, 5.0, 0.0, 1.0]])
    balanced = balance(DiagonalSystem(eigenvalues, B, C))
    realisable, condition = checked(balanced)
    assert realisable == [False, True, True, False, False, True]
    assert [value is None for value in condition] == [True, False, False, True, True, False]
    reduced = truncate(balanced, 2)
    np.testing.assert_allclose(np.sort(reduced.eigenvalues.real), [-0.8, 0.5], atol=1e-7)
    omegas = frequency_grid(balanced.system)
    assert gain(difference(balanced.system, modal(reduced)), omegas) < 1e-7
    with pytest.raises(ValueError, match=r"rank 3 cannot be realised: .*numerical rank is 2"):
        truncate(balanced, 3)
    np.testing.assert_array_equal(truncate(balanced, 5).B, B)


def test_zero_and_real_eigenvalues_of_both_signs_survive_a_cut():
    system = DiagonalSystem(
        np.array([0.0, 0.7, -0.7, 0.2]), np.array([[1.0, 0], [1, 1], [1, -1], [1e-9, 0]]), np.eye(4)[:3]
    )
    reduced = truncate(balance(system), 3)
    np.testing.assert_allclose(np.sort(reduced.eigenvalues.real), [-0.7, 0.0, 0.7], atol=1e-8)


def test_a_mode_very_near_the_circle_is_kept_and_the_weak_one_cut():
    logarithms = np.array([-1e-12 + 1.0j, -0.5 + 2.0j])
    system = DiagonalSystem(np.exp(logarithms), np.ones((2, 1)), np.ones((1, 2)), logarithms)
    reduced = truncate(balance(system), 1)
    np.testing.assert_allclose(np.log(reduced.eigenvalues)[0], logarithms[0], atol=1e-13)


def test_a_mode_that_the_precision_puts_on_the_circle_is_refused_not_cut():
    logarithms = np.array([-1e-18 + 0.0j, -0.5 + 2.0j])
    system = DiagonalSystem(np.exp(logarithms), np.ones((2, 1)), np.ones((1, 2)), logarithms)
    with pytest.raises(ValueError, match="rank 1 cannot be realised: an eigenvalue has modulus"):
        truncate(balance(system), 1)
    assert checked(balance(system))[0] == [False, False, True]


def test_a_reduced_matrix_close_to_a_jordan_block_is_refused_with_its_condition(monkeypatch):
    """Rounding alone splits a double eigenvalue: 3e3 is as bad as it gets, so the limit is lowered here."""
    balanced = balance(jordan_like_system(gap=1e-4))
    assert 1e3 < truncate(balanced, 2).condition < 1e4
    monkeypatch.setattr(truncation_module, "CONDITION_LIMIT", 1e3)
    with pytest.raises(ValueError, match=r"rank 2 cannot be realised: cond\(E\) = .* exceeds 1e\+03"):
        truncate(balanced, 2)
    realisable, condition = checked(balanced)
    assert realisable[2] is False and condition[2] > 1e3


def test_proposed_conditions_are_those_of_the_truncations():
    balanced = balance(random_system(12, 2, 2))
    realisable, condition = checked(balanced)
    assert realisable == [False] + [True] * 12
    for rank in range(1, 13):
        assert truncate(balanced, rank).condition == pytest.approx(condition[rank], rel=1e-6)


def test_large_layers_have_a_fixed_grid_of_checked_ranks():
    assert checked_ranks(1) == []
    assert checked_ranks(128) == list(range(1, 128))
    assert checked_ranks(400)[:64] == list(range(1, 65))
    assert checked_ranks(400)[64:] == [
        72,
        80,
        88,
        96,
        104,
        112,
        120,
        *range(128, 256, 16),
        256,
        288,
        320,
        352,
        384,
    ]
    balanced = balance(random_system(136, 8, 8, moduli=(0.9, 0.999)))
    realisable, condition = checked(balanced)
    assert len(realisable) == len(condition) == 137
    assert [rank for rank, value in enumerate(realisable) if value is None] == [
        rank for rank in range(1, 136) if rank not in checked_ranks(136)
    ]
    assert checked(balanced, [70])[0][70] is True


def test_the_convenience_checks_its_input_and_names_the_symmetry_it_lacks():
    reduced = balanced_truncation([0.5, -0.5], [[1.0], [1.0]], [[1.0, 0.1]], 1)
    np.testing.assert_allclose(reduced.hsv, hankel_singular_values([0.5, -0.5], [[1.0], [1.0]], [[1.0, 0.1]]))
    with pytest.raises(ValueError, match="B holds a value that is not finite"):
        balanced_truncation([0.5], [[np.nan]], [[1.0]], 1)
    with pytest.raises(ValueError, match="symmetry = 'real'"):
        balanced_truncation([0.5], [[1.0]], [[1.0]], 1, symmetry="real")
