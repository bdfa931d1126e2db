import copy

import pytest
import torch
from torch.nn import functional

from hankelboard.trainer.layers.linear_attention import LinearAttention
from hankelboard.trainer.reduction.reducible import Reducible
from hankelboard.trainer.reduction.surgery import apply_reduction, reducible_layers


def attention(seed=0, dtype=torch.float64, **options):
    torch.manual_seed(seed)
    options = {"width": 6, "state_dim": 8, "heads": 3, "value_dim": 4} | options
    return LinearAttention(options.pop("width"), options.pop("state_dim"), **options).to(dtype)


def inputs(length=21, batch=3, width=6, dtype=torch.float64):
    return torch.randn(batch, length, width, generator=torch.Generator().manual_seed(1), dtype=dtype)


def in_steps(layer, x):
    state, outputs = None, []
    for x_t in x.unbind(1):
        y, state = layer.step(x_t, state)
        outputs.append(y)
    return torch.stack(outputs, 1)


def with_gradients(function, layer, x):
    y = function(x)
    weights = torch.linspace(-1.0, 2.0, y.numel(), dtype=y.dtype).view_as(y)
    return [y, *torch.autograd.grad((y * weights).sum(), list(layer.parameters()))]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize(("length", "batch"), [(21, 3), (1, 2), (5, 1), (131, 1)])
def test_step_by_step_it_is_the_same_and_learns_the_same(length, batch, dtype, tolerance):
    layer, x = attention(dtype=dtype), inputs(length, batch, dtype=dtype)
    for found, wanted in zip(
        with_gradients(layer, layer, x),
        with_gradients(lambda x: in_steps(layer, x), layer, x),
        strict=True,
    ):
        assert (found - wanted).norm() <= tolerance * wanted.norm()


def test_it_is_attention_with_weights_that_fall_with_distance():
    layer, x = attention(), inputs()
    core, steps, wanted = layer.retention, torch.arange(21, dtype=torch.float64), []
    for head in range(3):
        a = core.log_decay[head].exp()
        q, k, v = (x @ W[head].T for W in (core.W_q, core.W_k, core.W_v))
        weights = (q @ k.mT) * (a ** (steps[:, None] - steps)).tril()
        wanted.append(weights @ v * torch.sqrt(1.0 - a**2))
    o = torch.stack(wanted, dim=2)
    assert torch.allclose(core(x), o, atol=1e-12)
    normalised = o / torch.sqrt(o.pow(2).mean(-1, keepdim=True) + 1e-6)
    gated = normalised.flatten(-2) * functional.silu(layer.output.gate(x))
    assert torch.allclose(layer(x), layer.output.outer(gated), atol=1e-12)


def test_heads_remember_from_about_32_to_about_512_steps():
    decays = attention(heads=5).retention.log_decay.exp()
    assert (1.0 / (1.0 - decays)).tolist() == pytest.approx([32, 64, 128, 256, 512], rel=1e-4)


def test_it_does_not_look_ahead():
    layer, x = attention(), inputs(length=70)
    changed = x.clone()
    changed[:, 12:] += 1.0
    with torch.no_grad():
        before, after = layer(x), layer(changed)
    assert torch.equal(before[:, :12], after[:, :12])
    assert not torch.allclose(before[:, 12:], after[:, 12:])


def test_what_is_cut_are_the_states():
    ((name, core),) = reducible_layers(attention())
    assert name == "retention"
    assert isinstance(core, Reducible)
    assert core.offers("observing")
    assert (core.state_dim, core.importance) == (8, "hsv_squared")


def test_without_calibration_nothing_is_said():
    core = attention().retention
    with pytest.raises(ValueError, match="not calibrated"):
        core.extract()
    with pytest.raises(ValueError, match="no calibration sequence"), core.observing():
        pass


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_cuts_one_after_the_other_and_training_goes_on(dtype, tolerance):
    layer, x = attention(dtype=dtype), inputs(dtype=dtype)
    core, optimizer = layer.retention, torch.optim.AdamW(layer.parameters(), lr=1e-2, fused=True)
    for rank in (8, 5, 2, 1):
        for _ in range(3):
            optimizer.zero_grad()
            loss = (layer(x) - x).pow(2).mean()
            loss.backward()
            optimizer.step()
        with torch.no_grad(), core.observing():
            layer(x)
        if rank < 8:
            reduction = core.reduce(core.extract(), rank)
            assert apply_reduction(core, optimizer, reduction) < tolerance
        assert core.state_dim == rank
        assert torch.isfinite(loss)
    assert {p for group in optimizer.param_groups for p in group["params"]} == set(layer.parameters())


def test_a_cut_removes_as_many_parameters_as_the_table_says():
    layer, x = attention(), inputs()
    with torch.no_grad(), layer.retention.observing():
        layer(x)
    table = layer.retention.propose(layer.retention.extract())
    for rank in (8, 3):
        trial = copy.deepcopy(layer).retention
        trial.write_back(trial.reduce(trial.extract(), rank))
        assert sum(p.numel() for p in trial.parameters()) == table.parameters[rank]


def test_a_copy_keeps_what_was_measured_and_a_cut_forgets_it():
    layer, x = attention(), inputs()
    with torch.no_grad(), layer.retention.observing():
        layer(x)
    trial = copy.deepcopy(layer)
    apply_reduction(trial.retention, None, trial.retention.reduce(trial.retention.extract(), 3))
    assert trial.retention.statistics is None
    assert layer.retention.extract().state_dim == 8


def test_measuring_changes_no_output_and_no_state_dict():
    layer, x = attention(), inputs()
    names, wanted = list(layer.state_dict()), layer(x)
    with torch.no_grad(), layer.retention.observing():
        assert torch.equal(layer(x), wanted)
    assert list(layer.state_dict()) == names


def test_sizes_that_cannot_be():
    with pytest.raises(ValueError, match="at least 1"):
        attention(heads=0)
