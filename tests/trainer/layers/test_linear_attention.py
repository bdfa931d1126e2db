import pytest
import torch
from torch.nn import functional

from hankelboard.trainer.layers.linear_attention import LinearAttention


def attention(seed=0, dtype=torch.float64, **options):
    torch.manual_seed(seed)
    options = {"width": 6, "state_dim": 8, "heads": 3, "value_dim": 4} | options
    return LinearAttention(options.pop("width"), options.pop("state_dim"), **options).to(dtype)


def inputs(length=21, batch=3, width=6, dtype=torch.float64):
    return torch.randn(batch, length, width, generator=torch.Generator().manual_seed(1), dtype=dtype)


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


def test_sizes_that_cannot_be():
    with pytest.raises(ValueError, match="at least 1"):
        attention(heads=0)
