"""Overlap, regret and order against their definitions and dense references, on random systems."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from hankelboard.trainer.reduction.linear.hankel import DiagonalSystem
from hankelboard.trainer.reduction.linear.subspaces import (
    kept_subspace,
    order_stability,
    overlap,
    random_regret,
    selection_regret,
)
from hankelboard.trainer.reduction.linear.truncation import balance

SEEDS = st.integers(0, 10_000)


def random_system(seed, n=None, real=False):
    rng = np.random.default_rng(seed)
    n = n or int(rng.integers(1, 12))
    inputs, outputs = rng.integers(1, 5, 2)
    modulus = rng.uniform(0.2, 0.999, n)
    phase = np.where(rng.random(n) < 0.5, 0.0, np.pi) if real else rng.uniform(0, 2 * np.pi, n)

    def matrix(*shape):
        return rng.standard_normal(shape) + (0 if real else 1j * rng.standard_normal(shape))

    return DiagonalSystem(modulus * np.exp(1j * phase), matrix(n, inputs), matrix(outputs, n))


def basis(seed, n, r):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, r)) + 1j * rng.standard_normal((n, r))


def dense_regret(system, V):
    """By textbook: Lyapunov solutions, a square root, an explicit projector."""
    A = np.diag(system.eigenvalues)
    P = scipy.linalg.solve_discrete_lyapunov(A, system.B @ system.B.conj().T)
    Q = scipy.linalg.solve_discrete_lyapunov(A.conj().T, system.C.conj().T @ system.C)
    R = scipy.linalg.cholesky(P, lower=True)
    U, s2, _ = np.linalg.svd(R.conj().T @ Q @ R)
    sigma = np.sqrt(s2)
    T = R @ U / np.sqrt(sigma)  # x = T z balances: T⁻¹ P T⁻ᴴ = Tᴴ Q T = Σ
    X = np.linalg.solve(T, V)
    projector = X @ np.linalg.pinv(X)
    best = sigma[: V.shape[1]].sum()
    return (best - np.trace(projector @ np.diag(sigma)).real) / sigma.sum()


@settings(deadline=None, max_examples=60)
@given(SEEDS, SEEDS, st.booleans())
def test_regret_is_at_least_0_and_what_the_textbook_gives(seed, other, real):
    system = random_system(seed, n=6, real=real)
    rank = 1 + other % 6
    V = basis(other, 6, rank)
    balanced = balance(system)
    regret = selection_regret(balanced, V)
    assert 0.0 <= regret <= 1.0
    if balanced.hsv[-1] > 1e-6 * balanced.hsv[0]:
        assert regret == pytest.approx(dense_regret(system, V), abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.booleans())
def test_regret_of_the_final_choice_is_0_at_every_rank(seed, real):
    balanced = balance(random_system(seed, real=real))
    for rank in range(1, balanced.system.state_dim + 1):
        assert selection_regret(balanced, kept_subspace(balanced, rank)) <= 1e-9


@settings(deadline=None, max_examples=30)
@given(SEEDS, SEEDS)
def test_regret_does_not_depend_on_the_basis_of_the_subspace(seed, other):
    balanced = balance(random_system(seed, n=7))
    V, mix = basis(other, 7, 3), basis(other + 1, 3, 3)
    assert selection_regret(balanced, V) == pytest.approx(selection_regret(balanced, V @ mix), abs=1e-9)


def test_regret_of_the_worst_choice_and_of_chance():
    system = DiagonalSystem(np.array([0.9, 0.5]), np.array([[1.0, 0.0], [0.0, 0.1]]), np.eye(2))
    balanced = balance(system)  # decoupled: the balanced states are the modes
    sigma = balanced.hsv
    worst = selection_regret(balanced, np.array([[0.0], [1.0]], dtype=complex))
    assert worst == pytest.approx((sigma[0] - sigma[1]) / sigma.sum())
    assert 0.0 < np.mean([random_regret(balanced, 1, seed) for seed in range(50)]) < worst
    assert random_regret(balanced, 1, 3) == random_regret(balanced, 1, 3)  # by seed
    with pytest.raises(ValueError, match="nothing to regret"):
        selection_regret(balance(DiagonalSystem(np.array([0.5]), np.zeros((1, 1)), np.ones((1, 1)))),
                         np.ones((1, 1), complex))  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(SEEDS, SEEDS, st.integers(1, 6), st.integers(1, 6))
def test_overlap_lies_in_0_to_1_and_is_symmetric(seed, other, r, s):
    V, W = basis(seed, 6, r), basis(other, 6, s)
    assert 0.0 <= overlap(V, W) <= 1.0
    assert overlap(V, W) == pytest.approx(overlap(W, V))
    assert overlap(V, V @ basis(other, r, r)) == pytest.approx(1.0)
    assert overlap(V[:, :1], V) == pytest.approx(1.0)  # one holds the other


def test_overlap_against_principal_angles():
    V, W = basis(0, 9, 3), basis(1, 9, 3)
    angles = scipy.linalg.subspace_angles(V, W)
    assert overlap(V, W) == pytest.approx(float((np.cos(angles) ** 2).mean()))
    assert overlap(np.eye(4, 2, dtype=complex), np.eye(4, dtype=complex)[:, 2:]) == 0.0


def test_order_keeps_identities_while_values_change_places():
    modes = np.array([0.9, 0.8, 0.7, 0.6])
    strengths = np.array([4.0, 3.0, 2.0, 1.0])

    def decoupled(strength):
        return balance(DiagonalSystem(modes, np.diag(strength), np.eye(4)))

    now = decoupled(strengths)
    assert order_stability(now, now, 4) == pytest.approx(1.0)
    assert order_stability(now, decoupled(np.array([1.0, 2.0, 3.0, 4.0]) ** 4), 4) == pytest.approx(-1.0)
    swapped = decoupled(strengths * [1.0, 1.0, 0.2, 2.0])
    expected = 1.0 - 2.0 / 6.0  # one of six pairs changed places
    assert order_stability(now, swapped, 4) == pytest.approx(expected)
    assert order_stability(now, now, 1) is None
