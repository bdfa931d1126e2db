"""What cuts saved, from hand-made journals."""

import pytest

from hankelboard.storage.history import fold
from hankelboard.storage.savings import in_words, parts_in_words, savings_of, total
from tests.storage.test_history import branch, event, proposed, start


def cut(number, step, train_s, now, after, to, attempt=0, branch=0):
    return event(
        "reduction_applied", step, branch, attempt, proposal=number, to=[to], train_s=train_s,
        seconds_per_step={"now": now, "after": after},
    )  # fmt: skip


def saved(*events, step=100, steps_left=0, train_s=100.0, cutting_s=0.0):
    history = fold([start(), *events])
    return savings_of(history, step=step, steps_left=steps_left, train_s=train_s, cutting_s=cutting_s)


FIRST = (proposed(1, 20), cut(1, 20, 40.0, 0.2, 0.1, 4))


def test_a_run_that_was_not_cut_has_saved_nothing_and_shows_nothing():
    assert saved() is None and saved(proposed(1, 20)) is None
    assert total([None, None]) is None


def test_steps_since_a_cut_would_have_taken_longer_by_the_ratio_that_was_measured():
    found = saved(*FIRST, steps_left=50, cutting_s=10.0)
    assert found["steps_s"] == pytest.approx(60.0)  # 60 s at half the time
    assert found["uncut_s"] == pytest.approx(160.0) and found["cutting_s"] == 10.0
    assert found["net_s"] == pytest.approx(50.0) and found["share"] == pytest.approx(50 / 160)
    assert found["to_come_s"] == pytest.approx(50 * 60 / 80)  # at the pace since the cut
    assert in_words(found) == "saved 50 s (31 %) against uncut so far, 38 s more to come"
    assert parts_in_words(found) == "1 min 00 s less for steps, 10 s spent on cuts"


def test_the_ratios_of_several_cuts_multiply_each_from_where_it_was_made():
    found = saved(*FIRST, proposed(2, 50), cut(2, 50, 70.0, 0.4, 0.1, 2))  # on a machine that was busy then
    assert found["steps_s"] == pytest.approx(30.0 * 1 + 30.0 * 7)


def test_right_after_a_cut_what_is_to_come_goes_by_what_was_measured():
    found = saved(*FIRST, step=20, train_s=40.0, steps_left=80)
    assert found["steps_s"] == 0.0 and found["to_come_s"] == pytest.approx(80 * 0.1)


def test_a_rollback_takes_back_what_its_cuts_saved():
    undone = branch(1, 0, 50, undone=[2])
    found = saved(*FIRST, proposed(2, 50), cut(2, 50, 70.0, 0.2, 0.1, 2), undone | {"state_dims": [4]})
    assert found["steps_s"] == pytest.approx(60.0)
    assert saved(*FIRST, branch(1, 0, 10, undone=[1])) is None


def test_a_rollback_onto_a_branch_that_was_left_counts_its_cuts_again():
    left = (*FIRST, branch(1, 0, 10, undone=[1]), branch(2, 0, 60) | {"state_dims": [4]})
    assert saved(*left)["steps_s"] == pytest.approx(60.0)


def test_a_cut_that_was_made_again_after_a_crash_counts_once_as_it_was_the_last_time():
    again = cut(1, 20, 44.0, 0.3, 0.1, 4, attempt=1)
    for resumed in (start(1, 20, checkpoint="c"), start(1, 15, checkpoint="c")):
        assert saved(*FIRST, resumed, again)["steps_s"] == pytest.approx(56.0 * 2)
    assert saved(*FIRST, start(1, 15, checkpoint="c"), step=16) is None  # not made again so far


def test_a_cut_that_made_steps_slower_has_cost_time():
    found = saved(proposed(1, 20), cut(1, 20, 40.0, 0.1, 0.2, 4), steps_left=100, cutting_s=2.0)
    assert found["steps_s"] == pytest.approx(-30.0) and found["net_s"] == pytest.approx(-32.0)
    assert in_words(found).startswith("cost 32 s more (46 %) than uncut so far, ")
    assert in_words(found).endswith("s to be lost to come")
    assert parts_in_words(found) == "30 s more for steps, 2.0 s spent on cuts"


@pytest.mark.parametrize("seconds", [None, {"now": 0.0, "after": 0.1}, {"now": 0.1, "after": 0.0}])
def test_nothing_is_said_where_a_cut_was_not_timed(seconds):
    untimed = cut(2, 50, 70.0, 1, 1, 2)
    untimed["seconds_per_step"] = seconds
    assert saved(*FIRST, proposed(2, 50), untimed) is None
    assert saved(*FIRST, train_s=None) is None


def test_the_savings_of_several_runs_add_up_and_share_what_they_would_have_taken():
    one, other = saved(*FIRST), saved(proposed(1, 20), cut(1, 20, 40.0, 0.1, 0.2, 4))
    together = total([one, None, other])
    assert together["net_s"] == pytest.approx(30.0) and together["share"] == pytest.approx(30 / (160 + 70))
