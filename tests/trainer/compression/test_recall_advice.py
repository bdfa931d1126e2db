"""Associative recall fills the states: the badge advises against the cut, by spectrum and by measurement."""

import pytest
import torch

from hankelboard.settings.config import ReductionConfig, parse
from hankelboard.trainer.compression.badge import badge, is_flat
from hankelboard.trainer.compression.calibration import calibrate
from hankelboard.trainer.compression.evidence import Occasion, gather
from hankelboard.trainer.data import load_task
from hankelboard.trainer.data.scoring import cross_entropy
from hankelboard.trainer.training.evaluation import evaluate
from hankelboard.trainer.training.model import build_model
from hankelboard.trainer.training.workload import TaskWorkload

MODEL = {"family": "deltanet", "layers": 1, "width": 24, "state_dim": 6, "norm": "layer", "dropout": 0.0,
         "options": {"heads": 1}}  # fmt: skip
TASKS = {
    "mqar": {"length": 24, "pairs": 8, "vocabulary": 32, "sequences": 4000, "test": 10},
    "induction": {"length": 24, "vocabulary": 8, "sequences": 4000, "test": 10},
}


def trained(task, steps):
    """A network after so many steps on a task, with the evidence for a cut to half of its states."""
    config = parse({"model": MODEL, "data": {"task": task, "options": TASKS[task]}})
    data = load_task(config.data)
    torch.manual_seed(0)
    model = build_model(config, data)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for step in range(steps):
        chosen = torch.randint(len(data.train), (64,))
        optimizer.param_groups[0]["lr"] = 1e-2 * min(1.0, (step + 1) / 50)
        optimizer.zero_grad()
        cross_entropy(model(data.train.inputs[chosen]), data.train.labels[chosen]).backward()
        optimizer.step()
    accuracy = evaluate(model, data.val)["accuracy"]
    calibrate(model, data.train.inputs[:32])
    reduction = ReductionConfig(grid=[1.0], evidence_samples=256)
    workload = TaskWorkload(config, data, torch.device("cpu"))
    return accuracy, gather(model, workload, reduction, Occasion(share=0.34, limit_s=0.0))


@pytest.fixture(scope="module")
def recall():
    return trained("mqar", 200)


def test_recall_was_learned_and_fills_its_states(recall):
    accuracy, proposal = recall
    assert accuracy > 0.85  # a guess has 1/16
    assert is_flat(proposal["layers"][0])


def test_the_badge_says_that_the_spectrum_is_flat_and_what_the_cut_costs(recall):
    told = " ".join(recall[1]["badge"]["reasons"])
    assert recall[1]["badge"]["color"] in ("amber", "red")
    assert "the spectrum is flat" in told and "validation accuracy falls by" in told


def test_the_same_layer_on_induction_is_not_flat():
    accuracy, proposal = trained("induction", 60)
    assert accuracy > 0.85
    assert not is_flat(proposal["layers"][0])
    assert "flat" not in str(badge(proposal)["reasons"])
