"""Cuts of several layers at once: all of them, or none."""

import pytest
import torch

from hankelboard.trainer.compression.what_if import cut
from hankelboard.trainer.layers.lru import LRU
from hankelboard.trainer.layers.network import SequenceModel


class Refusing(LRU):
    """An LRU whose reduction cannot be written back."""

    def write_back(self, reduction):
        super().write_back(reduction)
        raise ValueError("a value is not finite as float32")


def test_a_cut_that_fails_in_one_layer_leaves_model_and_optimizer_as_they_were():
    torch.manual_seed(0)
    kinds = iter((LRU, Refusing))
    model = SequenceModel(input_dim=1, classes=3, width=4, layers=2, mixer=lambda: next(kinds)(4, 8))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(2, 9, 1)).sum().backward()
    optimizer.step()
    before = {name: p.clone() for name, p in model.named_parameters()}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {id(p): optimizer.state[p]["exp_avg"].clone() for p in parameters if p in optimizer.state}
    with pytest.raises(ValueError, match="not finite"):
        cut(model, optimizer, [5, 5], "transport")
    after = dict(model.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert [id(p) for group in optimizer.param_groups for p in group["params"]] == list(map(id, parameters))
    assert set(map(id, after.values())) == set(map(id, parameters))
    assert all(torch.equal(optimizer.state[p]["exp_avg"], moments[id(p)]) for p in optimizer.state)
    assert len(optimizer.state) == len(moments)
