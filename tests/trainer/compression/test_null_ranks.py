"""Untrained layers are compared by the rule of a proposal: its shares, its ranks, its attempts."""

import pytest
import torch

from hankelboard.settings.config import ReductionConfig, parse
from hankelboard.settings.families import FAMILIES
from hankelboard.storage.spectrum import discarded_shares
from hankelboard.trainer.compression.calibration import calibrate
from hankelboard.trainer.compression.null_ranks import null_ranks, untrained_layer
from hankelboard.trainer.data import load_task
from hankelboard.trainer.layers.families import make_mixer
from hankelboard.trainer.reduction.surgery import reducible_layers
from hankelboard.trainer.training.model import build_model


def untrained(shares, realisable=None):
    realisable = realisable or [False, *(True for _ in shares[1:])]
    return {"state_dim": len(shares) - 1, "discarded_share": shares, "realisable": realisable}


def test_the_null_rank_is_what_the_rule_leaves_after_so_many_attempts():
    spectrum = [2.0**-i for i in range(12)]
    config = ReductionConfig(tolerance=0.1, gate=0.95)
    shares = discarded_shares(spectrum)
    first = next(r for r in range(13) if shares[r] <= 0.1)
    assert null_ranks([untrained(shares)], config, 1) == [first]
    again = discarded_shares(spectrum[:first])
    second = next(r for r in range(first + 1) if again[r] <= 0.1)
    assert null_ranks([untrained(shares)], config, 2) == [second if second < 0.95 * first else first]
    flat = untrained(discarded_shares([1.0] * 20))
    assert null_ranks([flat], ReductionConfig(tolerance=0.01), 3) == [20]
    assert null_ranks([untrained([1.0, 0.0])], config, 3) == [1]  # one state


def test_null_ranks_share_a_tolerance_where_the_proposal_does():
    layers = [untrained(shares) for shares in ([1.0, 0.3, 0.0], [1.0, 0.2, 0.1, 0.0])]
    assert null_ranks(layers, ReductionConfig(tolerance=0.1, allocation="layer"), 1) == [2, 2]
    assert null_ranks(layers, ReductionConfig(tolerance=0.1, allocation="global"), 1) == [2, 1]


def test_a_rank_that_a_proposal_could_not_choose_is_no_null_rank():
    shares = [1.0 - r / 10 for r in range(11)]
    grid = [False, *(True if r in (4, 8, 10) else None for r in range(1, 11))]
    assert null_ranks([untrained(shares)], ReductionConfig(tolerance=0.35), 1) == [7]
    assert null_ranks([untrained(shares, grid)], ReductionConfig(tolerance=0.35), 1) == [8]


@pytest.mark.parametrize(
    ("family", "symmetry"), [*((family, "complex") for family in FAMILIES), ("lru", "real")]
)
def test_an_untrained_layer_is_what_a_proposal_of_its_family_would_say(family, symmetry):
    reduction = {"symmetry": symmetry, **({"moments": "reset"} if symmetry == "real" else {})}
    model = {"family": family, "width": 16, "state_dim": 8, "norm": "layer"}
    config = parse({"model": model, "reduction": reduction})
    task = load_task(config.data)
    torch.manual_seed(0)
    fresh = calibrate(build_model(config, task), task.train.inputs[:8])
    for _, layer in reducible_layers(fresh):
        table = layer.propose(layer.extract())
        close = 0.03 if family == "s4d" else 1e-6  # 8 of 16 channels stand for all
        found = untrained_layer(layer)
        assert found["discarded_share"] == pytest.approx(table.discarded_share, abs=close)
        assert found["state_dim"] == 8 and found["realisable"] == table.realisable


@pytest.mark.parametrize(("family", "width", "state_dim"), [("lru", 4, 150), ("s4d", 8, 68), ("s5", 4, 112)])
def test_large_layers_offer_the_ranks_that_a_proposal_would_check(family, width, state_dim):
    torch.manual_seed(0)
    layer = make_mixer(parse({"model": {"family": family, "width": width}}), 0, state_dim).double()
    table, found = layer.propose(layer.extract()), untrained_layer(layer)
    assert None in table.realisable and found["realisable"] == table.realisable
    assert found["discarded_share"] == pytest.approx(table.discarded_share, abs=0.02)  # few poles are real
