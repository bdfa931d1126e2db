"""Presets are ready to train: their data, network and reductions fit together."""

import pytest
import torch

from hankelboard.settings.families import FAMILIES
from hankelboard.settings.preset import presets
from hankelboard.trainer.data import load_task
from hankelboard.trainer.data.scoring import cross_entropy
from hankelboard.trainer.data.task import Split, Task
from hankelboard.trainer.reduction.surgery import reducible_layers
from hankelboard.trainer.training.model import build_model

LARGE = ("listops-lru",)
"""Whose data take minutes to generate."""


def sequences(length, channels):
    """As a data set that must be downloaded would look."""
    split = Split(torch.randn(8, length, channels), torch.arange(8))
    return Task(split, split, split, classes=10)


STAND_INS = {"smnist": (784, 1), "cifar": (1024, 3)}
SMALL = [name for name in presets() if name not in LARGE and not name.startswith("cifar")]


@pytest.fixture(scope="module")
def task_of():
    """The task of a preset, loaded once for all that share it."""
    known = {}

    def load(config):
        key = str(config.data)
        if key not in known:
            stand_in = STAND_INS.get(config.data.task)
            known[key] = sequences(*stand_in) if stand_in else load_task(config.data)
        return known[key]

    return load


@pytest.mark.parametrize("name", SMALL)
def test_a_preset_makes_a_network_that_learns_from_its_data(task_of, name):
    config = presets()[name].config
    task = task_of(config)
    torch.manual_seed(0)
    model = build_model(config, task)
    loss = cross_entropy(model(task.train.inputs[:4]), task.train.labels[:4])
    loss.backward()
    assert torch.isfinite(loss)
    dims = [layer.state_dim for _, layer in reducible_layers(model)]
    assert dims == config.state_dims
    used = [p for p in model.parameters() if p.numel()]  # maps of states are empty before the first cut
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in used)


def test_every_family_has_a_preset_on_digits():
    assert {f"digits-{family}" for family in FAMILIES} <= set(presets())
    assert {presets()[f"digits-{family}"].family for family in FAMILIES} == set(FAMILIES)


def test_families_of_the_literature_that_normalise_layers_do_so():
    selective = [preset for preset in presets().values() if preset.family != "lru"]
    assert {preset.config.model.norm for preset in selective} == {"layer"}
