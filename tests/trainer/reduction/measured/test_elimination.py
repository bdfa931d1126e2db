from itertools import combinations

import numpy as np
import pytest

from hankelboard.trainer.reduction.measured.elimination import (
    eliminate,
    order_of,
    regression,
)


def contributions(states=6, samples=200, seed=0):
    """(samples, N) correlated contributions of states to an output."""
    draw = np.random.default_rng(seed)
    return draw.standard_normal((samples, states)) @ draw.standard_normal((states, states))


def test_every_removal_is_the_cheapest_there_is():
    M = (y := contributions(seed=3)).T @ y
    order = eliminate(M).tolist()
    for rank in range(5, 0, -1):
        gone = order[rank + 1 :]
        cost = {j: M[np.ix_([*gone, j], [*gone, j])].sum() for j in order[: rank + 1]}
        assert min(cost, key=cost.get) == order[rank]


def test_elimination_is_close_to_the_best_of_all_choices_and_better_than_others():
    found = {"energy": [], "diagonal": [], "random": [], "best": []}
    for seed in range(20):
        M = (y := contributions(seed=seed)).T @ y
        for method in ("energy", "diagonal", "random"):
            gone = order_of(M, method, seed)[3:]
            found[method].append(M[np.ix_(gone, gone)].sum())
        found["best"].append(min(M[np.ix_(gone, gone)].sum() for gone in combinations(range(6), 3)))
    means = {method: np.mean(values) for method, values in found.items()}
    assert means["best"] <= means["energy"] < means["diagonal"] < means["random"]
    assert means["energy"] < 2.0 * means["best"]


def test_regression_is_least_squares_and_survives_dependent_states():
    h = contributions(states=5)
    h[:, 4] = h[:, 0]  # one kept state is the copy of another
    kept, removed = np.array([0, 2, 4]), np.array([1, 3])
    K = regression(h.T @ h, kept, removed)
    wanted = np.linalg.lstsq(h[:, kept], h[:, removed], rcond=None)[0]
    assert np.linalg.norm(h[:, removed] - h[:, kept] @ K.T) == pytest.approx(
        np.linalg.norm(h[:, removed] - h[:, kept] @ wanted), rel=1e-6
    )
