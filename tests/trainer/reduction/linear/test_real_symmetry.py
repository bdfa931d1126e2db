"""Truncation of the real map y = Re(C x): against Lyapunov solvers, a plain loop, the complex truncation."""

import numpy as np
import pytest
import scipy.linalg

from hankelboard.trainer.layers.lru import LRU
from hankelboard.trainer.reduction.families.lru_parameters import system_from_parameters
from hankelboard.trainer.reduction.families.lru_reduction import propose, reduce
from hankelboard.trainer.reduction.linear import real_symmetry
from hankelboard.trainer.reduction.linear.hankel import DiagonalSystem, frequency_response
from hankelboard.trainer.reduction.linear.real_symmetry import balance_real, real_gramians, truncate_real
from hankelboard.trainer.reduction.linear.truncation import balance, truncate
from hankelboard.trainer.reduction.method import Method
from tests.trainer.reduction.linear.test_truncation import random_system

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


def modal(kept):
    return DiagonalSystem(kept.eigenvalues, kept.B, kept.C)


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


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_the_error_lies_within_the_bound_of_the_real_realisation(rank):
    system = random_system(8, 2, 2)
    balanced = balance_real(system)
    kept = truncate_real(balanced, rank)
    order = real_symmetry.order_for(balanced, rank)
    error = np.linalg.norm(real_response(system) - real_response(modal(kept)), ord=2, axis=(1, 2)).max()
    assert kept.rank == rank
    assert error <= 2.0 * balanced.hsv[order:].sum() * (1 + 1e-9)
    assert error >= 0.5 * balanced.hsv[order]  # the grid may miss the peak


def test_a_layer_that_is_cut_computes_the_dense_real_system():
    parameters = LRU(3, 8).double().extract()
    reduction = reduce(parameters, 4, Method(symmetry="real"))
    cut = system_from_parameters(reduction.parameters)
    balanced = balance_real(system_from_parameters(parameters))
    order = real_symmetry.order_for(balanced, 4)
    A, B, C = balanced.A[:order, :order], balanced.B[:order], balanced.C[:, :order]
    u = np.random.default_rng(0).standard_normal((40, 3))
    z, x = np.zeros(order), np.zeros(reduction.rank, complex)
    for step in u:
        z, x = A @ z + B @ step, cut.eigenvalues * x + cut.B @ step
        assert (cut.C @ x).real == pytest.approx(C @ z, abs=1e-10)


def test_at_equal_modes_it_beats_the_complex_truncation_of_narrow_layers():
    errors = []
    for seed in range(5):
        system = random_system(64, 1, 1, seed=seed, moduli=(0.9, 0.99))
        full = real_response(system)
        kept = [truncate_real(balance_real(system), 32), truncate(balance(system), 32)]
        assert kept[0].rank == 32
        errors.append([np.abs(full - real_response(modal(one))).max() for one in kept])
    real, complex_ = np.mean(errors, axis=0)
    assert real < 0.5 * complex_


def test_real_eigenvalues_are_stored_as_one_mode():
    system = DiagonalSystem(np.array([0.9, 0.5]), np.array([[1.0], [0.5]]), np.array([[1.0, 0.3]]))
    kept = truncate_real(balance_real(system), 1)
    assert kept.rank == 1 and abs(kept.eigenvalues[0].imag) == 0.0


def test_a_proposal_counts_stored_modes():
    parameters = LRU(3, 8).double().extract()
    table = propose(parameters, Method(symmetry="real"))
    assert len(table.hsv) == 8 and len(table.discarded_share) == 9
    assert table.realised_modes[0] == 0 and table.realised_modes[8] == 8
    assert all(modes <= rank for rank, modes in enumerate(table.realised_modes))
    assert table.error_bound[8] == 0.0
    hsv = balance_real(system_from_parameters(parameters)).hsv
    assert table.error_bound[3] == pytest.approx(2.0 * hsv[6:].sum(), rel=1e-9)
