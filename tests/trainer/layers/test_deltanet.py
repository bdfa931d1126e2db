import copy

import pytest
import torch

from hankelboard.trainer.layers.deltanet import DeltaNet
from hankelboard.trainer.layers.recurrences.delta_rule import delta_rule_sequential
from hankelboard.trainer.reduction.surgery import apply_reduction


def delta_rule_inputs(rule, x):
    return *rule._keys_and_values(rule.convolution(rule.inner(x))), *rule._strength_and_decay(x)


def deltanet(seed=0, dtype=torch.float64, **options):
    torch.manual_seed(seed)
    options = {"heads": 2, "conv": 3, **options}
    return DeltaNet(options.pop("width", 6), options.pop("state_dim", 8), **options).to(dtype)


def inputs(length=21, batch=3, width=6, dtype=torch.float64):
    return torch.randn(batch, length, width, generator=torch.Generator().manual_seed(1), dtype=dtype)


@pytest.mark.parametrize(("length", "batch"), [(21, 3), (1, 2), (70, 1)])
def test_step_by_step_it_is_the_same(length, batch):
    layer, x = deltanet(), inputs(length, batch)
    with torch.no_grad():
        wanted, state, found = layer(x), None, []
        for t in range(length):
            y, state = layer.step(x[:, t], state)
            found.append(y)
    assert torch.allclose(torch.stack(found, 1), wanted, atol=1e-12)
    assert [part.shape for part in state] == [(batch, 2, 38), (batch, 2, 8, 3)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_trained_in_chunks_or_step_by_step_gradients_are_the_same(dtype, tolerance):
    layer, x = deltanet(dtype=dtype), inputs(101, dtype=dtype)
    layer(x).pow(2).sum().backward()
    core = copy.deepcopy(layer)
    core.zero_grad()
    core.output(delta_rule_sequential(*delta_rule_inputs(core.rule, x)), x).pow(2).sum().backward()
    for found, wanted in zip(layer.parameters(), core.parameters(), strict=True):
        assert found.grad is not None or found is layer.rule.map.weight
        assert found.grad is None or (found.grad - wanted.grad).norm() <= tolerance * wanted.grad.norm()


def test_keys_and_queries_are_at_most_of_length_1():
    rule, x = deltanet().rule, 100.0 * inputs()
    q, k, *_ = delta_rule_inputs(rule, x)
    for part in (q, k):
        length = part.norm(dim=-1)
        assert length.max() <= 1.0 + 1e-12
        assert length.median() > 0.999


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_cuts_one_after_the_other_and_training_goes_on(dtype, tolerance):
    layer, x = deltanet(dtype=dtype), inputs(dtype=dtype)
    core = layer.rule
    optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-2, fused=True)
    for rank in (8, 5, 2, 1):
        for _ in range(3):
            optimizer.zero_grad()
            loss = (layer(x) - x).pow(2).mean()
            loss.backward()
            optimizer.step()
        with torch.no_grad(), core.observing():
            layer(x)
        if rank < 8:
            assert apply_reduction(core, optimizer, core.reduce(core.extract(), rank)) < tolerance
            with pytest.raises(ValueError, match="not calibrated"):
                core.extract()
        assert core.state_dim == rank
        assert torch.isfinite(loss)
        if rank < 8:  # the map was not trained
            M = torch.from_numpy(core.map.matrices())
            assert torch.allclose(M @ M.mT, torch.eye(rank).double(), atol=tolerance)
    assert {p for group in optimizer.param_groups for p in group["params"]} == set(layer.parameters())


def test_sizes_that_cannot_be():
    with pytest.raises(ValueError, match="at least 1"):
        DeltaNet(4, 0)
    with pytest.raises(ValueError, match="at least 0"):
        DeltaNet(4, 4, value_dim=-1)


def test_a_width_that_heads_do_not_divide():
    assert deltanet(width=5, heads=2).output.scale.shape == (3,)
