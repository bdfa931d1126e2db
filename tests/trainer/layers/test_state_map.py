import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from hankelboard.trainer.compression.checkpoint import load_tensors, restore_payload, write_payload
from hankelboard.trainer.compression.loop_state import LoopState
from hankelboard.trainer.layers.mamba2 import Mamba2
from hankelboard.trainer.layers.state_map import StateMap


class Model(nn.Module):
    """A projection, an activation, and the map of 2 groups of 4 states."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.projection = nn.Linear(3, 8)
        self.map = StateMap(2, 4)

    def forward(self, x):
        return self.map(torch.tanh(self.projection(x)).unflatten(-1, (2, 4)))


def matrices(rank, columns=4, seed=0):
    return np.random.default_rng(seed).standard_normal((2, rank, columns))


def optimizer_of(model):
    return torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)


def train(model, optimizer, steps=3):
    x = torch.linspace(-1.0, 1.0, 15).view(5, 3)
    for _ in range(steps):
        optimizer.zero_grad()
        model(x).pow(2).sum().backward()
        optimizer.step()


def test_without_a_cut_keys_pass_as_they_are():
    keys = torch.randn(3, 5, 2, 4)
    state_map = StateMap(2, 4)
    assert state_map(keys) is keys
    assert state_map.state_dim == 4
    assert (state_map.matrices() == np.eye(4)).all()


@pytest.mark.parametrize("rank", [1, 3, 4])
def test_after_a_cut_each_group_has_its_matrix(rank):
    keys, wanted = torch.randn(3, 5, 2, 4).double(), matrices(rank)
    state_map = StateMap(2, 4).double()
    state_map.replace(wanted)
    for group in range(2):
        found = state_map(keys)[:, :, group]
        assert torch.allclose(found, keys[:, :, group] @ torch.as_tensor(wanted[group]).T)
    assert state_map.state_dim == rank
    assert (state_map.matrices() == wanted).all()


def test_cuts_compose():
    keys, first, second = torch.randn(7, 2, 4).double(), matrices(3), matrices(2, columns=3, seed=1)
    both, one, other = StateMap(2, 4).double(), StateMap(2, 4).double(), StateMap(2, 3).double()
    one.replace(first)
    other.replace(second)
    both.replace(second @ first)
    assert torch.allclose(both(keys), other(one(keys)), atol=1e-12)


def test_a_map_that_is_not_there_is_no_parameter_to_learn():
    model = Model()
    optimizer = optimizer_of(model)
    train(model, optimizer)
    assert model.map.weight.grad is None
    assert model.map.weight not in optimizer.state
    assert sum(parameter.numel() for parameter in model.map.parameters()) == 0


def test_an_inserted_map_learns_with_the_fused_optimizer():
    model = Model()
    model.map.replace(matrices(2))
    before = model.map.matrices()
    train(model, optimizer_of(model))
    assert not np.allclose(model.map.matrices(), before)


def test_safetensors_keep_the_shape_of_an_empty_map(tmp_path):
    save_file(StateMap(2, 4).state_dict(), tmp_path / "map.safetensors")
    assert load_file(tmp_path / "map.safetensors")["weight"].shape == (2, 0, 4)


def layer(rank):
    """A layer with two maps, at this rank; 0: not cut."""
    torch.manual_seed(0)
    made = Mamba2(4, 4, heads=2, groups=2)
    made.ssd.replace(matrices(rank), matrices(rank, seed=1))
    return made


def train_layer(made, optimizer):
    u = torch.linspace(-1.0, 1.0, 40).view(2, 5, 4)
    for _ in range(3):
        optimizer.zero_grad()
        made(u).pow(2).sum().backward()
        optimizer.step()


@pytest.mark.parametrize(("written", "loaded"), [(0, 2), (2, 0), (2, 3), (0, 0)])
def test_weights_give_a_map_its_shape_back(written, loaded):
    source, other = layer(written), layer(loaded)
    optimizer = optimizer_of(other)
    load_tensors(other, optimizer, source.state_dict())
    assert torch.equal(other.ssd.map_B.weight, source.ssd.map_B.weight)
    assert torch.equal(other.ssd.map_C.weight, source.ssd.map_C.weight)
    assert {p for group in optimizer.param_groups for p in group["params"]} == set(other.parameters())


@pytest.mark.parametrize("rank", [0, 2])
def test_a_checkpoint_restores_the_map_and_its_moments(tmp_path, rank):
    source, other = layer(rank), layer(0)
    optimizers = [optimizer_of(source), optimizer_of(other)]
    train_layer(source, optimizers[0])
    write_payload(tmp_path, source, optimizers[0], {}, LoopState(step=3))
    restore_payload(tmp_path, other, optimizers[1], {}, torch.device("cpu"))
    for each, optimizer in zip((source, other), optimizers, strict=True):
        train_layer(each, optimizer)
    assert json.loads((tmp_path / "loop.json").read_text())["loop"]["step"] == 3
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), other.parameters(), strict=True))
    assert other.ssd.state_dim == (rank or 4)
