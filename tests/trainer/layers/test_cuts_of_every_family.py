"""What holds for a layer of every family when it is cut: small layers, without a run around them."""

import copy

import numpy as np
import pytest
import torch

from hankelboard.settings.config import parse
from hankelboard.settings.families import FAMILIES
from hankelboard.trainer.compression.calibration import calibrate
from hankelboard.trainer.compression.checkpoint import load_tensors
from hankelboard.trainer.layers.families import make_mixer
from hankelboard.trainer.reduction.reducible import Reducible
from hankelboard.trainer.reduction.surgery import apply_reduction, reducible_layers
from tests.trainer.layers.test_forms import WIDTH, in_steps, with_gradients

N = 8


def inputs(length=21, batch=3, dtype=torch.float64):
    return torch.randn(batch, length, WIDTH, generator=torch.Generator().manual_seed(1), dtype=dtype)


def layer_of(family, *, seed=0, states=N, dtype=torch.float64):
    """A layer, and its part that is cut."""
    torch.manual_seed(seed)
    layer = make_mixer(parse({"model": {"family": family, "width": WIDTH}}), 0, states).to(dtype)
    ((_, core),) = reducible_layers(layer)
    return layer, core


def calibrated(family, **options):
    layer, core = layer_of(family, **options)
    calibrate(layer, inputs())
    return layer, core


def cut(family, rank):
    """A calibrated layer that was cut, the part that was, and the reduction."""
    layer, core = calibrated(family)
    reduction = core.reduce(core.extract(), rank)
    apply_reduction(core, None, reduction)
    return layer, core, reduction


def size(module):
    return sum(parameter.numel() for parameter in module.parameters())


MEASURED = [family for family in FAMILIES if layer_of(family)[1].offers("observing")]
"""Families whose states are measured before they are cut."""


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


def test_it_does_not_look_ahead(family):
    (layer, _), x = layer_of(family), inputs(length=70)
    changed = x.clone()
    changed[:, 12:] += 1.0
    with torch.no_grad():
        before, after = layer(x), layer(changed)
    assert torch.allclose(before[:, :12], after[:, :12], atol=1e-12)
    assert not torch.allclose(before[:, 12:], after[:, 12:])


def test_what_is_cut_is_the_recurrence(family):
    layer, _ = layer_of(family)
    ((name, core),) = reducible_layers(layer)
    assert bool(name) == layer.gated
    assert isinstance(core, Reducible)
    assert (core.state_dim, core.importance) == (N, FAMILIES[family].importance.name)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_cuts_one_after_the_other_and_training_goes_on(family, dtype, tolerance):
    (layer, core), x = layer_of(family, dtype=dtype), inputs(dtype=dtype)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-2, fused=True)
    for rank in (8, 5, 2, 1):
        if rank < N:
            calibrate(layer, x)
            before = dict(core.named_parameters())
            assert apply_reduction(core, optimizer, core.reduce(core.extract(), rank)) < tolerance
            for name, parameter in core.named_parameters():
                assert parameter is before[name] or parameter.shape != before[name].shape
        for _ in range(3):
            optimizer.zero_grad()
            loss = (layer(x) - x).pow(2).mean()
            loss.backward()
            optimizer.step()
        assert core.state_dim == rank
        assert torch.isfinite(loss)
    assert {p for group in optimizer.param_groups for p in group["params"]} == set(layer.parameters())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 5e-5), (torch.float64, 1e-10)])
def test_a_layer_that_was_cut_streams_and_learns_as_it_did(family, dtype, tolerance):
    layer, x = cut(family, 3)[0].to(dtype), inputs(131, 2, dtype).requires_grad_()
    y, *found = with_gradients(layer, layer, x)
    y_wanted, *wanted = with_gradients(lambda x: in_steps(layer, x), layer, x)
    assert (y - y_wanted).norm() <= tolerance * y_wanted.norm()
    whole = torch.stack([gradient.norm() for gradient in wanted]).norm()
    for mine, reference in zip(found, wanted, strict=True):
        assert (mine - reference).norm() <= tolerance * torch.maximum(reference.norm(), 0.05 * whole)


def test_a_layer_of_another_size_takes_the_shapes_of_a_checkpoint(family):
    (layer, _, _), x = cut(family, 3), inputs()
    for other, core, *_ in (layer_of(family, seed=1), cut(family, 5)):
        load_tensors(other, None, layer.state_dict())
        assert core.state_dim == 3
        assert torch.equal(other(x), layer(x))
        assert [p.requires_grad for p in other.parameters()] == [p.requires_grad for p in layer.parameters()]


def test_a_cut_leaves_as_many_parameters_as_the_table_says(family):
    _, core = calibrated(family)
    table = core.propose(core.extract())
    for rank in (8, 7, 3):
        assert size(cut(family, rank)[1]) == table.parameters[rank]


def test_a_cut_at_the_full_rank_changes_nothing(family):
    (_, core), (_, whole, reduction) = calibrated(family), cut(family, N)
    assert whole.verify(reduction) == pytest.approx(0.0, abs=1e-14)
    for (name, before), (same, after) in zip(core.named_parameters(), whole.named_parameters(), strict=True):
        assert name == same and torch.equal(before, after)


@pytest.mark.parametrize("rank", [0, -1, 9])
def test_a_rank_that_is_none_is_refused(family, rank):
    _, core = calibrated(family)
    with pytest.raises(ValueError, match=f"rank = {rank}"):
        core.reduce(core.extract(), rank)


def test_of_one_state_all_or_nothing_is_kept(family):
    _, core = calibrated(family, states=1)
    assert core.propose(core.extract()).discarded_share == [1.0, 0.0]
    assert apply_reduction(core, None, core.reduce(core.extract(), 1)) == pytest.approx(0.0, abs=1e-12)


def test_what_is_not_finite_is_refused(family):
    layer, core = layer_of(family)
    with torch.no_grad():
        next(core.parameters()).view(-1)[0] = float("nan")
    calibrate(layer, inputs())
    for ask in (core.propose, core.spectrum, lambda system: core.reduce(system, 3)):
        with pytest.raises(ValueError, match="not finite"):
            ask(core.extract())


def test_what_is_written_back_is_compared_with_what_was_intended(family):
    (_, whole), (_, core, reduction) = calibrated(family), cut(family, 5)
    assert whole.verify(reduction) == float("inf")
    assert core.verify(reduction) < 1e-10
    shapes = {name: p.shape for name, p in whole.named_parameters()}
    with torch.no_grad():
        for name, parameter in core.named_parameters():
            if parameter.shape != shapes[name]:
                parameter *= 1.01
    assert core.verify(reduction) > 1e-4


def test_moments_that_the_optimizer_has_not_are_not_asked_for(family):
    _, core = calibrated(family)
    reduction = core.reduce(core.extract(), 5)
    shapes = {name: p.shape for name, p in core.named_parameters()}
    after = {name: p.shape for name, p in cut(family, 5)[1].named_parameters()}
    for name, shape in shapes.items():
        if shape.numel():
            for moved in core.transport_moments(reduction, {name: np.ones(shape)}, {name: np.ones(shape)}):
                assert {key: values.shape for key, values in moved.items()} == {name: after[name]}


@pytest.mark.parametrize("family", MEASURED)
def test_without_calibration_nothing_is_said(family):
    _, core = layer_of(family)
    with pytest.raises(ValueError, match="not calibrated"):
        core.extract()
    with pytest.raises(ValueError, match="no calibration sequence"), core.observing():
        pass


@pytest.mark.parametrize("family", MEASURED)
def test_a_copy_keeps_what_was_measured_and_a_cut_forgets_it(family):
    _, core = calibrated(family)
    trial = copy.deepcopy(core)
    apply_reduction(trial, None, trial.reduce(trial.extract(), 3))
    with pytest.raises(ValueError, match="not calibrated"):
        trial.extract()
    assert core.extract().state_dim == N


@pytest.mark.parametrize("family", MEASURED)
def test_measuring_changes_no_output_and_no_state_dict(family):
    (layer, core), x = layer_of(family), inputs()
    names, wanted = list(layer.state_dict()), layer(x)
    with torch.no_grad(), core.observing():
        assert torch.equal(layer(x), wanted)
    assert list(layer.state_dict()) == names
