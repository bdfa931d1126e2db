import copy

import pytest
import torch

from hankelboard.trainer.layers.mamba import Mamba
from hankelboard.trainer.reduction.reducible import Reducible
from hankelboard.trainer.reduction.surgery import apply_reduction, reducible_layers


def mamba(seed=0, dtype=torch.float64, **options):
    torch.manual_seed(seed)
    return Mamba(options.pop("width", 6), options.pop("state_dim", 8), **options).to(dtype)


def inputs(length=21, batch=3, width=6, dtype=torch.float64):
    return torch.randn(batch, length, width, generator=torch.Generator().manual_seed(1), dtype=dtype)


@pytest.mark.parametrize(("length", "batch"), [(21, 3), (1, 2), (5, 1)])
def test_step_by_step_it_is_the_same(length, batch):
    layer, u = mamba(), inputs(length, batch)
    with torch.no_grad():
        wanted, state, found = layer(u), None, []
        for t in range(length):
            y, state = layer.step(u[:, t], state)
            found.append(y)
    assert torch.allclose(torch.stack(found, 1), wanted, atol=1e-12)
    assert {tuple(part.shape) for part in state} == {(batch, 3, 12), (batch, 12, 8)}


def test_it_does_not_look_ahead():
    layer, u = mamba(), inputs()
    changed = u.clone()
    changed[:, 12:] += 1.0
    with torch.no_grad():
        before, after = layer(u), layer(changed)
    assert torch.equal(before[:, :12], after[:, :12])
    assert not torch.allclose(before[:, 12:], after[:, 12:])


def test_what_is_cut_is_the_selective_part():
    layer = mamba()
    ((name, core),) = reducible_layers(layer)
    assert name == "ssm"
    assert isinstance(core, Reducible)
    assert core.offers("observing")
    assert (core.state_dim, core.importance) == (8, "output_energy")


def test_without_calibration_nothing_is_said():
    layer = mamba()
    with pytest.raises(ValueError, match="not calibrated"):
        layer.ssm.extract()
    with pytest.raises(ValueError, match="no calibration sequence"), layer.ssm.observing():
        pass


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_cuts_one_after_the_other_and_training_goes_on(dtype, tolerance):
    layer, u = mamba(dtype=dtype), inputs(dtype=dtype)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-2, fused=True)
    for rank in (8, 5, 2, 1):
        for _ in range(3):
            optimizer.zero_grad()
            loss = (layer(u) - u).pow(2).mean()
            loss.backward()
            optimizer.step()
        with torch.no_grad(), layer.ssm.observing():
            layer(u)
        if rank < 8:
            reduction = layer.ssm.reduce(layer.ssm.extract(), rank)
            assert apply_reduction(layer.ssm, optimizer, reduction) < tolerance
        assert layer.ssm.state_dim == rank
        assert torch.isfinite(loss)
    assert {p for group in optimizer.param_groups for p in group["params"]} == set(layer.parameters())


def test_a_copy_keeps_what_was_measured_and_a_cut_forgets_it():
    layer, u = mamba(), inputs()
    with torch.no_grad(), layer.ssm.observing():
        layer(u)
    trial = copy.deepcopy(layer)
    apply_reduction(trial.ssm, None, trial.ssm.reduce(trial.ssm.extract(), 3))
    assert trial.ssm.statistics is None
    assert layer.ssm.extract().state_dim == 8


def test_measuring_changes_no_output_and_no_state_dict():
    layer, u = mamba(), inputs()
    names, wanted = list(layer.state_dict()), layer(u)
    with torch.no_grad(), layer.ssm.observing():
        assert torch.equal(layer(u), wanted)
    assert list(layer.state_dict()) == names


def test_sizes_that_cannot_be():
    with pytest.raises(ValueError, match="at least 1"):
        Mamba(0, 4)


def test_parts_of_any_size_count_by_what_they_hold():
    layer, u = mamba(), inputs(length=300, batch=8)  # more outputs than are kept
    u[-1] *= 2.0
    shares = []
    for parts in ([u], [u[:7], u[7:]], list(u.split(1))):
        with torch.no_grad(), layer.ssm.observing():
            for part in parts:
                layer(part)
        assert len(layer.ssm.statistics.samples.reads) <= 8192
        shares.append(layer.ssm.propose(layer.ssm.extract()).discarded_share[1:4])
    for found in shares[1:]:
        assert found == pytest.approx(shares[0], rel=0.25)
