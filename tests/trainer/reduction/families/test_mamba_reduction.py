import numpy as np
import pytest
import torch

from hankelboard.trainer.layers.mamba import SelectiveSSM
from hankelboard.trainer.layers.recurrences.selective import selective_sequential
from hankelboard.trainer.reduction.families import mamba_reduction
from hankelboard.trainer.reduction.linear.hankel import hankel_singular_values
from hankelboard.trainer.reduction.method import Method


def calibrated(channels=6, states=8, dt_rank=2, seed=0, method="energy", sequences=4, **options):
    """A layer in double precision and the inputs it was calibrated on; correlated, as a network's are."""
    torch.manual_seed(seed)
    layer = SelectiveSSM(channels, states, dt_rank, method=Method(method, seed, **options)).double()
    with torch.no_grad():
        layer.A_log += 0.3 * torch.randn_like(layer.A_log)
        layer.dt_bias += 2.0
        x = torch.randn(sequences, 40, channels).double() @ torch.randn(channels, channels).double()
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
    M, order = system.statistics.M, mamba_reduction.choice(system.statistics, layer.method)[0]
    assert M.sum() == pytest.approx((full**2).sum(), rel=1e-8)
    for rank in range(1, 8):
        reduction = layer.reduce(system, rank)
        error = (mamba_reduction.simulate(reduction.parameters, x.numpy()) - full) ** 2
        gone = order[rank:]
        assert error.sum() == pytest.approx(M[np.ix_(gone, gone)].sum(), rel=1e-8)
        assert error.sum() / (full**2).sum() <= shares[rank] + 1e-12


def test_compensation_folded_is_compensation_unfolded():
    layer, x = calibrated()
    system = layer.extract()
    for rank in (1, 3, 7):
        reduction = layer.reduce(system, rank)
        removed = np.setdiff1d(np.arange(8), reduction.kept)
        K = reduction.mixing[removed]  # (removed, kept): h_removed ≈ K h_kept
        A, delta, B, C = (
            part.detach() for part in (-layer.A_log.exp(), *[layer._coefficients(x)[i] for i in (0, 2, 3)])
        )
        states = {
            n: selective_sequential(x, delta, A[:, [n]], B[..., [n]], torch.ones_like(C[..., [n]])).numpy()
            for n in range(8)
        }
        C = C.numpy()
        wanted = sum(C[..., n, None] * states[n] for n in reduction.kept) + sum(
            C[..., j, None] * sum(K[row, i] * states[n] for i, n in enumerate(reduction.kept))
            for row, j in enumerate(removed)
        )
        assert mamba_reduction.simulate(reduction.parameters, x.numpy()) == pytest.approx(wanted, abs=1e-10)


def test_compensation_lowers_the_error_and_energy_is_the_best_choice():
    errors = {}
    for seed in range(6):
        for method in ("energy", "diagonal", "mean_lti", "random"):
            for compensation in (True, False):
                layer, x = calibrated(seed=seed, method=method, compensation=compensation)
                full = outputs(layer, x)
                kept = layer.reduce(layer.extract(), 4).parameters
                error = np.linalg.norm(mamba_reduction.simulate(kept, x.numpy()) - full) / np.linalg.norm(
                    full
                )
                errors.setdefault((method, compensation), []).append(error)
    means = {key: np.mean(values) for key, values in errors.items()}
    for method in ("energy", "diagonal", "mean_lti", "random"):
        assert means[method, True] < means[method, False]
    for others in ("mean_lti", "random"):
        assert means["energy", True] < 0.9 * means[others, True]
    assert means["energy", False] < means["diagonal", False] < means["mean_lti", False]


def test_the_mean_lti_scores_are_hankel_singular_values_of_single_states():
    layer, _ = calibrated(channels=2, states=3)
    statistics = layer.extract().statistics
    wanted = [
        sum(
            hankel_singular_values(
                [statistics.decay[d, n]], [[statistics.drive[d, n]]], [[statistics.read[n]]]
            )[0]
            for d in range(2)
        )
        for n in range(3)
    ]
    assert mamba_reduction.mean_lti_scores(statistics) == pytest.approx(wanted, rel=1e-10)


def test_second_moments_of_constant_coefficients_are_gramians():
    draw = np.random.default_rng(0)
    decay, drive, read = 0.9 * draw.random((2, 4)), draw.standard_normal((2, 4)), draw.standard_normal(4)
    steps = np.ones((50, 1, 1))
    found = mamba_reduction.second_moment_hsv(steps * decay, steps * drive, np.tile(read, (50, 1)))
    wanted = sum(hankel_singular_values(decay[d], drive[d][:, None], read[None]) for d in range(2))
    assert found[:2] == pytest.approx(wanted[:2], rel=1e-6)
    assert list(found) == sorted(found, reverse=True)


def test_the_read_out_learns_in_the_same_direction_after_a_cut():
    layer, x = calibrated(compensation=True)
    weights = torch.linspace(-1.0, 1.0, x.numel(), dtype=x.dtype).view_as(x)
    (layer(x) * weights).sum().backward()
    first = {name: p.grad.numpy().copy() for name, p in layer.named_parameters()}
    reduction = layer.reduce(layer.extract(), 5)
    moved, _ = layer.transport_moments(reduction, first, first)
    layer.write_back(reduction)
    (layer(x) * weights).sum().backward()
    assert moved["W_C"] == pytest.approx(layer.W_C.grad.numpy(), rel=1e-10)
    for name in ("A_log", "W_B"):
        true = dict(layer.named_parameters())[name].grad.numpy()
        cosine = (moved[name] * true).sum() / np.linalg.norm(moved[name]) / np.linalg.norm(true)
        assert cosine > 0.9


def test_with_compensation_the_share_is_the_error_that_is_left():
    layer, x = calibrated(states=12)
    system, full = layer.extract(), outputs(layer, x)
    shares = layer.propose(system).discarded_share
    for rank in (3, 6, 9):
        cut = mamba_reduction.simulate(layer.reduce(system, rank).parameters, x.numpy())
        assert ((cut - full) ** 2).sum() / (full**2).sum() == pytest.approx(shares[rank], rel=0.1)


def test_with_compensation_fewer_states_do_for_the_same_error():
    ranks = {}
    for compensation in (True, False):
        layer, _ = calibrated(states=16, compensation=compensation)
        shares = layer.propose(layer.extract()).discarded_share
        ranks[compensation] = sum(share > 0.01 for share in shares)
    assert ranks[True] < ranks[False]
