"""Truncation of the real map y = Re(C x): against Lyapunov solvers, a plain loop, the complex truncation."""

import numpy as np
import pytest
import scipy.linalg

from hankelboard.trainer.layers.lru import LRU
from hankelboard.trainer.reduction.families.lru_evidence import inspect
from hankelboard.trainer.reduction.families.lru_parameters import system_from_parameters
from hankelboard.trainer.reduction.families.lru_reduction import balance_halves, propose, reduce, verify
from hankelboard.trainer.reduction.linear.conjugate_pairs import order_for
from hankelboard.trainer.reduction.linear.hankel import frequency_response
from hankelboard.trainer.reduction.linear.real_symmetry import balance_real, real_gramians
from hankelboard.trainer.reduction.method import Method
from tests.trainer.reduction.families.test_lru_parameters import random_parameters
from tests.trainer.reduction.linear.test_truncation import random_system

REAL = Method(symmetry="real")

OMEGAS = np.linspace(0.0, np.pi, 1001)


def real_matrices(system):
    A = np.diag(system.eigenvalues)
    return (
        np.block([[A.real, -A.imag], [A.imag, A.real]]),
        np.concatenate([system.B.real, system.B.imag]),
        np.concatenate([system.C.real, -system.C.imag], axis=1),
    )


def real_response(system):
    """Of u -> Re(C x)."""
    return 0.5 * (frequency_response(system, OMEGAS) + frequency_response(system, -OMEGAS).conj())


@pytest.mark.parametrize("n", [1, 2, 7])
def test_its_gramians_are_those_of_a_lyapunov_solver(n):
    system = random_system(n, 3, 2, seed=n)
    A, B, C = real_matrices(system)
    P, Q = real_gramians(system)
    assert pytest.approx(scipy.linalg.solve_discrete_lyapunov(A, B @ B.T), rel=1e-9, abs=1e-9) == P
    assert pytest.approx(scipy.linalg.solve_discrete_lyapunov(A.T, C.T @ C), rel=1e-9, abs=1e-9) == Q


def test_its_singular_values_are_those_of_the_dense_real_system():
    system = random_system(6, 3, 2)
    A, B, C = real_matrices(system)
    P = scipy.linalg.solve_discrete_lyapunov(A, B @ B.T)
    Q = scipy.linalg.solve_discrete_lyapunov(A.T, C.T @ C)
    expected = np.sort(np.sqrt(np.abs(scipy.linalg.eigvals(P @ Q))))[::-1]
    assert balance_real(system).hsv == pytest.approx(expected, rel=1e-6)


def map_of(parameters):
    return real_response(system_from_parameters(parameters))


@pytest.mark.parametrize("rank", range(1, 8))
def test_the_error_lies_in_its_interval(rank):
    parameters = random_parameters(8, 2)
    reduction = reduce(parameters, rank, REAL)
    error = np.linalg.norm(map_of(parameters) - map_of(reduction.parameters), ord=2, axis=(1, 2)).max()
    low, high = inspect(parameters, reduction, None)["error_interval"]
    assert reduction.rank == rank
    assert 0.5 * low <= error <= high  # the grid may miss the peak
    assert high == pytest.approx(propose(parameters, REAL).error_bound[rank], rel=1e-9)
    assert verify(reduction.parameters, reduction) < 1e-12


def test_a_layer_that_is_cut_computes_the_dense_real_system():
    parameters = LRU(3, 8).double().extract()
    reduction = reduce(parameters, 4, REAL)
    cut, dense = system_from_parameters(reduction.parameters), reduction.modes
    u = np.random.default_rng(0).standard_normal((40, 3))
    z, x = np.zeros(dense.order), np.zeros(reduction.rank, complex)
    for step in u:
        z, x = dense.A_r @ z + dense.B_r @ step, cut.eigenvalues * x + cut.B @ step
        assert (cut.C @ x).real == pytest.approx(dense.C_r @ z, abs=1e-10)


def test_at_equal_modes_it_beats_the_complex_truncation_of_narrow_layers():
    errors = []
    for seed in range(5):
        parameters = random_parameters(64, 1, seed, moduli=(0.9, 0.99))
        kept = [map_of(reduce(parameters, 32, method).parameters) for method in (REAL, Method())]
        errors.append([np.abs(map_of(parameters) - one).max() for one in kept])
    real, complex_ = np.mean(errors, axis=0)
    assert real < 0.5 * complex_


def all_real(n, width, seed=0):
    """Every pole on the positive axis, θ = 2π, with complex B and C: each is two real states."""
    parameters = random_parameters(n, width, seed)
    return parameters | {"theta_log": np.full(n, np.log(2.0 * np.pi))}


def test_with_real_poles_shares_and_bounds_are_of_the_order_that_is_cut():
    """A real pole takes a mode and one singular value: rank 2 here is order 2, not 4."""
    parameters = all_real(16, 2)
    table = propose(parameters, REAL)
    balanced = balance_halves(system_from_parameters(parameters))
    tails = np.append(np.cumsum(balanced.hsv[::-1])[::-1], 0.0)  # (33,)
    wrong = 0
    for rank in range(1, 16):
        reduction = reduce(parameters, rank, REAL)
        order = reduction.modes.order
        assert order == order_for(balanced, rank) and rank <= order <= 2 * rank
        assert table.discarded_share[rank] == pytest.approx(tails[order] / tails[0], rel=1e-9)
        wrong += order < 2 * rank and tails[order] > 1.5 * tails[2 * rank]
        error = np.linalg.norm(map_of(parameters) - map_of(reduction.parameters), ord=2, axis=(1, 2)).max()
        assert error <= table.error_bound[rank]
    assert wrong > 5


def test_every_rank_can_be_realised_with_padding_where_modes_are_left_over():
    parameters = random_parameters(6, 2)
    for name in ("C_re", "C_im"):
        parameters[name][:, 1:] = 0.0  # one pole is seen: two real states
    reduction = reduce(parameters, 3, REAL)
    assert (reduction.rank, reduction.modes.order, reduction.modes.padding.sum()) == (3, 2, 2)
    assert np.abs(map_of(parameters) - map_of(reduction.parameters)).max() < 1e-12
    assert propose(parameters, REAL).discarded_share[1:] == pytest.approx([0.0] * 6, abs=1e-12)


def test_a_proposal_counts_stored_modes():
    parameters = LRU(3, 8).double().extract()
    table = propose(parameters, REAL)
    assert len(table.hsv) == 8 and len(table.discarded_share) == 9
    assert table.realised_modes == list(range(9)) and table.realisable == [False] + [True] * 8
    assert table.error_bound[8] == 0.0


def test_a_layer_that_passes_nothing_on_is_not_cut():
    parameters = random_parameters(3, 2)
    silent = parameters | {name: np.zeros_like(parameters[name]) for name in ("C_re", "C_im")}
    for ask in (lambda: propose(silent, REAL), lambda: reduce(silent, 2, REAL)):
        with pytest.raises(ValueError, match="passes nothing on"):
            ask()
