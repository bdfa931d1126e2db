"""When there is an opportunity to cut, and which one is due."""

import pytest

from hankelboard.trainer.compression.opportunities import opportunity_due, opportunity_steps

STEPS = [10, 20, 30]


@pytest.mark.parametrize(
    ("consumed", "step", "due"),
    [
        (0, 9, None),
        (0, 10, 10),  # due at the very step
        (0, 25, 20),  # the latest one: what lies before it is not made up for
        (10, 19, None),  # each comes once
        (10, 20, 20),
        (20, 20, None),
        (20, 100, 30),
        (30, 100, None),
    ],
)
def test_the_latest_opportunity_after_the_last_one_and_up_to_now_is_due(consumed, step, due):
    assert opportunity_due(STEPS, consumed=consumed, step=step) == due


def test_an_opportunity_before_training_is_due_at_once():
    assert opportunity_due([0, 10], consumed=-1, step=0) == 0
    assert opportunity_due([0, 10], consumed=0, step=0) is None


@pytest.mark.parametrize("interval", [1, 7, 10, 25])
def test_walking_through_the_steps_no_opportunity_comes_twice_and_the_last_one_comes(interval):
    consumed, made = -1, []
    for step in range(0, 51, interval):
        due = opportunity_due(STEPS, consumed=consumed, step=step)
        if due is not None:
            consumed = due
            made.append(due)
    assert made == sorted(set(made)) and made[-1] == STEPS[-1]
    assert interval > 10 or made == STEPS


def test_opportunities_are_spread_over_the_window_and_none_is_where_training_ends():
    assert opportunity_steps(100, count=4, window=1.0) == [25, 50, 75]
    assert opportunity_steps(10, count=4, window=0.1) == [1]
    assert opportunity_steps(100, count=4, window=0.1, explicit=[100, 0, 101, 50, 50]) == [0, 50, 100]
