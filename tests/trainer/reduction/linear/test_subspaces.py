"""Overlap, regret and order against their definitions and dense references, on random systems."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from hankelboard.trainer.reduction.linear.hankel import DiagonalSystem
from hankelboard.trainer.reduction.linear.subspaces import (
    balanced_in_canonical_scale,
    canonical,
    cut_regret,
    kept_bases,
    order_stability,
    overlap,
    overlap_of,
    random_overlap,
    random_regret,
    subspace_regret,
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
    regret = subspace_regret(balanced, V)
    assert 0.0 <= regret <= 1.0
    if balanced.hsv[-1] > 1e-6 * balanced.hsv[0]:
        assert regret == pytest.approx(dense_regret(system, V), abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.booleans())
def test_regret_of_the_final_choice_is_0_at_every_rank(seed, real):
    balanced = balance(random_system(seed, real=real))
    for rank in range(1, balanced.system.state_dim + 1):
        assert subspace_regret(balanced, balanced.bases(min(rank, balanced.numerical_rank))[0]) <= 1e-9
        assert cut_regret(balanced, *balanced.bases(min(rank, balanced.numerical_rank))) <= 1e-9


@settings(deadline=None, max_examples=30)
@given(SEEDS, SEEDS)
def test_regret_does_not_depend_on_the_basis_of_the_subspace(seed, other):
    balanced = balance(random_system(seed, n=7))
    V, mix = basis(other, 7, 3), basis(other + 1, 3, 3)
    assert subspace_regret(balanced, V) == pytest.approx(subspace_regret(balanced, V @ mix), abs=1e-9)


def test_regret_of_the_worst_choice_and_of_chance():
    system = DiagonalSystem(np.array([0.9, 0.5]), np.array([[1.0, 0.0], [0.0, 0.1]]), np.eye(2))
    balanced = balance(system)  # decoupled: the balanced states are the modes
    sigma = balanced.hsv
    worst = subspace_regret(balanced, np.array([[0.0], [1.0]], dtype=complex))
    assert worst == pytest.approx((sigma[0] - sigma[1]) / sigma.sum())
    assert random_regret(balanced, 1) == pytest.approx(worst / 2)  # either state is drawn as often
    assert random_regret(balanced, 2) == 0.0
    with pytest.raises(ValueError, match="nothing to regret"):
        subspace_regret(balance(DiagonalSystem(np.array([0.5]), np.zeros((1, 1)), np.ones((1, 1)))),
                         np.ones((1, 1), complex))  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(SEEDS, SEEDS, st.integers(1, 6), st.integers(1, 6))
def test_overlap_lies_in_0_to_1_and_is_symmetric(seed, other, r, s):
    V, W = basis(seed, 6, r), basis(other, 6, s)
    assert 0.0 <= overlap_of(V, W) <= 1.0
    assert overlap_of(V, W) == pytest.approx(overlap_of(W, V))
    assert overlap_of(V, V @ basis(other, r, r)) == pytest.approx(1.0)
    assert overlap_of(V[:, :1], V) == pytest.approx(1.0)  # one holds the other


def test_overlap_against_principal_angles():
    V, W = basis(0, 9, 3), basis(1, 9, 3)
    angles = scipy.linalg.subspace_angles(V, W)
    assert overlap_of(V, W) == pytest.approx(float((np.cos(angles) ** 2).mean()))
    assert overlap_of(np.eye(4, 2, dtype=complex), np.eye(4, dtype=complex)[:, 2:]) == 0.0


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


@st.composite
def moving_systems(draw):
    """Two snapshots of one layer: the later one moved a little, or a lot."""
    seed, step = draw(SEEDS), draw(st.sampled_from([0.0, 0.01, 0.3]))
    system, other = random_system(seed, n=8), random_system(seed + 1, n=8)
    rng = np.random.default_rng(seed + 2)
    B = system.B + step * rng.standard_normal(system.B.shape)
    C = system.C + step * rng.standard_normal(system.C.shape)
    return system, DiagonalSystem((1 - step) * system.eigenvalues + step * other.eigenvalues, B, C)


def rescaled(system, seed):
    """The same map with other modes: each scaled by a complex factor over six decades."""
    rng = np.random.default_rng(seed)
    d = 10.0 ** rng.uniform(-3, 3, system.state_dim) * np.exp(2j * np.pi * rng.random(system.state_dim))
    return DiagonalSystem(system.eigenvalues, system.B * d[:, None], system.C / d)


def permuted(system, places):
    return DiagonalSystem(system.eigenvalues[places], system.B[places], system.C[:, places])


def everything(before, now, rank):
    then, final = balanced_in_canonical_scale(before), balanced_in_canonical_scale(now)
    V, W = kept_bases(then, rank, final)
    return (
        subspace_regret(final, V), cut_regret(final, V, W), random_regret(final, rank),
        overlap(then, final, rank), order_stability(then, final, 5),
    )  # fmt: skip


@settings(deadline=None, max_examples=20)
@given(moving_systems(), SEEDS, SEEDS, st.integers(1, 5))
def test_the_scale_and_the_order_of_the_modes_change_nothing(systems, one, other, rank):
    before, now = systems
    told = everything(before, now, rank)
    assert everything(rescaled(before, one), rescaled(now, other), rank) == pytest.approx(told, abs=1e-6)
    places = np.random.default_rng(one).permutation(8)
    assert everything(permuted(before, places), permuted(now, places), rank) == pytest.approx(told, abs=1e-6)


@settings(deadline=None, max_examples=20)
@given(SEEDS, SEEDS, st.integers(1, 5))
def test_a_layer_whose_modes_were_rescaled_regrets_nothing(seed, other, rank):
    system = random_system(seed, n=8)
    nothing = everything(rescaled(system, other), system, rank)
    assert nothing[:2] == pytest.approx((0.0, 0.0), abs=1e-6)
    assert nothing[3:] == pytest.approx((1.0, 1.0), abs=1e-6)


def test_a_mode_that_passes_nothing_on_is_left_out_whatever_its_scale():
    silent = DiagonalSystem(np.array([0.9, 0.5, 0.3]), np.eye(3), np.diag([1.0, 0.5, 0.0]))
    louder = DiagonalSystem(silent.eigenvalues, silent.B * [[1.0], [1.0], [1e3]], silent.C)
    assert (canonical(louder).B == canonical(silent).B).all() and not canonical(louder).B[2].any()


@settings(deadline=None, max_examples=20)
@given(moving_systems(), st.integers(1, 7))
def test_regret_of_a_cut_is_that_of_the_hankel_operator_and_of_the_subspace_with_its_projector(systems, rank):
    then, final = (balanced_in_canonical_scale(system) for system in systems)
    V, W = kept_bases(then, rank, final)
    powers = final.system.eigenvalues[:, None] ** np.arange(400)  # (N, K)
    reach = (final.system.B[:, :, None] * powers[:, None, :]).reshape(8, -1)  # K steps before
    see = (final.system.C.T[:, :, None] * powers[:, None, :]).reshape(8, -1).T  # K steps after
    R, S = np.linalg.qr(see)[1], np.linalg.qr(reach.conj().T)[1].conj().T
    lost = np.linalg.svd(R @ (np.eye(8) - V @ W.conj().T) @ S, compute_uv=False).sum()
    sigma = np.linalg.svd(R @ S, compute_uv=False)
    if np.abs(final.system.eigenvalues).max() < 0.98:
        regret = cut_regret(final, V, W)
        assert regret == pytest.approx((lost - sigma[rank:].sum()) / sigma.sum(), abs=1e-3)
    n = final.numerical_rank
    T, inverse = final.bases(n)[0], final.bases(n)[1].conj().T  # x = T z
    if n == 8:
        Q = np.linalg.qr(inverse @ V)[0]
        orthogonal = cut_regret(final, T @ Q, inverse.conj().T @ Q)
        assert orthogonal == pytest.approx(subspace_regret(final, V), abs=1e-7)


def test_baselines_are_the_means_over_many_draws():
    balanced = balanced_in_canonical_scale(random_system(3, n=6))
    rng, sigma = np.random.default_rng(0), balanced.hsv
    drawn = [sigma[:2].sum() - sigma[rng.permutation(6)[:2]].sum() for _ in range(1000)]
    assert random_regret(balanced, 2) == pytest.approx(np.mean(drawn) / sigma.sum(), abs=0.02)
    overlaps = [overlap_of(basis(seed, 6, 2), basis(seed + 10_000, 6, 2)) for seed in range(300)]
    assert random_overlap(2, 6) == pytest.approx(np.mean(overlaps), abs=0.02)
