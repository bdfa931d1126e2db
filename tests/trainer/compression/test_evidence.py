"""What a proposal says is true: measured again by hand, bounded in time, and without a trace in training."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional

from hankelboard.settings.config import ReductionConfig, parse
from hankelboard.settings.preset import find_preset
from hankelboard.settings.toml import merge
from hankelboard.storage.proposals import read_proposal
from hankelboard.trainer.compression.badge import badge
from hankelboard.trainer.compression.evidence import Occasion, gather
from hankelboard.trainer.compression.null_ranks import NULL_SEEDS
from hankelboard.trainer.compression.what_if import Comparison, cut_copy, paired_interval
from hankelboard.trainer.data import load_task
from hankelboard.trainer.reduction.surgery import reducible_layers
from hankelboard.trainer.training.model import build_model
from hankelboard.trainer.training.workload import TaskWorkload

CONFIG = parse(merge(find_preset("digits-lru").tables, {"model": {"width": 8, "state_dim": 12}}))


@pytest.fixture(scope="module")
def task():
    return load_task(CONFIG.data)


@pytest.fixture(scope="module")
def model(task):
    torch.manual_seed(1)
    return build_model(CONFIG, task)


def occasion(task, **more):
    return Occasion(fresh=lambda: build_model(CONFIG, task), **more)


def workload(task):
    return TaskWorkload(CONFIG, task, torch.device("cpu"))


def gathered(model, task, **more):
    config = ReductionConfig(tolerance=0.2, evidence_samples=100)
    return gather(model, workload(task), config, occasion(task, **more))


def test_loss_accuracy_and_divergence_are_those_of_the_cut_copy(model, task):
    ranks = [5, 7]
    trial = cut_copy(model, ranks).eval()
    point = Comparison(model, workload(task), 100).with_copy(trial)
    with torch.no_grad():
        inputs, labels = task.val.inputs[:100], task.val.labels[:100]
        before, after = copy.deepcopy(model).eval()(inputs), trial(inputs)
    assert point["loss"] == pytest.approx(functional.cross_entropy(after, labels).item(), rel=1e-5)
    assert point["accuracy"] == pytest.approx((after.argmax(1) == labels).float().mean().item())
    kl = functional.kl_div(
        after.log_softmax(1), before.log_softmax(1), log_target=True, reduction="batchmean"
    )
    assert point["kl"] == pytest.approx(kl.item(), rel=1e-3, abs=1e-7)
    assert point["loss_change"][0] <= point["loss"] - Comparison(model, workload(task), 100).before["loss"]


def test_the_paired_interval_covers_the_mean_as_often_as_it_says():
    chance = np.random.default_rng(0)
    covered = [
        low <= 0.3 <= high
        for low, high in (paired_interval(0.3 + chance.standard_normal(80), seed) for seed in range(200))
    ]
    assert 0.88 <= np.mean(covered) <= 0.99


def test_pairing_makes_the_interval_of_a_small_change_small():
    chance = np.random.default_rng(0)
    losses = chance.exponential(2.0, 500)
    low, high = paired_interval(0.01 + 0.001 * chance.standard_normal(500))
    assert 0.009 < low < high < 0.011 and losses.std() > 1.0


def test_a_proposal_holds_everything_and_nothing_was_changed(model, task):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state, mode = torch.get_rng_state(), model.training
    numpys = np.random.get_state()[1].copy()
    earlier = [layer.extract() for _, layer in reducible_layers(model)]
    proposal = gathered(model, task, earlier=earlier)
    assert torch.equal(state, torch.get_rng_state()) and (numpys == np.random.get_state()[1]).all()
    assert model.training == mode
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for layer in proposal["layers"]:
        assert layer["gain"] > 0 and len(layer["null_ranks"]) == 5
        assert 0.0 < layer["stability"].pop("overlap_random") <= 1.0
        assert layer["stability"] == {"overlap": pytest.approx(1.0), "weyl": pytest.approx(0.0, abs=1e-6)}
        assert set(layer["response"]) == {"omega", "full", "reduced", "error"}
        assert max(layer["response"]["error"]) <= layer["error_interval"][1] * (1 + 1e-9)
    assert proposal["measured"]["left_out"] == []
    assert proposal["badge"]["color"] in ("green", "amber", "red") and proposal["badge"]["reasons"]


def test_without_time_what_a_decision_needs_is_there_and_the_rest_is_named(model, task):
    proposal = gathered(model, task, limit_s=0.0)
    points = proposal["measured"]["points"]
    assert [point["ranks"] for point in points] == [proposal["ranks"]]
    assert proposal["cost"]["seconds_per_step"]["after"] > 0
    left_out = proposal["measured"]["left_out"]
    assert {"responses", "null ranks", "output errors at further ranks"} <= set(left_out)
    assert [layer["output_error"]["ranks"] for layer in proposal["layers"]] == [
        [rank] for rank in proposal["ranks"]
    ]
    assert any(name.startswith("validation at tolerance") for name in left_out)
    rule = gathered(model, task)
    assert rule["ranks"] == proposal["ranks"]  # a policy decides the same, whatever the time was


STEEP = [2.0**-i for i in range(8)]
HALF = [1.0, 0.9, 0.9, 0.8, 0.02, 0.02, 0.02, 0.02]
"""Four states of eight matter, about equally."""


def layer(rank=4, null=(), condition=1.0, hsv=STEEP, importance="hsv", error=0.01):
    measured = {"ranks": [rank], "errors": [error]} if rank < 8 else {"ranks": [], "errors": []}
    return {"layer": 0, "state_dim": 8, "rank": rank, "condition": [condition] * 9, "null_ranks": list(null),
            "hsv": list(hsv), "importance": importance, "output_error": measured}  # fmt: skip


def point(**more):
    fine = {
        "ranks": [4],
        "accuracy_change": [-0.01, 0.01],
        "loss_change": [-0.1, 0.1],
    }
    return {**fine, **more}


@pytest.mark.parametrize(
    ("of_layer", "measured", "color", "words"),
    [
        ({}, point(), "green", "does not fall significantly"),
        ({"error": 0.0999}, point(), "green", "no layer changes much"),
        ({"error": 0.1}, point(), "amber", "its output changes by 10 %"),
        ({"error": 0.2}, point(), "amber", "its output changes by 20 %"),
        ({"error": 0.2001}, point(), "red", "its output changes by 20 %"),
        ({"error": None}, point(), "amber", "how far its output changes was not measured"),
        ({"error": 0.3}, point(ranks=[3]), "red", "its output changes by 30 %"),
        ({}, point(accuracy_change=[-0.05, -0.01]), "amber", "falls by 1.0 to 5.0 points"),
        ({}, point(loss_change=[0.1, 0.2]), "amber", "loss rises by 0.1 to 0.2"),
        ({"null": (3, 4, 5)}, point(), "amber", "an untrained layer keeps 3 to 5 states"),
        ({"null": (6, 7)}, point(), "green", "no layer changes much"),
        ({"hsv": [1.0] * 8}, point(), "amber", "its energy is spread over about 8.0 of its 8 states"),
        ({"hsv": HALF, "importance": "hsv_squared"}, point(), "amber", "over about 4.4 of its 8 states"),
        ({"hsv": np.linspace(1, 0.6, 8), "importance": "hsv_squared"}, point(), "amber", "is flat"),
        ({"hsv": np.linspace(1, 0.6, 8)}, point(), "amber", "is flat"),
        ({"hsv": np.linspace(1, 0.6, 8), "importance": "key_query_energy"}, point(), "amber", "is flat"),
        ({"hsv": np.linspace(1, 0.05, 8), "importance": "key_query_energy"}, point(), "green", "no layer"),
        ({"hsv": [1.0] * 8, "rank": 8}, point(ranks=[8]), "green", "no layer changes much"),
        ({"hsv": HALF}, point(), "green", "no layer changes much"),
        ({"hsv": HALF, "rank": 3}, point(ranks=[3]), "amber", "is flat"),
        ({"hsv": [1.0, 0.9, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1], "rank": 2}, point(ranks=[2]), "green", "no layer"),
        ({"condition": 1e5}, point(), "red", "ill-conditioned (1.0e+05)"),
        ({}, point(ranks=[3]), "amber", "was not measured"),
    ],
)
def test_the_badge_says_why(of_layer, measured, color, words):
    shown = layer(**of_layer)
    proposal = {"ranks": [shown["rank"]], "layers": [shown], "measured": {"points": [measured]}}
    told = badge(proposal)
    assert told["color"] == color and words in " ".join(told["reasons"])
    assert (told["amber_from"], told["red_above"]) == (0.1, 0.2)


def test_what_was_measured_at_another_rank_only_is_not_measured():
    shown = layer() | {"output_error": {"ranks": [3], "errors": [0.01]}}
    for of_layer in (shown, {key: value for key, value in shown.items() if key != "output_error"}):
        told = badge({"ranks": [4], "layers": [of_layer], "measured": {"points": [point()]}})
        assert told["color"] == "amber" and "was not measured" in told["reasons"][0]


def test_a_real_run_records_it(small_run):
    run = small_run(reduction={"policy": "keep", "steps": [30]})
    run.train()
    proposal = read_proposal(run.paths, 1)
    assert proposal["layers"][0]["stability"]["overlap"] > 0.0  # the snapshot of step 20
    assert proposal["measured"]["points"][0]["kl"] >= 0.0
    assert proposal["badge"]["color"] in ("green", "amber", "red")
    assert len(proposal["layers"][0]["null_ranks"]) == NULL_SEEDS
