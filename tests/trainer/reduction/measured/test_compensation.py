import numpy as np
import pytest

from hankelboard.trainer.reduction.measured.compensation import eliminate_compensated, regression_basis
from hankelboard.trainer.reduction.measured.elimination import regression
from hankelboard.trainer.reduction.measured.samples import Samples, errors_of_ranks


def samples(states=7, rows=400, seed=0, hidden=None):
    """Correlated states, and read-outs independent of them."""
    draw = np.random.default_rng(seed)
    hidden = states if hidden is None else hidden
    h = draw.standard_normal((rows, hidden)) @ draw.standard_normal((hidden, states))
    return Samples(draw.standard_normal((rows, states)) @ draw.standard_normal((states, states)), h)


def eliminated(given, order=None):
    """Order, and the error of every rank."""
    moments = given.states.T @ given.states
    order = eliminate_compensated(moments, given.reads) if order is None else order
    return order, errors_of_ranks(given, *regression_basis(moments, order))


def squared_error(given, kept, removed):
    """Σ (y − y_r)² with one regression of all removed states at once."""
    mixing = np.eye(given.states.shape[1])[:, kept]
    mixing[removed] = regression(given.states.T @ given.states, kept, removed)
    y = (given.reads * given.states).sum(axis=1)
    return np.square(y - ((given.reads @ mixing) * given.states[:, kept]).sum(axis=1)).sum()


@pytest.mark.parametrize("given_order", [None, np.array([3, 0, 6, 2, 1, 5, 4])])
def test_step_by_step_it_is_one_regression_of_all_that_went(given_order):
    given = samples()
    order, errors = eliminated(given, given_order)
    assert sorted(order) == list(range(7))
    for rank in range(1, 7):
        kept, removed = np.sort(order[:rank]), np.sort(order[rank:])
        assert errors[rank] == pytest.approx(squared_error(given, kept, removed), rel=1e-6)
    assert errors[7] == 0.0
    assert errors[0] == pytest.approx(((given.reads * given.states).sum(axis=1) ** 2).sum())


def test_the_state_that_goes_first_is_nearly_the_cheapest():
    ratios = []
    for seed in range(20):
        given = samples(seed=seed, rows=4000)
        _, errors = eliminated(given)
        everyone = np.arange(7)
        costs = [squared_error(given, np.delete(everyone, m), everyone[[m]]) for m in everyone]
        ratios.append(errors[6] / min(costs))
    assert np.median(ratios) == pytest.approx(1.0) and max(ratios) < 1.3


def test_states_that_depend_on_others_go_for_nothing():
    _, errors = eliminated(samples(states=9, hidden=4))
    assert errors[4] < 1e-8 * errors[0] < errors[3]


def test_moments_that_rounding_made_indefinite_do_no_harm():
    given = samples(states=12, hidden=8)
    noise = np.random.default_rng(1).standard_normal((12, 12))
    moments = given.states.T @ given.states
    moments += 1e-7 * np.abs(moments).max() * (noise + noise.T)
    order = eliminate_compensated(moments, given.reads)
    errors = errors_of_ranks(given, *regression_basis(moments, order))
    assert errors[8] < 1e-3 * errors[0]
    kept, removed = np.sort(order[:8]), np.sort(order[8:])
    assert np.abs(regression(moments, kept, removed)).max() < 100.0


def test_a_silent_state_goes_first_and_large_numbers_change_nothing():
    given = samples()
    given.states[:, 2] = 0.0
    order, errors = eliminated(given)
    assert order[-1] == 2
    scale = 10.0 ** np.arange(-3, 4)
    assert eliminated(Samples(given.reads / scale, given.states * scale))[1] == pytest.approx(errors)


def test_one_state():
    order, errors = eliminated(samples(states=1))
    assert order.tolist() == [0] and errors[0] > 0.0 == errors[1]
