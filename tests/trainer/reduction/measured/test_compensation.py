import numpy as np
import pytest

from hankelboard.trainer.reduction.measured.compensation import Samples, eliminate_compensated, shares_of
from hankelboard.trainer.reduction.measured.elimination import regression


def samples(states=7, rows=400, seed=0, hidden=None):
    """Correlated states, and read-outs independent of them."""
    draw = np.random.default_rng(seed)
    hidden = states if hidden is None else hidden
    h = draw.standard_normal((rows, hidden)) @ draw.standard_normal((hidden, states))
    return Samples(draw.standard_normal((rows, states)) @ draw.standard_normal((states, states)), h)


def squared_error(given, kept, removed):
    """Σ (y − y_r)² with one regression of all removed states at once."""
    mixing = np.eye(given.states.shape[1])[:, kept]
    mixing[removed] = regression(given.states.T @ given.states, kept, removed)
    y = (given.reads * given.states).sum(axis=1)
    return np.square(y - ((given.reads @ mixing) * given.states[:, kept]).sum(axis=1)).sum()


@pytest.mark.parametrize("order", [None, np.array([3, 0, 6, 2, 1, 5, 4])])
def test_step_by_step_it_is_one_regression_of_all_that_went(order):
    given = samples()
    found = eliminate_compensated(given.states.T @ given.states, given, order)
    assert sorted(found.order) == list(range(7))
    assert order is None or found.order[1:].tolist() == order[1:].tolist()
    for rank in range(1, 7):
        kept, removed = np.sort(found.order[:rank]), np.sort(found.order[rank:])
        assert found.errors[rank] == pytest.approx(squared_error(given, kept, removed), rel=1e-6)
    assert found.errors[7] == 0.0
    assert found.errors[0] == pytest.approx(((given.reads * given.states).sum(axis=1) ** 2).sum())


def test_the_state_that_goes_first_is_nearly_the_cheapest():
    ratios = []
    for seed in range(20):
        given = samples(seed=seed, rows=4000)
        found = eliminate_compensated(given.states.T @ given.states, given)
        everyone = np.arange(7)
        costs = [squared_error(given, np.delete(everyone, m), everyone[[m]]) for m in everyone]
        ratios.append(found.errors[6] / min(costs))
    assert np.median(ratios) == pytest.approx(1.0) and max(ratios) < 1.3


def test_states_that_depend_on_others_go_for_nothing():
    given = samples(states=9, hidden=4)
    found = eliminate_compensated(given.states.T @ given.states, given)
    assert found.errors[4] < 1e-8 * found.errors[0] < found.errors[3]


def test_moments_that_rounding_made_indefinite_do_no_harm():
    given = samples(states=12, hidden=8)
    noise = np.random.default_rng(1).standard_normal((12, 12))
    moments = given.states.T @ given.states
    moments += 1e-7 * np.abs(moments).max() * (noise + noise.T)
    found = eliminate_compensated(moments, given)
    assert found.errors[8] < 1e-3 * found.errors[0]
    kept, removed = np.sort(found.order[:8]), np.sort(found.order[8:])
    assert np.abs(regression(moments, kept, removed)).max() < 100.0


def test_a_silent_state_goes_first_and_large_numbers_change_nothing():
    given = samples()
    given.states[:, 2] = 0.0
    moments = given.states.T @ given.states
    plain = eliminate_compensated(moments, given)
    assert plain.order[-1] == 2
    scale = 10.0 ** np.arange(-3, 4)
    other = Samples(given.reads / scale, given.states * scale)
    assert eliminate_compensated(np.outer(scale, scale) * moments, other).errors == pytest.approx(
        plain.errors
    )


def test_one_state():
    given = samples(states=1)
    found = eliminate_compensated(given.states.T @ given.states, given)
    assert (found.order.tolist(), shares_of(found.errors).tolist()) == ([0], [1.0, 0.0])


def test_shares_fall_even_where_errors_do_not():
    assert shares_of(np.array([4.0, 2.0, 3.0, 0.0])).tolist() == [1.0, 0.75, 0.75, 0.0]


@pytest.mark.parametrize(("first", "reason"), [(0.0, "passes nothing on"), (np.nan, "not finite")])
def test_an_output_that_says_nothing_allows_no_proposal(first, reason):
    with pytest.raises(ValueError, match=reason):
        shares_of(np.array([first, 0.0, 0.0]))
