"""The classifier around a sequence layer."""

import pytest
import torch
from torch import nn

from hankelboard.trainer.layers.lru import LRU
from hankelboard.trainer.layers.network import Block, SequenceModel


def network(**options):
    torch.manual_seed(0)
    defaults = {"input_dim": 2, "classes": 5, "width": 6, "layers": 2, "mixer": lambda: LRU(6, 4)}
    return SequenceModel(**defaults | options)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_sequences_become_logits_and_every_parameter_learns(norm):
    model = network(norm=norm, dropout=0.1)
    logits = model(torch.randn(3, 20, 2))
    assert logits.shape == (3, 5)
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_the_mixer_is_made_once_per_block_in_order():
    widths = iter((3, 7, 5))
    model = network(layers=3, mixer=lambda: LRU(6, next(widths)))
    assert [block.mixer.state_dim for block in model.blocks] == [3, 7, 5]


def test_block_is_norm_mixer_gelu_glu_and_residual():
    torch.manual_seed(0)
    block = Block(4, nn.Linear(4, 4), norm="batch").double()
    h = torch.randn(3, 10, 4, dtype=torch.float64)
    z = (h - h.mean((0, 1))) / (h.var((0, 1), correction=0) + 1e-5).sqrt()
    z = block.glu(nn.functional.gelu(block.mixer(z)))
    torch.testing.assert_close(block(h), h + z[..., :4] * torch.sigmoid(z[..., 4:]))


def test_batch_norm_uses_running_statistics_in_evaluation():
    model = network(norm="batch")
    x = torch.randn(8, 20, 2)
    model(x)
    model.eval()
    torch.testing.assert_close(model(x)[:1], model(x[:1]))


def test_norms_have_no_parameters():
    for norm in ("batch", "layer"):
        assert not list(network(norm=norm).blocks[0].norm.parameters())


def test_logits_are_the_head_of_the_mean_over_time():
    model = network(mixer=nn.Identity, norm="layer")
    x = torch.randn(2, 1, 2).expand(2, 30, 2)
    torch.testing.assert_close(model(x), model(x[:, :1]))


def test_dropout_acts_in_training_only():
    model = network(norm="layer", dropout=0.5)
    x = torch.randn(4, 20, 2)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "group"}, "allowed are batch, layer"),
        ({"dropout": 1.0}, "dropout must be in"),
        ({"dropout": -0.1}, "dropout must be in"),
        ({"layers": 0}, "at least 1"),
        ({"classes": 0}, "at least 1"),
    ],
)
def test_arguments_out_of_range_are_refused_with_what_is_allowed(options, message):
    with pytest.raises(ValueError, match=message):
        network(**options)


def test_masked_pooling_leaves_out_the_padding():
    torch.manual_seed(0)
    network = SequenceModel(
        input_dim=3, classes=2, width=4, layers=1, mixer=lambda: LRU(4, 5), norm="layer", pooling="masked"
    ).eval()
    short = torch.nn.functional.one_hot(torch.tensor([[0, 2, 1]]), 3)
    padded = torch.cat([short, torch.zeros(1, 4, 3, dtype=short.dtype)], dim=1)
    assert torch.allclose(network(padded), network(short), atol=1e-6)
    network.pooling = "mean"
    assert not torch.allclose(network(padded), network(short), atol=1e-3)
    with pytest.raises(ValueError, match="pooling is 'max'"):
        SequenceModel(input_dim=1, classes=2, width=4, layers=1, mixer=lambda: LRU(4, 5), pooling="max")
