"""Other choices of states: what they keep, and that the map of what they keep is exact."""

import numpy as np
import pytest

from hankelboard.trainer.layers.lru import LRU
from hankelboard.trainer.reduction.families.lru_parameters import system_from_parameters
from hankelboard.trainer.reduction.families.lru_reduction import propose, reduce, transport_moments, verify
from hankelboard.trainer.reduction.linear import kept_modes
from hankelboard.trainer.reduction.linear.hankel import DiagonalSystem, frequency_response
from hankelboard.trainer.reduction.linear.kept_modes import allocate, keep_modes, mode_scores, reordered
from hankelboard.trainer.reduction.linear.truncation import balance, truncate
from hankelboard.trainer.reduction.method import Method
from tests.trainer.reduction.linear.test_truncation import random_system

OMEGAS = np.linspace(0.0, 2.0 * np.pi, 4001)


def layer(width=4, state_dim=10):
    return LRU(width, state_dim).double().extract()


def test_the_score_of_last_is_the_squared_gain_of_a_mode_on_a_dense_grid():
    system = random_system(6, 3, 2)
    for mode, score in enumerate(mode_scores(system, "last")):
        angle = np.angle(system.eigenvalues[mode])
        grid = np.append(OMEGAS, angle)
        response = system.B[mode] / (np.exp(1j * grid) - system.eigenvalues[mode])[:, None]  # (F, H)
        gains = np.linalg.norm(response, axis=1) * np.linalg.norm(system.C[:, mode])
        assert np.sqrt(score) == pytest.approx(gains.max(), rel=1e-9)


@pytest.mark.parametrize(("method", "score"), [("last", 1e40), ("aire", 0.5e20)])
def test_scores_of_a_mode_nearer_to_the_circle_than_its_eigenvalue_tells_are_finite(method, score):
    one = np.ones((1, 1))
    system = DiagonalSystem(np.array([1.0]), one, one, np.array([-1e-20 + 0j]))
    assert mode_scores(system, method) == pytest.approx(score, rel=1e-12)


def test_the_score_of_aire_is_the_energy_of_the_impulse_response():
    system = random_system(6, 3, 2, moduli=(0.3, 0.9))
    powers = system.eigenvalues[:, None] ** np.arange(2000)  # (N, L)
    for mode, score in enumerate(mode_scores(system, "aire")):
        impulse = system.C[:, mode, None] * system.B[mode]  # (M, H)
        energy = (np.abs(powers[mode]) ** 2).sum() * (np.abs(impulse) ** 2).sum()
        assert score == pytest.approx(energy, rel=1e-9)


@pytest.mark.parametrize("method", kept_modes.MODAL)
def test_modes_are_kept_as_they_are(method):
    system = random_system(8, 3, 2)
    kept = keep_modes(system, method, 3)
    best = set(np.argsort(-mode_scores(system, method))[:3])
    assert {int(np.argmin(abs(system.eigenvalues - value))) for value in kept.eigenvalues} == best
    for index in range(3):
        mode = int(np.argmin(abs(system.eigenvalues - kept.eigenvalues[index])))
        assert (kept.B[index] == system.B[mode]).all()
        assert (kept.C[:, index] == system.C[:, mode]).all()


@pytest.mark.parametrize("method", ["smallest", "random"])
def test_balanced_states_are_kept_in_another_order(method):
    system = random_system(8, 3, 2)
    balanced = balance(system)
    order = reordered(balanced, method, seed=1).order
    assert sorted(order) == list(range(8))
    assert method != "smallest" or list(order) == list(range(8))[::-1]
    kept = truncate(reordered(balanced, method, seed=1), 3)
    V, W = balanced.bases(8)
    A = (W.conj().T * system.eigenvalues) @ V
    chosen = order[:3]
    assert kept.A_r == pytest.approx(A[np.ix_(chosen, chosen)], abs=1e-12)
    assert np.abs(kept.eigenvalues).max() < 1.0


def test_random_states_are_drawn_by_the_seed():
    balanced = balance(random_system(30, 3, 2))
    orders = [tuple(reordered(balanced, "random", seed).order) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


def test_the_strongest_states_beat_all_others():
    system = random_system(12, 3, 2)
    errors = {}
    for method in ("balanced", "random", "smallest"):
        balanced = balance(system) if method == "balanced" else reordered(balance(system), method, 0)
        kept = truncate(balanced, 6)
        reduced = type(system)(kept.eigenvalues, kept.B, kept.C)
        difference = frequency_response(system, OMEGAS) - frequency_response(reduced, OMEGAS)
        errors[method] = np.linalg.norm(difference)
    assert errors["balanced"] < errors["random"] < errors["smallest"]


@pytest.mark.parametrize("name", ["balanced", "smallest", "random", "last", "aire"])
def test_every_method_is_proposed_and_written_back_exactly(name):
    parameters, method = layer(), Method(name, seed=3)
    table = propose(parameters, method)
    assert list(table.hsv) == sorted(table.hsv, reverse=True)
    assert table.discarded_share == sorted(table.discarded_share, reverse=True)
    assert (table.discarded_share[0], table.discarded_share[-1]) == (pytest.approx(1.0), 0.0)
    assert (table.error_bound is None) == (name != "balanced")
    assert table.realisable[1:] == [True] * 10
    reduction = reduce(parameters, 4, method)
    assert verify(reduction.parameters, reduction) < 1e-10
    reduced = system_from_parameters(reduction.parameters)
    kept = reduction.truncation
    dense = [kept.C_r @ np.linalg.solve(np.exp(1j * w) * np.eye(4) - kept.A_r, kept.B_r) for w in OMEGAS[:50]]
    assert frequency_response(reduced, OMEGAS[:50]) == pytest.approx(np.array(dense), abs=1e-10)


@pytest.mark.parametrize("name", ["last", "aire"])
def test_moments_of_kept_modes_are_kept(name):
    parameters = layer()
    reduction = reduce(parameters, 4, Method(name))
    moments = {
        key: np.random.default_rng(0).standard_normal(value.shape) for key, value in parameters.items()
    }
    system = system_from_parameters(parameters)
    kept = [int(np.argmin(abs(system.eigenvalues - value))) for value in reduction.truncation.eigenvalues]
    first, _ = transport_moments(parameters, reduction, moments, {k: v**2 for k, v in moments.items()})
    assert first["C_re"] == pytest.approx(moments["C_re"][:, kept], abs=1e-12)
    assert first["D"] == pytest.approx(moments["D"])


def test_states_go_where_their_normalised_scores_are_largest():
    scores = [sorted(np.random.default_rng(layer).random(10), reverse=True) for layer in range(3)]
    normalised = [
        (value / sum(s[: i + 1]), layer) for layer, s in enumerate(scores) for i, value in enumerate(s)
    ]
    best = [layer for _, layer in sorted(normalised, reverse=True)[:12]]
    assert allocate(scores, 12) == [best.count(layer) for layer in range(3)]
    assert sum(allocate(scores, 12)) == 12
    assert allocate(scores, 1) == [1, 1, 1]
