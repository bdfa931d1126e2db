"""Parameters go into a reduction and come back as copies, in double precision, too."""

import numpy as np
import pytest
import torch
from torch import nn

from hankelboard.trainer.layers.parameters import parameters64, replace_parameters
from hankelboard.trainer.layers.state_map import StateMap

DTYPES = [torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
def test_training_a_layer_does_not_change_what_was_written_into_it(dtype):
    layer, values = nn.Linear(3, 2, dtype=dtype), {"weight": np.ones((5, 3))}
    replace_parameters(layer, values)
    with torch.no_grad():
        layer.weight.mul_(2.0)
    assert layer.weight.dtype == dtype and (values["weight"] == 1.0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_was_read_from_a_layer_does_not_change_with_it(dtype):
    layer = nn.Linear(3, 2, dtype=dtype)
    before = parameters64(layer)["weight"].copy()
    read = parameters64(layer)["weight"]
    with torch.no_grad():
        layer.weight.mul_(2.0)
    assert (read == before).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_training_a_map_does_not_change_the_matrices_it_was_made_from(dtype):
    state_map, matrices = StateMap(2, 4).to(dtype), np.ones((2, 3, 4))
    state_map.replace(matrices)
    with torch.no_grad():
        state_map.weight.mul_(2.0)
    assert state_map.weight.dtype == dtype and (matrices == 1.0).all()
