"""S4D and S5 with modes kept as they are (last, aire): the baseline without a change of basis."""

import copy

import numpy as np
import pytest
import torch

from hankelboard.trainer.compression.calibration import monitored
from hankelboard.trainer.layers.s4d import S4D
from hankelboard.trainer.layers.s5 import S5
from hankelboard.trainer.reduction.linear.kept_modes import strongest_modes
from hankelboard.trainer.reduction.method import Method
from hankelboard.trainer.reduction.surgery import apply_reduction


def layer_of(kind, method="aire", width=4, state_dim=8, seed=0):
    torch.manual_seed(seed)
    return kind(width, state_dim, method=Method(method)).double()


def impulse_responses(layer, steps=4000):
    """Of every mode by itself: K[l] = C λ^l B, as (systems, N, steps, M, H) complex."""
    with torch.no_grad():
        if isinstance(layer, S4D):
            logarithms, residues = layer.modes()  # (H, N) each
            powers = torch.exp(logarithms[..., None] * torch.arange(steps))  # (H, N, steps)
            return (residues[..., None] * powers)[..., None, None].numpy()
        eigenvalues, B, C = layer.modes()
        powers = eigenvalues[:, None] ** torch.arange(steps)  # (N, steps)
        return torch.einsum("nt,mn,nh->ntmh", powers, C, B)[None].numpy()


@pytest.mark.parametrize("kind", [S4D, S5])
def test_the_modes_with_the_largest_energy_stay_as_they_are(kind):
    layer, u = layer_of(kind), torch.randn(2, 60, 4).double()
    energy = (np.abs(impulse_responses(layer)) ** 2).sum((-1, -2, -3))  # (systems, N)
    kept = np.sort(np.argsort(-energy, axis=1)[:, :3], axis=1)  # (systems, r)
    cut = copy.deepcopy(layer)
    assert apply_reduction(cut, None, cut.reduce(cut.extract(), 3)) < 1e-12
    silent = copy.deepcopy(layer)  # the others read by nobody
    with torch.no_grad():
        for C in (silent.C_re, silent.C_im):
            mask = torch.zeros_like(C, dtype=torch.bool)
            mask.scatter_(1, torch.as_tensor(np.broadcast_to(kept, (4, 3)).copy()), True)
            C.mul_(mask)
        assert torch.allclose(cut(u), silent(u), atol=1e-12)
    assert cut.state_dim == 3


@pytest.mark.parametrize("kind", [S4D, S5])
def test_shares_are_of_the_energy_of_single_modes_and_there_is_no_bound(kind):
    layer = layer_of(kind)
    table = layer.propose(layer.extract())
    energy = np.sort((np.abs(impulse_responses(layer)) ** 2).sum((-1, -2, -3)), axis=1)[:, ::-1].sum(0)
    wanted = 1.0 - np.concatenate([[0.0], energy.cumsum()]) / energy.sum()
    assert table.discarded_share == pytest.approx(
        wanted, abs=1e-3
    )  # the slowest mode is cut off at 4,000 steps
    assert table.error_bound is None and table.realisable == [False] + [True] * 8
    assert layer.importance == "energy" and monitored(layer) == "hsv"
    for rank in (1, 3, 8):
        cut = copy.deepcopy(layer)
        cut.write_back(cut.reduce(cut.extract(), rank))
        assert sum(p.numel() for p in cut.parameters()) == table.parameters[rank]


@pytest.mark.parametrize("kind", [S4D, S5])
def test_moments_of_kept_modes_are_their_own(kind):
    layer = layer_of(kind, "last")
    reduction = layer.reduce(layer.extract(), 3)
    marks = {name: np.arange(p.numel(), dtype=float).reshape(p.shape) for name, p in layer.named_parameters()}
    first, second = layer.transport_moments(reduction, marks, marks)
    before = layer.extract()
    for name, values in reduction.parameters.items():
        assert (before[name].ravel()[first[name].astype(int)] == values).all()
        assert (second[name] == first[name]).all()


@pytest.mark.parametrize("kind", [S4D, S5])
def test_strong_modes_are_better_than_balanced_states_at_random(kind):
    errors = {}
    for seed in range(3):
        for method in ("aire", "random"):
            layer = layer_of(kind, method, state_dim=12, seed=seed)
            u = torch.randn(4, 300, 4, generator=torch.Generator().manual_seed(seed)).double()
            cut = copy.deepcopy(layer)
            cut.write_back(cut.reduce(cut.extract(), 6))
            with torch.no_grad():
                errors.setdefault(method, []).append(float((cut(u) - layer(u)).norm() / layer(u).norm()))
    assert np.mean(errors["aire"]) < 0.5 * np.mean(errors["random"])


@pytest.mark.parametrize("kind", [S4D, S5])
def test_one_mode_all_modes_and_ranks_that_are_none(kind):
    layer = layer_of(kind, state_dim=1)
    assert layer.propose(layer.extract()).discarded_share == [1.0, 0.0]
    whole = layer_of(kind)
    u = torch.randn(1, 9, 4).double()
    cut = copy.deepcopy(whole)
    cut.write_back(cut.reduce(cut.extract(), 8))
    assert torch.equal(cut(u), whole(u))
    for rank in (0, 9):
        with pytest.raises(ValueError, match="between 1 and the state dimension 8"):
            whole.reduce(whole.extract(), rank)


def test_modes_that_tie_are_kept_in_their_order():
    layer = layer_of(S5)
    with torch.no_grad():
        for p in (layer.A_im, layer.log_dt, layer.B_re, layer.B_im):
            p.copy_(p[:1].expand_as(p))
        for p in (layer.C_re, layer.C_im):
            p.copy_(p[:, :1].expand_as(p))
    assert layer.reduce(layer.extract(), 3).kept.tolist() == [0, 1, 2]
    assert strongest_modes([layer.realisation(layer.extract())], "aire", 2).shape == (1, 2)


@pytest.mark.parametrize("kind", [S4D, S5])
def test_a_layer_that_passes_nothing_on_is_not_cut(kind):
    layer = layer_of(kind)
    with torch.no_grad():
        layer.C_re.zero_(), layer.C_im.zero_()
    with pytest.raises(ValueError, match="passes nothing on"):
        layer.propose(layer.extract())
