import copy

import numpy as np
import pytest
import torch
from torch.nn import functional

from hankelboard.trainer.layers.mamba2 import Mamba2
from hankelboard.trainer.layers.recurrences.scalar_decay import scalar_decay_states
from hankelboard.trainer.reduction.method import Method
from hankelboard.trainer.reduction.surgery import apply_reduction


def mamba2(seed=0, dtype=torch.float64, **options):
    torch.manual_seed(seed)
    options = {"width": 6, "state_dim": 8, "heads": 4, "groups": 2} | options
    return Mamba2(options.pop("width"), options.pop("state_dim"), **options).to(dtype)


def inputs(length=21, batch=3, width=6, dtype=torch.float64):
    return torch.randn(batch, length, width, generator=torch.Generator().manual_seed(1), dtype=dtype)


def calibrated(batch=8, length=160, **options):
    """A layer, its inputs, and what arrives at the part that is cut."""
    layer, u = mamba2(**options), inputs(length, batch)
    seen = []
    hook = layer.ssd.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    with torch.no_grad(), layer.ssd.observing():
        layer(u)
    hook.remove()
    return layer, u, seen[0]


def cut(layer, rank):
    """A copy of the layer at this rank, and the reduction."""
    trial = copy.deepcopy(layer)
    reduction = trial.ssd.reduce(trial.ssd.extract(), rank)
    trial.ssd.write_back(reduction)
    return trial, reduction


def skewed_basis():
    return np.random.default_rng(0).standard_normal((2, 8, 8)) + 3.0 * np.eye(8)


def states(core, parts):
    with torch.no_grad():
        _, B, driven, log_decay = core._coefficients(parts)
        return torch.cat([S for _, S in scalar_decay_states(B, driven, log_decay)], dim=1).numpy()


def test_it_is_the_paper_s_equation():
    layer, u = mamba2(), inputs(batch=1)
    with torch.no_grad():
        z, xBC, dt = layer.inner(u)[0].split((12, 12 + 2 * 16, 4), dim=-1)
        xBC = functional.silu(layer.convolution(xBC[None])[0])
        delta = torch.log1p(torch.exp(dt + layer.ssd.dt_bias))  # (L, heads)
        a = torch.exp(-delta * layer.ssd.A_log.exp())
        S, y = torch.zeros(4, 8, 3, dtype=torch.float64), []
        for t in range(21):
            x, (B, C) = xBC[t, :12].view(4, 3), xBC[t, 12:].view(2, 2, 8)
            for head in range(4):
                S[head] = a[t, head] * S[head] + delta[t, head] * torch.outer(B[head // 2], x[head])
            read = torch.stack([S[head].T @ C[head // 2] for head in range(4)])
            y.append((read + layer.D_skip[:, None] * x).flatten())
        y = torch.stack(y) * functional.silu(z)
        normalised = y / torch.sqrt(y.pow(2).mean(-1, keepdim=True) + 1e-5)
        assert torch.allclose(layer(u)[0], normalised @ layer.outer.weight.T, atol=1e-12)


def test_a_change_of_basis_of_both_maps_changes_nothing():
    layer, u, _ = calibrated()
    T = skewed_basis()
    moved = copy.deepcopy(layer)
    moved.ssd.replace(np.linalg.inv(T), T.transpose(0, 2, 1))
    with torch.no_grad():
        wanted = layer(u)
        assert (moved(u) - wanted).norm() < 1e-10 * wanted.norm()


def test_the_reduced_state_is_the_projected_state_at_every_step_after_two_cuts():
    layer, u, parts = calibrated()
    trial, first = cut(layer, 5)
    with torch.no_grad(), trial.ssd.observing():
        trial(u)
    trial, second = cut(trial, 3)
    W = (first.W @ second.W).repeat(2, axis=0)  # (heads, N, r)
    wanted = np.einsum("hnr,bthnp->bthrp", W, states(layer.ssd, parts))
    assert np.abs(states(trial.ssd, parts) - wanted).max() < 1e-10 * np.abs(wanted).max()
    assert trial.ssd.map_B.weight.shape == trial.ssd.map_C.weight.shape == (2, 3, 8)


@pytest.mark.parametrize("method", ["balanced", "diagonal", "random"])
def test_shares_are_squares_of_the_measured_error(method):
    for seed in range(3):
        layer, _, parts = calibrated(seed=seed, method=Method(method, seed))
        table = layer.ssd.propose(layer.ssd.extract())
        with torch.no_grad():
            full = layer.ssd(parts)
            errors = {
                rank: float((cut(layer, rank)[0].ssd(parts) - full).norm() / full.norm())
                for rank in range(1, layer.ssd.state_dim)
            }
        for rank in errors:  # shares never rise with the rank, errors of drawn states may
            largest = max(error for higher, error in errors.items() if higher >= rank)
            assert table.discarded_share[rank] == pytest.approx(min(1.0, largest**2), rel=1e-5)


def test_balanced_is_better_than_diagonal_and_that_than_random():
    errors = {}
    for seed in range(5):
        for method in ("balanced", "diagonal", "random"):
            layer, _, parts = calibrated(seed=seed, method=Method(method, seed))
            with torch.no_grad():
                full = layer.ssd(parts)
                error = (cut(layer, 4)[0].ssd(parts) - full).norm() / full.norm()
            errors.setdefault(method, []).append(float(error))
    means = {method: np.mean(values) for method, values in errors.items()}
    assert means["balanced"] < 0.7 * means["diagonal"]
    assert means["diagonal"] < 0.9 * means["random"]


@pytest.mark.parametrize("moments", ["transport", "reset", "slice"])
def test_the_second_cut_finds_moments_of_the_maps(moments):
    layer, u = mamba2(), inputs()
    optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-3, fused=True)
    for rank in (5, 3):
        for _ in range(2):
            optimizer.zero_grad()
            (layer(u) - u).pow(2).mean().backward()
            optimizer.step()
        with torch.no_grad(), layer.ssd.observing():
            layer(u)
        apply_reduction(layer.ssd, optimizer, layer.ssd.reduce(layer.ssd.extract(), rank), moments)
    averages = optimizer.state[layer.ssd.map_B.weight]["exp_avg"]
    assert averages.shape == (2, 3, 8)
    assert bool(averages.abs().sum() > 0) == (moments != "reset")


def test_gradients_of_the_maps_are_carried_along():
    layer, u, _ = calibrated()
    T = skewed_basis()
    layer.ssd.replace(np.linalg.inv(T), T.transpose(0, 2, 1))  # so that V and W differ
    with torch.no_grad(), layer.ssd.observing():
        layer(u)
    trial, reduction = cut(layer, 5)
    before, wanted = ssd_gradients(layer, u), ssd_gradients(trial, u)
    moved, _ = layer.ssd.transport_moments(reduction, before, {name: g**2 for name, g in before.items()})
    for name in ("map_B.weight", "map_C.weight"):
        cosine = (moved[name] * wanted[name]).sum()
        cosine /= np.linalg.norm(moved[name]) * np.linalg.norm(wanted[name])
        assert cosine > 0.999


def ssd_gradients(layer, u):
    layer.zero_grad()
    layer(u).pow(2).mul(torch.linspace(-1.0, 1.0, u.shape[1])[:, None]).mean().backward()
    return {name: p.grad.numpy().copy() for name, p in layer.ssd.named_parameters()}


def test_sizes_that_cannot_be():
    for sizes, message in (
        ({"groups": 0}, "at least 1"),
        ({"heads": 5}, "a multiple of heads"),
        ({"groups": 3}, "one of groups"),
    ):
        with pytest.raises(ValueError, match=message):
            mamba2(**sizes)
