import pytest
import torch

from hankelboard.trainer.layers.mamba import Mamba


def mamba(seed=0, dtype=torch.float64, **options):
    torch.manual_seed(seed)
    return Mamba(options.pop("width", 6), options.pop("state_dim", 8), **options).to(dtype)


def inputs(length=21, batch=3, width=6, dtype=torch.float64):
    return torch.randn(batch, length, width, generator=torch.Generator().manual_seed(1), dtype=dtype)


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
        assert len(layer.ssm.statistics.samples[0].reads) <= 8192
        shares.append(layer.ssm.propose(layer.ssm.extract()).discarded_share[1:4])
    for found in shares[1:]:
        assert found == pytest.approx(shares[0], rel=0.25)
