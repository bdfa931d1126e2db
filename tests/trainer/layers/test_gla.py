import copy

import pytest
import torch

from hankelboard.trainer.layers.gla import GLA, ChannelDecayAttention
from hankelboard.trainer.layers.recurrences.channel_decay import channel_decay_sequential
from hankelboard.trainer.reduction.surgery import apply_reduction


def gla(seed=0, dtype=torch.float64, **options):
    torch.manual_seed(seed)
    options = {"heads": 2, "gate_rank": 3, **options}
    return GLA(options.pop("width", 6), options.pop("state_dim", 8), **options).to(dtype)


def inputs(length=21, batch=3, width=6, dtype=torch.float64):
    return torch.randn(batch, length, width, generator=torch.Generator().manual_seed(1), dtype=dtype)


@pytest.mark.parametrize(("length", "batch"), [(21, 3), (1, 2), (70, 1)])
def test_step_by_step_it_is_the_same(length, batch):
    layer, x = gla(), inputs(length, batch)
    with torch.no_grad():
        wanted, state, found = layer(x), None, []
        for t in range(length):
            y, state = layer.step(x[:, t], state)
            found.append(y)
    assert torch.allclose(torch.stack(found, 1), wanted, atol=1e-12)
    assert [part.shape for part in state] == [(batch, 2, 8, 3)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_trained_in_chunks_or_step_by_step_gradients_are_the_same(dtype, tolerance):
    layer, x = gla(dtype=dtype), inputs(101, dtype=dtype)
    layer(x).pow(2).sum().backward()
    core = copy.deepcopy(layer)
    core.zero_grad()
    core.output(channel_decay_sequential(*core.attention._inputs(x)), x).pow(2).sum().backward()
    for found, wanted in zip(layer.parameters(), core.parameters(), strict=True):
        assert (found.grad - wanted.grad).norm() <= tolerance * wanted.grad.norm()


def test_heads_keep_the_size_of_their_outputs_apart():
    layer, x = gla(), inputs()
    with torch.no_grad():
        wanted = layer(x)
        layer.attention.W_v[0] *= 100.0  # the norm of a head takes it out again
        assert torch.allclose(layer(x), wanted, atol=1e-4)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_cuts_one_after_the_other_and_training_goes_on(dtype, tolerance):
    layer, x = gla(dtype=dtype), inputs(dtype=dtype)
    core = layer.attention
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
    assert {p for group in optimizer.param_groups for p in group["params"]} == set(layer.parameters())


def test_sizes_that_cannot_be():
    with pytest.raises(ValueError, match="at least 1"):
        GLA(4, 0)
    with pytest.raises(ValueError, match="at least 0"):
        GLA(4, 4, value_dim=-1)


def test_a_width_that_heads_do_not_divide():
    assert gla(width=5, heads=2).attention.W_v.shape == (2, 3, 5)


def test_parts_of_any_size_count_by_what_they_hold():
    torch.manual_seed(0)
    core = ChannelDecayAttention(6, 8, 2, 3, 4).double()
    u = torch.randn(12, 300, 6).double() @ torch.randn(6, 6).double()  # more outputs than are kept
    u[-1] *= 2.0
    shares = []
    for parts in ([u], [u[:11], u[11:]]):
        with torch.no_grad(), core.observing():
            for part in parts:
                core(part)
        assert all(len(sample.reads) <= 8192 for sample in core.statistics.samples)
        shares.append(core.propose(core.extract()).discarded_share[1:4])
    assert shares[1] == pytest.approx(shares[0], rel=0.25)
