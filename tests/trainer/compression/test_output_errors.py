"""The error of each layer's output is the one that a cut by hand makes, on sequences that were held out."""

import copy

import pytest
import torch
from torch import nn

from hankelboard.settings.config import parse
from hankelboard.settings.families import FAMILIES
from hankelboard.storage.proposals import measured_error, read_proposal
from hankelboard.trainer.compression.calibration import calibrate, held_out
from hankelboard.trainer.compression.evidence import Occasion, complete, gather
from hankelboard.trainer.compression.output_errors import layer_errors, rank_grid
from hankelboard.trainer.data import load_task
from hankelboard.trainer.layers.lru import LRU
from hankelboard.trainer.reduction.surgery import apply_reduction, reducible_layers
from hankelboard.trainer.training.model import build_model
from hankelboard.trainer.training.workload import TaskWorkload

REDUCTION = {"calibration": 12, "evidence_samples": 40, "tolerance": 0.05, "gate": 1.0, "grid": [1.0]}


def network(family, states=6):
    model = {"family": family, "width": 8, "state_dim": states, "layers": 2, "norm": "layer"}
    config = parse({"model": model, "reduction": REDUCTION, "training": {"batch": 4}})
    task = load_task(config.data)
    torch.manual_seed(0)
    workload = TaskWorkload(config, task, torch.device("cpu"))
    inputs = workload.calibration_inputs(0)
    return calibrate(build_model(config, task), inputs), workload, inputs, config.reduction


def by_hand(model, inputs, index, rank):
    """Error of one layer: a copy of it is cut and called with what a hook saw of the model as it is."""
    model = copy.deepcopy(model).eval()
    _, layer = reducible_layers(model)[index]
    seen = []
    hook = layer.register_forward_hook(lambda module, given, result: seen.append((given[0], result)))
    with torch.no_grad():
        model(inputs)
        hook.remove()
        u, y = seen[0]
        apply_reduction(layer, None, layer.reduce(layer.extract(), rank))
        direct = layer.D * u if hasattr(layer, "D") else 0.0
        return float((layer(u) - y).norm() / (y - direct).norm())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_grid_of_every_family_is_what_a_cut_by_hand_makes(family):
    model, workload, inputs, config = network(family)
    proposal = gather(model, workload, config, Occasion(share=0.34))
    for index, layer in enumerate(proposal["layers"]):
        measured = layer["output_error"]
        wanted = [rank for rank in range(1, 6) if layer["realisable"][rank]]
        assert (measured["ranks"], measured["sequences"]) == (wanted, 6)
        assert measured["split"] == "calibration, held out"
        has_direct = hasattr(reducible_layers(model)[index][1], "D")
        assert measured["relative_to"] == ("y - D*u" if has_direct else "y")
        for rank, error in zip(measured["ranks"], measured["errors"], strict=True):
            assert error == pytest.approx(by_hand(model, inputs[1::2], index, rank), rel=1e-3, abs=1e-6)
    for point in proposal["measured"]["points"]:  # one meaning of the name
        for layer, rank, error in zip(proposal["layers"], point["ranks"], point["output_error"], strict=True):
            assert measured_error(layer, rank) == (rank, error)


@pytest.mark.parametrize("family", ["lru", "gla"])
def test_without_time_the_proposed_ranks_are_measured_and_the_rest_when_somebody_asks(family):
    model, workload, inputs, config = network(family)
    occasion = Occasion(share=0.34, limit_s=0.0)
    hurried = gather(model, workload, config, occasion)
    for layer in hurried["layers"]:
        assert layer["output_error"]["ranks"] == [layer["rank"]]
    assert hurried["measured"]["left_out"].count("output errors at further ranks") == 1
    asked = complete(model, workload, config, occasion, hurried, [2, 2])["layers"]
    assert [layer["output_error"]["ranks"] for layer in asked] == [
        sorted({2, layer["rank"]}) for layer in hurried["layers"]
    ]
    later = complete(model, workload, config, occasion, hurried, None)["layers"]
    ranks = [layer["output_error"]["ranks"] for layer in later]
    errors = [layer["output_error"]["errors"] for layer in later]
    assert ranks == [[1, 2, 3, 4, 5]] * 2 and errors == layer_errors(model, held_out(inputs), ranks)


def test_nothing_of_the_model_or_of_any_generator_is_changed():
    model, _, inputs, _ = network("mamba")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    state = torch.get_rng_state()
    layer_errors(model, held_out(inputs), [[1, 3], [2]])
    assert torch.equal(state, torch.get_rng_state()) and model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_cannot_be_said_is_none():
    torch.manual_seed(0)
    model, inputs = nn.Sequential(LRU(4, 6)), torch.randn(3, 20, 4)
    assert layer_errors(model, inputs, [[6, 7]]) == [[0.0, None]]  # there is no rank 7
    assert layer_errors(model, torch.zeros(3, 20, 4), [[2]]) == [[None]]  # 0 / 0
    with torch.no_grad():
        model[0].C_re.zero_(), model[0].C_im.zero_()  # y = D u
    assert layer_errors(model, inputs, [[2]]) == [[None]]  # refused: nothing is passed on


def test_of_one_state_there_is_no_lower_rank():
    model, _, inputs, _ = network("lru", states=1)
    assert rank_grid({"state_dim": 1, "rank": 1, "realisable": [False, True]}) == []
    assert layer_errors(model, held_out(inputs), [[1], [1]]) == [[0.0], [0.0]]


def test_a_large_layer_is_measured_at_a_dozen_ranks_near_the_proposed_one_first():
    realisable = [False, *(rank % 2 == 1 for rank in range(1, 256)), True]
    grid = rank_grid({"state_dim": 256, "rank": 24, "realisable": realisable})
    assert grid[0] == 25 and 8 <= len(grid) <= 16 and all(rank % 2 == 1 for rank in grid)
    assert (min(grid), max(grid)) == (1, 255)


def test_training_is_the_same_to_the_bit_whatever_is_measured(small_run, monkeypatch):
    plain, measured = (small_run(reduction={"policy": "keep", "steps": [20]}) for _ in range(2))
    measured.train()
    assert read_proposal(measured.paths, 1)["layers"][0]["output_error"]["errors"]
    monkeypatch.setattr("hankelboard.trainer.compression.evidence.rank_grid", lambda layer: [])
    monkeypatch.setattr(
        "hankelboard.trainer.compression.output_errors.OutputErrors.of", lambda self, trial: [0.0, 0.0]
    )
    plain.train()
    assert read_proposal(plain.paths, 1)["layers"][0]["output_error"]["errors"] == []
    assert plain.live_path() == measured.live_path() and plain.final_weights() == measured.final_weights()
