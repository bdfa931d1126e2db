"""Batches of any form are counted, cut and measured like the tensor that they hold."""

import copy

import pytest
import torch
from torch import nn

from hankelboard.settings.config import parse
from hankelboard.trainer.compression.batches import moved, parts, samples, some, steps
from hankelboard.trainer.compression.calibration import calibrate, held_out
from hankelboard.trainer.compression.evidence import Occasion, gather
from hankelboard.trainer.compression.output_errors import layer_errors
from hankelboard.trainer.data import load_task
from hankelboard.trainer.layers.mamba import Mamba
from hankelboard.trainer.reduction.surgery import reducible_layers
from hankelboard.trainer.training.model import build_model
from hankelboard.trainer.training.workload import TaskWorkload


def test_only_what_shares_the_first_axis_is_cut():
    x, weight = torch.randn(5, 7, 2), torch.tensor(0.5)
    batch = {"x": x, "more": [x[:, 0], ("text", None)], "weight": weight, "other": torch.ones(3)}
    assert (samples(batch), steps(batch), steps(torch.ones(4))) == (5, 7, 1)
    part = some(batch, slice(1, None, 2))
    assert torch.equal(part["x"], x[1::2]) and torch.equal(part["more"][0], x[1::2, 0])
    assert part["more"][1] == ("text", None) and part["weight"] is weight and len(part["other"]) == 3
    assert moved(batch, torch.device("cpu"))["more"][1] == ("text", None)


@pytest.mark.parametrize("count", range(1, 8))
def test_parts_are_those_of_the_tensor(count):
    x = torch.arange(14.0).view(7, 2)
    for part, expected in zip(parts((x, x + 1), count), x.tensor_split(count), strict=True):
        assert torch.equal(part[0], expected) and torch.equal(part[1], expected + 1)


@pytest.mark.parametrize("batch", [{}, [1, 2], torch.tensor(1.0), "text"])
def test_a_batch_without_samples_is_refused(batch):
    with pytest.raises(ValueError, match="first axis counts samples"):
        samples(batch)


class Scaled(nn.Module):
    """Takes its layer's input by keyword and wants two tensors."""

    def __init__(self):
        super().__init__()
        self.mixer = Mamba(4, 6)

    def forward(self, x, scale):
        return self.mixer(x * scale[:, None, None])


def test_a_model_that_wants_a_dict_is_measured_like_one_that_wants_a_tensor():
    torch.manual_seed(0)
    model, x, scale = Scaled(), torch.randn(6, 20, 4), torch.rand(6) + 0.5
    plain = copy.deepcopy(model.mixer)
    calibrate(model, {"x": x, "scale": scale}, lambda model, batch: model(**batch))
    calibrate(plain, x * scale[:, None, None])
    ranks = [[2, 4]]
    of_dict = layer_errors(
        model, held_out({"x": x, "scale": scale}), ranks, lambda model, batch: model(**batch)
    )
    assert of_dict == layer_errors(plain, held_out(x * scale[:, None, None]), ranks) != [[None, None]]


class Doubled(TaskWorkload):
    """The same task, whose model is called with a pair."""

    def calibration_inputs(self, position):
        inputs = super().calibration_inputs(position)
        return inputs, torch.ones(len(inputs))

    def forward(self, model, inputs):
        return model(inputs[0])


@pytest.mark.parametrize("family", ["lru", "mamba"])
def test_the_evidence_of_a_proposal_goes_through_the_forward_of_the_workload(family):
    model = {"family": family, "width": 8, "state_dim": 6, "layers": 1, "norm": "layer"}
    settings = {"calibration": 12, "evidence_samples": 40, "grid": [1.0]}
    config = parse({"model": model, "reduction": settings, "training": {"batch": 4}})
    task = load_task(config.data)
    found = []
    for kind in (TaskWorkload, Doubled):
        workload = kind(config, task, torch.device("cpu"))
        torch.manual_seed(0)
        network = build_model(config, task)
        calibrate(network, workload.calibration_inputs(0), workload.forward)
        assert len(reducible_layers(network)) == 1
        found.append(gather(network, workload, config.reduction, Occasion(share=0.34)))
    assert found[0]["layers"][0]["output_error"] == found[1]["layers"][0]["output_error"]
    assert found[0]["ranks"] == found[1]["ranks"]
