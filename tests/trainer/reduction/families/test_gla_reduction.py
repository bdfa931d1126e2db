import numpy as np
import pytest
import torch

from hankelboard.trainer.layers.gla import ChannelDecayAttention
from hankelboard.trainer.layers.recurrences.channel_decay import channel_decay_states
from hankelboard.trainer.reduction.families import gla_reduction
from hankelboard.trainer.reduction.method import Method


def calibrated(states=8, seed=0, method="energy", sequences=4, heads=2, **options):
    """A recurrence in double precision and its calibration inputs; correlated, as a network's are."""
    torch.manual_seed(seed)
    layer = ChannelDecayAttention(6, states, heads, 3, 4, method=Method(method, seed, **options)).double()
    with torch.no_grad():
        layer.gate_bias += 3.0 * torch.randn_like(layer.gate_bias)
        x = torch.randn(sequences, 40, 6).double() @ torch.randn(6, 6).double()
        with layer.observing():
            layer(x[: sequences // 2])
            layer(x[sequences // 2 :])
    return layer, x


def outputs(layer, x):
    with torch.no_grad():
        return layer(x).numpy()


def test_the_error_of_a_deletion_is_what_the_matrix_says():
    layer, x = calibrated(compensation=False)
    system, full = layer.extract(), outputs(layer, x)
    shares = layer.propose(system).discarded_share
    M, orders = system.statistics.M, gla_reduction.choice(system.statistics, layer.method)[0]
    assert M.sum((1, 2)) == pytest.approx((full**2).sum((0, 1, 3)), rel=1e-8)
    for rank in range(1, 8):
        kept = layer.reduce(system, rank).parameters
        error = ((gla_reduction.simulate(kept, x.numpy()) - full) ** 2).sum((0, 1, 3))  # (heads,)
        gone = orders[:, rank:]
        wanted = [M[head][np.ix_(gone[head], gone[head])].sum() for head in range(2)]
        assert error == pytest.approx(wanted, rel=1e-8)
        assert error.sum() / (full**2).sum() <= shares[rank] + 1e-12


def test_compensation_folded_is_compensation_unfolded():
    layer, x = calibrated()
    system = layer.extract()
    q, k, v, g = (part.detach() for part in layer._inputs(x))
    S = torch.stack(list(channel_decay_states(k, v, g)), 1).numpy()  # (batch, L, heads, N, d_v)
    for rank in (1, 3, 7):
        reduction = layer.reduce(system, rank)
        wanted = np.zeros((*S.shape[:3], 3))
        for head in range(2):
            kept = reduction.kept[head]
            removed = np.setdiff1d(np.arange(8), kept)
            estimate = S[:, :, head].copy()
            K = reduction.mixing[head, removed]  # (removed, kept): S_removed ≈ K S_kept
            estimate[:, :, removed] = K @ estimate[:, :, kept]
            wanted[:, :, head] = (q.numpy()[:, :, head, :, None] * estimate).sum(-2)
        assert gla_reduction.simulate(reduction.parameters, x.numpy()) == pytest.approx(wanted, abs=1e-10)
        layer_now = calibrated()[0]
        layer_now.write_back(reduction)
        assert outputs(layer_now, x) == pytest.approx(wanted, abs=1e-10)


def test_the_regression_is_least_squares_over_all_steps_and_value_channels():
    layer, x = calibrated()
    _, k, v, g = (part.detach() for part in layer._inputs(x))
    S = torch.stack(list(channel_decay_states(k, v, g)), 1)[:, :, 0]  # (batch, L, N, d_v) of head 0
    rows = S.transpose(2, 3).flatten(0, 2).numpy()  # (batch · L · d_v, N)
    reduction = layer.reduce(layer.extract(), 3)
    kept = reduction.kept[0]
    removed = np.setdiff1d(np.arange(8), kept)
    wanted = np.linalg.lstsq(rows[:, kept], rows[:, removed], rcond=None)[0]
    assert pytest.approx(wanted, abs=1e-6) == reduction.mixing[0, removed].T


def test_compensation_lowers_the_error_and_energy_is_the_best_choice():
    errors = {}
    for seed in range(6):
        for method in ("energy", "diagonal", "random"):
            for compensation in (True, False):
                layer, x = calibrated(seed=seed, method=method, compensation=compensation)
                full = outputs(layer, x)
                kept = layer.reduce(layer.extract(), 4).parameters
                error = np.linalg.norm(gla_reduction.simulate(kept, x.numpy()) - full) / np.linalg.norm(full)
                errors.setdefault((method, compensation), []).append(error)
    means = {key: np.mean(values) for key, values in errors.items()}
    for method in ("energy", "diagonal", "random"):
        assert means[method, True] < means[method, False]
    assert means["energy", True] < 0.9 * means["random", True]
    assert means["energy", False] < means["diagonal", False] < means["random", False]


def test_each_head_keeps_its_own_key_channels():
    layer, _ = calibrated()
    kept = layer.reduce(layer.extract(), 4).kept
    assert kept.shape == (2, 4)
    assert not (kept[0] == kept[1]).all()


def test_random_sets_differ_between_heads_and_seeds_and_are_the_same_again():
    first, again = (
        gla_reduction.choice(calibrated()[0].statistics, Method("random", 3))[0] for _ in range(2)
    )
    other = gla_reduction.choice(calibrated()[0].statistics, Method("random", 1000))[0]
    assert (first == again).all()
    assert not (first[0] == first[1]).all()
    assert not (first == other).all()


def test_rows_of_the_state_that_are_the_same_are_folded_into_one():
    layer, x = calibrated()
    with torch.no_grad():
        for name in ("W_k", "W_up", "gate_bias"):
            getattr(layer, name)[:, 1:] = getattr(layer, name)[:, :1]
        with layer.observing():
            layer(x)
    full = outputs(layer, x)
    kept = layer.reduce(layer.extract(), 1).parameters
    assert gla_reduction.simulate(kept, x.numpy()) == pytest.approx(full, abs=1e-6 * np.abs(full).max())


def test_a_head_that_passes_nothing_on_is_no_hindrance_but_a_layer_is():
    layer, x = calibrated()
    with torch.no_grad():
        layer.W_v[0] = 0.0
        with layer.observing():
            layer(x)
    assert layer.propose(layer.extract()).discarded_share[4] < 1.0
    assert np.isfinite(layer.reduce(layer.extract(), 4).parameters["W_q"]).all()
    with torch.no_grad():
        layer.W_v[1] = 0.0
        with layer.observing():
            layer(x)
    with pytest.raises(ValueError, match="output is 0"):
        layer.propose(layer.extract())


def gradients(layer, x, seed=0):
    weights = torch.randn(*x.shape[:2], 2, 3, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
    layer.zero_grad()
    (layer(x) * weights).sum().backward()
    return {name: p.grad.numpy().copy() for name, p in layer.named_parameters()}


def test_queries_learn_in_the_same_direction_after_a_cut_and_keys_and_gate_nearly():
    cosines = {}
    for seed in range(6):
        layer, x = calibrated(seed=seed)
        first = gradients(layer, x)
        reduction = layer.reduce(layer.extract(), 5)
        moved, squares = layer.transport_moments(reduction, first, {n: g**2 for n, g in first.items()})
        layer.write_back(reduction)
        now = gradients(layer, x)
        assert moved["W_q"] == pytest.approx(now["W_q"], rel=1e-9, abs=1e-9)
        for name in ("W_k", "W_up", "gate_bias"):
            assert (squares[name] >= moved[name] ** 2 * (1 - 1e-12)).all()
            cosine = (moved[name] * now[name]).sum() / np.linalg.norm(moved[name]) / np.linalg.norm(now[name])
            cosines.setdefault(name, []).append(cosine)
    means = {name: np.mean(values) for name, values in cosines.items()}
    assert means["W_k"] > 0.95
    assert min(means["W_up"], means["gate_bias"]) > 0.8


def test_squares_of_uncorrelated_gradients_add_up():
    layer, _ = calibrated()
    reduction = layer.reduce(layer.extract(), 5)
    noise = np.random.default_rng(0).standard_normal((20_000, 2, 8, 6))  # gradients of variance 1
    _, squares = layer.transport_moments(reduction, {"W_k": np.zeros((2, 8, 6))}, {"W_k": np.ones((2, 8, 6))})
    moved = reduction.mixing.transpose(0, 2, 1) @ noise
    assert squares["W_k"] == pytest.approx((moved**2).mean(0), rel=0.1)


def test_with_compensation_the_share_is_the_error_that_is_left():
    layer, x = calibrated(states=12)
    system, full = layer.extract(), outputs(layer, x)
    shares = layer.propose(system).discarded_share
    for rank in (3, 6, 9):
        cut = gla_reduction.simulate(layer.reduce(system, rank).parameters, x.numpy())
        assert ((cut - full) ** 2).sum() / (full**2).sum() == pytest.approx(shares[rank], rel=0.15)
