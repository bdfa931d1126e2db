import copy

import numpy as np
import pytest
import scipy.linalg
import torch

from hankelboard.trainer.layers.linear_attention import Retention
from hankelboard.trainer.layers.recurrences.scalar_decay import scalar_decay_states
from hankelboard.trainer.layers.scalar_decay_core import StateMoments
from hankelboard.trainer.reduction.measured import matrix_states
from hankelboard.trainer.reduction.measured.matrix_states import MatrixStatistics, MatrixSystem
from hankelboard.trainer.reduction.method import Method

N = 12


def calibrated(seed=0, method="balanced", states=N, heads=3, length=160):
    """A layer in double precision and the inputs it was calibrated on; correlated, as a network's are."""
    torch.manual_seed(seed)
    layer = Retention(16, states, heads, 5, method=Method(method, seed)).double()
    strength = torch.logspace(0.0, -1.0, 16).double()
    rotation = torch.linalg.qr(torch.randn(16, 16).double())[0]
    x = torch.randn(8, length, 16).double() * strength @ rotation
    with torch.no_grad(), layer.observing():
        layer(x[:4])
        layer(x[4:])
    return layer, x


def cut(layer, rank):
    """A copy of the layer at this rank, and the reduction."""
    reduction = layer.reduce(layer.extract(), rank)
    trial = copy.deepcopy(layer)
    trial.write_back(reduction)
    return trial, reduction


def outputs(layer, x):
    with torch.no_grad():
        return layer(x).numpy()


def states(layer, x):
    with torch.no_grad():
        _, k, v = layer._projected(x)
        return torch.cat([block for _, block in scalar_decay_states(k, v, layer.log_decay)], dim=1).numpy()


def random_moments(groups=2, states=6, seed=0):
    draw = np.random.default_rng(seed)
    factors = draw.standard_normal((2, groups, states, states)) * np.logspace(0, -2, states)
    return factors @ factors.transpose(0, 1, 3, 2)


def system_of(P, Q, seed=1):
    keys, queries = np.random.default_rng(seed).standard_normal((2, *P.shape[:2], 9))
    return MatrixSystem(keys, queries, MatrixStatistics(P=P, Q=Q, samples=[]))


def energy_of_error(V, W, P, Q):
    """E‖((I − V Wᵀ) S)ᵀ q‖² for independent S and q."""
    rest = np.eye(len(P)) - V @ W.T
    return np.trace(rest @ P @ rest.T @ Q)


def test_a_change_of_basis_of_keys_and_queries_changes_nothing():
    layer, x = calibrated()
    T = np.random.default_rng(0).standard_normal((3, N, N)) + 3.0 * np.eye(N)
    keys, queries = layer.linear_maps()
    moved = copy.deepcopy(layer)
    moved.replace(np.linalg.inv(T) @ keys, T.transpose(0, 2, 1) @ queries)
    assert np.abs(outputs(moved, x) - outputs(layer, x)).max() < 1e-10 * np.abs(outputs(layer, x)).max()
    with torch.no_grad(), moved.observing():
        moved(x)
    for rank in range(1, N + 1):
        share, other = (each.propose(each.extract()).discarded_share[rank] for each in (layer, moved))
        assert share == pytest.approx(other, rel=1e-6, abs=1e-10)
    first, second = outputs(cut(layer, 4)[0], x), outputs(cut(moved, 4)[0], x)
    assert np.abs(first - second).max() < 1e-6 * np.abs(first).max()


@pytest.mark.parametrize("rank", [1, 5, 11])
def test_the_reduced_state_is_the_projected_state_at_every_step(rank):
    layer, x = calibrated()
    trial, reduction = cut(layer, rank)
    wanted = np.einsum("hnr,bthnp->bthrp", reduction.W, states(layer, x))
    found = states(trial, x)
    assert np.abs(found - wanted).max() < 1e-10 * np.abs(wanted).max()
    worst = np.abs(found - wanted).max(axis=(0, 2, 3, 4))  # (L,)
    assert worst[-20:].max() < 1e-10 * np.abs(wanted[:, -20:]).max()


def test_the_error_is_that_of_the_projection_at_the_same_step():
    layer, x = calibrated()
    trial, reduction = cut(layer, 5)
    rest = np.eye(N) - reduction.V @ reduction.W.transpose(0, 2, 1)  # (heads, N, N)
    with torch.no_grad():
        q = layer._projected(x)[0].numpy()
    wanted = np.einsum("hnm,bthmp,bthn->bthp", rest, states(layer, x), q)
    found = outputs(layer, x) - outputs(trial, x)
    assert np.abs(found - wanted).max() < 1e-10 * np.abs(wanted).max()


@pytest.mark.parametrize("method", ["balanced", "diagonal", "random"])
def test_shares_are_squares_of_the_measured_error(method):
    for seed in range(3):
        layer, x = calibrated(seed, method)
        table, full = layer.propose(layer.extract()), outputs(layer, x)
        for rank in (2, 4, 6, 9):
            measured = np.linalg.norm(outputs(cut(layer, rank)[0], x) - full) / np.linalg.norm(full)
            told = np.sqrt(table.discarded_share[rank])  # falls with the rank, as random errors need not
            assert told == pytest.approx(measured, rel=0.05 if method == "random" else 1e-6)


def test_balanced_is_better_than_diagonal_and_that_than_random():
    errors = {}
    for seed in range(5):
        for method in ("balanced", "diagonal", "random"):
            layer, x = calibrated(seed, method)
            full = outputs(layer, x)
            error = np.linalg.norm(outputs(cut(layer, 6)[0], x) - full) / np.linalg.norm(full)
            errors.setdefault(method, []).append(error)
    means = {method: np.mean(values) for method, values in errors.items()}
    assert means["balanced"] < 0.5 * means["diagonal"]
    assert means["diagonal"] < 0.9 * means["random"]


def test_importances_are_the_eigenvalues_of_the_product_of_the_moments():
    P, Q = random_moments()
    wanted = sum(np.sort(scipy.linalg.eigvals(P[g] @ Q[g]).real)[::-1] for g in range(2))
    assert matrix_states.spectrum(system_of(P, Q)) == pytest.approx(wanted, rel=1e-6)


def test_the_predicted_energy_is_that_of_the_projection_and_no_other_loses_less():
    P, Q = random_moments(groups=1)
    system = system_of(P, Q)
    importances, draw = matrix_states.spectrum(system), np.random.default_rng(2)
    for rank in range(1, 6):
        reduction = matrix_states.reduce(system, rank, Method())
        V, W = reduction.V[0], reduction.W[0]
        assert np.abs(W.T @ V - np.eye(rank)).max() < 1e-10
        least = energy_of_error(V, W, P[0], Q[0])
        assert least == pytest.approx(importances[rank:].sum(), rel=1e-6)
        for scale in (1e-3, 1e-2, 1e-1):
            V_o, W_o = (B + scale * np.abs(B).mean() * draw.standard_normal(B.shape) for B in (V, W))
            V_o = V_o @ np.linalg.inv(W_o.T @ V_o)
            assert energy_of_error(V_o, W_o, P[0], Q[0]) >= least * (1 - 1e-9)


def test_the_diagonal_keeps_what_is_largest_in_both_moments():
    P, Q = random_moments()
    reduction = matrix_states.reduce(system_of(P, Q), 3, Method("diagonal"))
    kept = np.sort(np.argsort(-np.diag(P[0]) * np.diag(Q[0]))[:3])
    assert (reduction.V[0] == np.eye(6)[:, kept]).all() and (reduction.W[0] == reduction.V[0]).all()


def test_new_keys_are_as_long_as_the_old_ones():
    layer, _ = calibrated()
    system = layer.extract()
    reduction = layer.reduce(system, 5)
    for head in range(3):
        before = np.median(np.linalg.norm(system.keys[head], axis=1))
        assert np.linalg.norm(reduction.keys[head], axis=1) == pytest.approx(before, rel=1e-10)


@pytest.mark.parametrize("method", ["balanced", "diagonal"])
def test_gradients_are_carried_along_exactly_but_for_the_error_of_the_output(method):
    layer, x = calibrated(method=method)
    with torch.no_grad():  # only 5 of the 12 key directions are used: a cut to 5 makes no error
        for head in range(3):
            layer.W_k[head, 5:] = 0.0
            layer.W_q[head, 5:] = 0.0
        with layer.observing():
            layer(x)
    for rank, tolerance in ((5, 1e-8), (3, None)):
        trial, reduction = cut(layer, rank)
        first, wanted = gradients(layer, x), gradients(trial, x)
        moved, _ = layer.transport_moments(reduction, first, {name: g**2 for name, g in first.items()})
        for name in ("W_k", "W_q"):
            cosine = (moved[name] * wanted[name]).sum()
            cosine /= np.linalg.norm(moved[name]) * np.linalg.norm(wanted[name])
            assert cosine > 0.9
            if tolerance is not None:
                assert np.abs(moved[name] - wanted[name]).max() < tolerance * np.abs(wanted[name]).max()
        assert (moved["W_v"] == first["W_v"]).all()


def gradients(layer, x):
    layer.zero_grad()
    layer(x).pow(2).mean().backward()
    return {name: parameter.grad.numpy().copy() for name, parameter in layer.named_parameters()}


def test_variances_are_at_least_the_squares_of_averages():
    layer, x = calibrated()
    _, reduction = cut(layer, 5)
    first = gradients(layer, x)
    moved, squares = layer.transport_moments(reduction, first, {name: g**2 for name, g in first.items()})
    assert all((squares[name] >= moved[name] ** 2 * (1 - 1e-12)).all() for name in first)


def test_keys_that_depend_on_each_other_can_be_cut_to_any_rank():
    layer, x = calibrated()
    with torch.no_grad():
        layer.W_k[:, 4:] = layer.W_k[:, :1]  # 4 directions of states, 6 of queries
        layer.W_q[:, 6:] = 0.0
        with layer.observing():
            layer(x)
    table = layer.propose(layer.extract())
    assert table.discarded_share[4] < 1e-12 < table.discarded_share[3]
    assert table.realisable[1:] == [True] * N
    assert np.isfinite(table.condition[1:]).all()
    for rank in (4, 5, 8, 11):
        trial, reduction = cut(layer, rank)
        identity = reduction.W.transpose(0, 2, 1) @ reduction.V
        assert np.abs(identity - np.eye(rank)).max() < 1e-8
        assert outputs(trial, x) == pytest.approx(outputs(layer, x), abs=1e-10)


def test_a_head_that_is_silent_stops_no_other():
    for method in ("balanced", "diagonal"):
        layer, x = calibrated(method=method)
        with torch.no_grad():
            layer.W_v[1] = 0.0
            with layer.observing():
                layer(x)
        trial, _ = cut(layer, 11)
        assert (outputs(trial, x)[:, :, 1] == 0.0).all()
        assert layer.propose(layer.extract()).discarded_share[0] == 1.0


@pytest.mark.parametrize("method", ["balanced", "diagonal", "random"])
def test_a_layer_that_passes_nothing_on_gets_no_proposal(method):
    layer, x = calibrated(method=method)
    with torch.no_grad():
        layer.W_v.zero_()
        with layer.observing():
            layer(x)
    with pytest.raises(ValueError, match="passes nothing on"):
        layer.propose(layer.extract())


def test_moments_are_means_over_steps_summed_over_the_heads_of_a_group():
    torch.manual_seed(0)
    q, k = torch.randn(2, 3, 20, 2, 4, dtype=torch.float64)  # 2 groups of 2 heads
    v, log_decay = torch.randn(3, 20, 4, 5, dtype=torch.float64), -torch.rand(3, 20, 4, dtype=torch.float64)
    observer = StateMoments()
    observer.see(q[:2], k[:2], v[:2], log_decay[:2])
    observer.see(q[2:], k[2:], v[2:], log_decay[2:])
    P, Q = observer.statistics().P, observer.statistics().Q
    S = torch.cat([block for _, block in scalar_decay_states(k, v, log_decay)], dim=1).numpy()
    for group in range(2):
        both = S[:, :, 2 * group : 2 * group + 2]
        assert pytest.approx(np.einsum("bthnp,bthmp->nm", both, both) / 60) == P[group]
        assert pytest.approx(np.einsum("btn,btm->nm", q[:, :, group], q[:, :, group]) / 60) == Q[group]
