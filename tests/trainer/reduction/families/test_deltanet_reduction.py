import numpy as np
import pytest
import torch

from hankelboard.trainer.layers.deltanet import GatedDeltaRule
from hankelboard.trainer.layers.recurrences.delta_rule import delta_rule, delta_rule_states
from hankelboard.trainer.reduction.families import deltanet_reduction
from hankelboard.trainer.reduction.families.deltanet_reduction import DeltaNetReduction
from hankelboard.trainer.reduction.method import Method


def calibrated(states=8, seed=0, method="balanced", sequences=4, heads=2):
    """A recurrence in double precision and its calibration inputs; correlated, as a network's are."""
    torch.manual_seed(seed)
    layer = GatedDeltaRule(6, states, heads, 3, 3, method=Method(method, seed)).double()
    with torch.no_grad():
        layer.inner.weight *= 3.0
        x = torch.randn(sequences, 40, 6).double() @ torch.randn(6, 6).double()
        observe(layer, x[: sequences // 2], x[sequences // 2 :])
    return layer, x


def observe(layer, *batches):
    with torch.no_grad(), layer.observing():
        for x in batches:
            layer(x)


def outputs(layer, x):
    with torch.no_grad():
        return layer(x).numpy()


def inside(layer, x):
    """q, k, v, β, log a."""
    with torch.no_grad():
        keys = layer._keys_and_values(layer.convolution(layer.inner(x)))
        return [*keys, *layer._strength_and_decay(x)]


def test_a_rotation_of_all_directions_changes_nothing():
    layer, x = calibrated()
    system, full = layer.extract(), outputs(layer, x)
    U = deltanet_reduction.directions(system, layer.method)  # (heads, N, N)
    assert U.transpose(0, 2, 1) @ U == pytest.approx(np.tile(np.eye(8), (2, 1, 1)), abs=1e-12)
    rotated = {**system.parameters, "map.weight": U.transpose(0, 2, 1)}
    assert deltanet_reduction.simulate(rotated, x.numpy()) == pytest.approx(full, abs=1e-10)
    reduction = layer.reduce(system, 8)
    layer.write_back(reduction)
    assert layer.map.weight.shape == (2, 0, 8)
    assert outputs(layer, x) == pytest.approx(full, abs=1e-12)


def test_directions_are_eigenvectors_of_states_and_queries_together():
    layer, x = calibrated()
    q, *rest = inside(layer, x)
    states = torch.stack(list(delta_rule_states(*rest)), 1)  # (batch, L, heads, N, d_v)
    for head in range(2):
        S = states[:, :, head].transpose(2, 3).flatten(0, 2).numpy()  # (batch · L · d_v, N)
        Q = q[:, :, head].flatten(0, 1).numpy()
        G = S.T @ S / (S**2).sum() + Q.T @ Q / (Q**2).sum()
        U = deltanet_reduction.directions(layer.extract(), layer.method)[head]
        assert pytest.approx(U * np.linalg.eigvalsh(G)[::-1], abs=1e-10) == G @ U
    table = layer.propose(layer.extract())
    assert sum(layer.spectrum(layer.extract())) == pytest.approx(1.0)
    assert table.discarded_share[0] == 1.0
    assert table.discarded_share[-1] == 0.0
    assert table.error_bound is None


@pytest.mark.parametrize("method", ["balanced", "diagonal", "random"])
def test_the_spectrum_is_what_each_direction_holds_of_keys_and_queries(method):
    layer, _ = calibrated(method=method)
    system = layer.extract()
    G, U = deltanet_reduction.energy(system), deltanet_reduction.directions(system, layer.method)
    held = np.einsum("hni,hnm,hmi->i", U, G, U) / 4.0
    assert layer.spectrum(system) == pytest.approx(np.sort(held)[::-1])


def test_the_eigenvectors_miss_less_and_err_less_than_coordinates_and_those_than_random():
    shares, errors = {}, {}
    for seed in range(8):
        for method in ("balanced", "diagonal", "random"):
            layer, x = calibrated(seed=seed, method=method)
            system, full = layer.extract(), outputs(layer, x)
            shares.setdefault(method, []).append(layer.propose(system).discarded_share[4])
            cut = deltanet_reduction.simulate(layer.reduce(system, 4).parameters, x.numpy())
            errors.setdefault(method, []).append(np.linalg.norm(cut - full) / np.linalg.norm(full))
    for figures in (shares, errors):
        means = {method: np.mean(values) for method, values in figures.items()}
        assert means["balanced"] < means["diagonal"] < means["random"]


def oblique(system):
    """V and W (N, r) of balanced truncation to half the directions, as for linear attention."""
    statistics, half = system.statistics, system.state_dim // 2
    L_c, L_o = np.linalg.cholesky(statistics.P[0]), np.linalg.cholesky(statistics.Q[0])
    U, sigma, Zt = np.linalg.svd(L_o.T @ L_c)
    return L_c @ Zt.T[:, :half] / sigma[:half] ** 0.5, L_o @ U[:, :half] / sigma[:half] ** 0.5


def largest_state(write, erase, steps):
    """Largest entry of S[t] = (I − β w eᵀ) S[t−1] + β w for β = 1/2 and the same keys w, e in every step."""
    S, largest = np.zeros(len(write)), 0.0
    for _ in range(steps):
        S = S + 0.5 * write * (1.0 - erase @ S)
        largest = max(largest, np.abs(S).max())
    return largest


def test_an_oblique_basis_can_diverge_where_an_orthonormal_one_cannot():
    for seed in range(5):
        system = calibrated(seed=seed)[0].extract()
        V, W = oblique(system)
        assert pytest.approx(np.eye(4), abs=1e-8) == W.T @ V
        values, vectors = np.linalg.eigh(V @ W.T + W @ V.T)
        key = vectors[:, 0]  # of length 1, with the smallest kᵀ V Wᵀ k
        assert values[0] < -0.1
        assert largest_state(W.T @ key, V.T @ key, 300) > 1e4
        U = deltanet_reduction.reduce(system, 4, Method()).basis[0]
        for draw in np.random.default_rng(seed).standard_normal((10, 8)):
            k = U.T @ (draw / np.linalg.norm(draw))
            assert largest_state(k, k, 300) <= 1.0 / max(np.linalg.norm(k), 1e-3)
        assert largest_state(U.T @ key, U.T @ key, 300) < 20.0


def test_a_cut_layer_stays_bounded_for_any_keys_without_decay():
    layer, _ = calibrated()
    layer.write_back(layer.reduce(layer.extract(), 3))
    x = 30.0 * torch.randn(1, 2000, 6, generator=torch.Generator().manual_seed(0)).double()
    q, k, v, beta, _ = inside(layer, x)
    assert k.norm(dim=-1).max() <= 1.0 + 1e-12
    v = v.sign()
    o = delta_rule(q, k, v, torch.ones_like(beta), torch.zeros_like(beta))
    assert o.abs().max() < 100.0


def test_a_second_cut_is_one_cut_to_a_basis_within_the_first():
    layer, x = calibrated()
    first = layer.reduce(layer.extract(), 5)
    layer.write_back(first)
    assert layer.state_dim == 5
    with pytest.raises(ValueError, match="not calibrated"):
        layer.extract()
    observe(layer, x)
    second = layer.reduce(layer.extract(), 2)
    layer.write_back(second)
    assert layer.map.weight.shape == (2, 2, 8)
    both = first.basis @ second.basis  # (heads, 8, 2)
    assert both.transpose(0, 2, 1) @ both == pytest.approx(np.tile(np.eye(2), (2, 1, 1)), abs=1e-12)
    wanted = deltanet_reduction.simulate(first.before, x.numpy(), both)
    assert outputs(layer, x) == pytest.approx(wanted, abs=1e-10)
    assert layer.verify(second) < 1e-12


def test_verification_sees_a_wrong_map():
    layer, _ = calibrated()
    reduction = layer.reduce(layer.extract(), 5)
    assert layer.verify(reduction) == float("inf")  # not written back
    wrong = {**reduction.parameters, "map.weight": reduction.parameters["map.weight"][:, ::-1].copy()}
    wrong["map.weight"][:, 0] *= 1.1
    layer.write_back(DeltaNetReduction(reduction.before, reduction.basis, wrong))
    assert layer.verify(reduction) > 1e-3


def test_parameters_of_every_rank_are_those_of_the_layer():
    layer, x = calibrated()
    table = layer.propose(layer.extract())
    now = sum(p.numel() for p in layer.parameters())
    assert table.parameters[8] == now
    layer.write_back(layer.reduce(layer.extract(), 5))
    assert table.parameters[5] == sum(p.numel() for p in layer.parameters()) == now + 2 * 5 * 8
    observe(layer, x)
    assert layer.propose(layer.extract()).parameters[3:] == [now + 2 * 8 * rank for rank in (3, 4, 5)]


def test_states_and_queries_in_a_subspace_are_kept_exactly():
    layer, x = calibrated()
    with torch.no_grad():  # keys and queries of both heads in the first 3 of 8 coordinates
        outside = torch.arange(32).view(4, 8)[:, 3:].flatten()
        layer.inner.weight[outside] = 0.0
        layer.convolution.bias[outside] = 0.0
    observe(layer, x)
    system, full = layer.extract(), outputs(layer, x)
    assert layer.propose(system).discarded_share[3] == pytest.approx(0.0, abs=1e-12)
    cut = deltanet_reduction.simulate(layer.reduce(system, 3).parameters, x.numpy())
    assert cut == pytest.approx(full, abs=1e-10)


def test_a_head_that_passes_nothing_on_is_no_hindrance_but_a_layer_is():
    layer, x = calibrated()
    with torch.no_grad():
        for rows in (slice(32, 35), slice(35, 38)):  # values of the first and of the second head
            layer.inner.weight[rows] = 0.0
            layer.convolution.bias[rows] = 0.0
            observe(layer, x)
            if rows.start == 32:
                assert layer.propose(layer.extract()).discarded_share[4] < 1.0
                assert np.isfinite(layer.reduce(layer.extract(), 4).basis).all()
    for ask in (layer.propose, lambda system: layer.reduce(system, 3)):
        with pytest.raises(ValueError, match="output is 0"):
            ask(layer.extract())


def test_the_layer_learns_in_nearly_the_same_direction_after_a_cut_so_moments_stay():
    cosines = []
    for seed in range(6):
        layer, x = calibrated(seed=seed)
        weights = torch.randn(*x.shape[:2], 2, 3, dtype=x.dtype)
        found = []
        for _ in range(2):
            layer.zero_grad()
            (layer(x) * weights).sum().backward()
            found.append({n: p.grad.numpy().copy() for n, p in layer.named_parameters() if n != "map.weight"})
            reduction = layer.reduce(layer.extract(), 6) if layer.statistics else None
            if reduction:
                assert layer.transport_moments(reduction, found[0], found[0]) == (found[0], found[0])
                layer.write_back(reduction)
        before, after = ({name: g.ravel() for name, g in part.items()} for part in found)
        cosines.append(
            [
                before[n] @ after[n] / np.linalg.norm(before[n]) / np.linalg.norm(after[n])
                for n in ("inner.weight", "convolution.weight", "strength.weight", "decay.weight", "A_log")
            ]
        )
    assert (np.mean(cosines, axis=0) > [0.9, 0.9, 0.9, 0.8, 0.8]).all()
    assert layer.map.weight.requires_grad is False


@pytest.mark.parametrize("method", ["balanced", "diagonal", "random"])
def test_a_cut_errs_about_as_much_as_its_projection_at_a_step(method):
    for seed in range(3):
        layer, x = calibrated(seed=seed, method=method, sequences=16)
        system, full = layer.extract(), outputs(layer, x)
        for rank in (2, 4, 6):
            cut = deltanet_reduction.simulate(layer.reduce(system, rank).parameters, x.numpy())
            measured = np.linalg.norm(cut - full) / np.linalg.norm(full)
            assert layer.propose(system).discarded_share[rank] ** 0.5 == pytest.approx(measured, rel=0.3)


def test_without_an_output_nothing_is_said():
    layer, x = calibrated()
    with torch.no_grad():
        layer.inner.weight.zero_(), layer.convolution.bias.zero_()
    observe(layer, x)
    for ask in (layer.propose, layer.spectrum):
        with pytest.raises(ValueError, match="passes nothing on"):
            ask(layer.extract())
