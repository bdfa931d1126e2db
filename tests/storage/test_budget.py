"""One budget for all layers: against trying every choice, and its limits."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hankelboard.storage.proposals import check_ranks, ranks_within


def layer(index, hsv, per_state, realisable=None):
    n = len(hsv)
    return {
        "layer": index, "state_dim": n, "hsv": sorted(hsv, reverse=True),
        "realisable": realisable or [False] + [True] * n, "parameters": [per_state * r for r in range(n + 1)],
    }  # fmt: skip


HSV = st.lists(st.floats(0.01, 100.0), min_size=1, max_size=4)
LAYERS = st.lists(st.tuples(HSV, st.just(7)), min_size=1, max_size=3)


@settings(deadline=None, max_examples=80)
@given(LAYERS, st.floats(0.05, 1.0))
def test_no_other_ranks_within_the_budget_have_a_smaller_sum_of_bounds(parts, share):
    layers = [layer(i, hsv, cost) for i, (hsv, cost) in enumerate(parts)]
    total = sum(x["state_dim"] for x in layers)
    ranks = ranks_within({"layers": layers}, share)
    check_ranks({"layers": layers}, ranks)
    allowed = max(share * total, len(layers))
    assert sum(ranks) <= allowed + 1e-9

    def bound(choice):
        return sum(sum(x["hsv"][r:]) for x, r in zip(layers, choice, strict=True))

    choices = product(*(range(1, x["state_dim"] + 1) for x in layers))
    best = min(bound(choice) for choice in choices if sum(choice) <= allowed + 1e-9)
    assert bound(ranks) <= best * (1 + 1e-9) + 1e-12


def test_parameters_weigh_what_a_state_costs():
    cheap, dear = layer(0, [5.0, 2.0], 1), layer(1, [5.0, 3.0], 100)
    assert ranks_within({"layers": [cheap, dear]}, 0.6, "parameters") == [2, 1]
    assert ranks_within({"layers": [cheap, dear]}, 0.75, "states") == [1, 2]


@pytest.mark.parametrize("share", [0.0, 0.01, 1.0])
def test_the_ends_of_the_budget(share):
    layers = [layer(0, [3.0, 2.0, 1.0], 5), layer(1, [1.0], 5)]
    assert ranks_within({"layers": layers}, share) == ([3, 1] if share == 1.0 else [1, 1])


def test_a_rank_that_cannot_be_realised_gives_way_to_the_next_lower():
    odd = layer(0, [4.0, 3.0, 2.0, 1.0], 5, [False, False, True, False, True])
    assert ranks_within({"layers": [odd]}, 0.75) == [2]
    assert ranks_within({"layers": [odd]}, 0.25) == [2]  # none below: the nearest
