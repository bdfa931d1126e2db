import pytest
import torch

from hankelboard.trainer.layers.gla import GLA, ChannelDecayAttention


def gla(seed=0, dtype=torch.float64, **options):
    torch.manual_seed(seed)
    options = {"heads": 2, "gate_rank": 3, **options}
    return GLA(options.pop("width", 6), options.pop("state_dim", 8), **options).to(dtype)


def inputs(length=21, batch=3, width=6, dtype=torch.float64):
    return torch.randn(batch, length, width, generator=torch.Generator().manual_seed(1), dtype=dtype)


def test_heads_keep_the_size_of_their_outputs_apart():
    layer, x = gla(), inputs()
    with torch.no_grad():
        wanted = layer(x)
        layer.attention.W_v[0] *= 100.0  # the norm of a head takes it out again
        assert torch.allclose(layer(x), wanted, atol=1e-4)


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
