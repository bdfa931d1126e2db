import pytest
import torch

from hankelboard.trainer.layers.deltanet import DeltaNet


def delta_rule_inputs(rule, x):
    return *rule._keys_and_values(rule.convolution(rule.inner(x))), *rule._strength_and_decay(x)


def deltanet(seed=0, dtype=torch.float64, **options):
    torch.manual_seed(seed)
    options = {"heads": 2, "conv": 3, **options}
    return DeltaNet(options.pop("width", 6), options.pop("state_dim", 8), **options).to(dtype)


def inputs(length=21, batch=3, width=6, dtype=torch.float64):
    return torch.randn(batch, length, width, generator=torch.Generator().manual_seed(1), dtype=dtype)


def test_keys_and_queries_are_at_most_of_length_1():
    rule, x = deltanet().rule, 100.0 * inputs()
    q, k, *_ = delta_rule_inputs(rule, x)
    for part in (q, k):
        length = part.norm(dim=-1)
        assert length.max() <= 1.0 + 1e-12
        assert length.median() > 0.999


def test_sizes_that_cannot_be():
    with pytest.raises(ValueError, match="at least 1"):
        DeltaNet(4, 0)
    with pytest.raises(ValueError, match="at least 0"):
        DeltaNet(4, 4, value_dim=-1)


def test_a_width_that_heads_do_not_divide():
    assert deltanet(width=5, heads=2).output.scale.shape == (3,)
