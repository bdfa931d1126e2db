from itertools import combinations

import numpy as np
import pytest

from hankelboard.trainer.reduction.measured.elimination import (
    eliminate,
    lost_energy,
    order_of,
    regression,
    table_of,
)


def contributions(states=6, samples=200, seed=0):
    """(samples, N) correlated contributions of states to an output."""
    draw = np.random.default_rng(seed)
    return draw.standard_normal((samples, states)) @ draw.standard_normal((states, states))


def test_the_error_of_a_deletion_is_known_from_the_matrix():
    y = contributions()
    M = y.T @ y
    order = eliminate(M)
    shares = lost_energy(M, order)
    total = (y.sum(axis=1) ** 2).sum()
    errors = [(y[:, order[rank:]].sum(axis=1) ** 2).sum() / total for rank in range(7)]
    worst = np.clip([max(errors[rank:]) for rank in range(7)], 0.0, 1.0)
    assert shares[1:] == pytest.approx(worst[1:], rel=1e-10)
    assert (shares[0], shares[-1]) == (1.0, 0.0)
    assert list(shares) == sorted(shares, reverse=True)


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


@pytest.mark.parametrize(("M", "reason"), [(np.zeros((2, 2)), "passes nothing on"),
                                           (np.full((2, 2), np.nan), "not finite")])  # fmt: skip
def test_an_output_that_says_nothing_allows_no_proposal(M, reason):
    with pytest.raises(ValueError, match=reason):
        lost_energy(M, np.arange(2))


def test_states_that_cancel_each_other_lose_what_the_worse_rank_loses():
    M = np.array([[4.0, -4.0, 0.0], [-4.0, 4.0, 0.0], [0.0, 0.0, 1.0]])  # y_0 = −y_1: nothing together
    shares = lost_energy(M, np.array([2, 0, 1]))
    assert shares.tolist() == [1.0, 1.0, 1.0, 0.0]


def test_one_state():
    table = table_of(lost_energy(np.array([[2.0]]), eliminate(np.array([[2.0]]))), [0, 5])
    assert (table.hsv.tolist(), table.discarded_share, table.realisable) == ([1.0], [1.0, 0.0], [False, True])
