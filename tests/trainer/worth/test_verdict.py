"""The three answers from results made by hand: no training here."""

import math

import numpy as np
import pytest

from hankelboard.trainer.worth.verdict import ShortRun, Verdict, Why, _half, verdict

CHANCE = math.log(10)
SAMPLES = 500


def run(divisor, steps, seed, accuracy, loss=None):
    """A short run with this accuracy; its loss, unless given, falls from chance's in proportion."""
    hits = np.zeros(SAMPLES)
    hits[: round(accuracy * SAMPLES)] = 1.0
    hits = np.random.default_rng(seed).permutation(hits)
    loss = CHANCE * (1 - (accuracy - 0.1) / 0.9) if loss is None else loss
    return ShortRun(
        divisor=divisor, seed=seed, steps=steps, loss=np.full(SAMPLES, loss), accuracy=hits, step_s=0.01
    )


def runs(table, seeds=(0, 1, 2), spread=0.002):
    """Runs from {steps: {divisor: mean accuracy}}: seeds lie around the means, as far apart as `spread`."""
    return [
        run(divisor, steps, seed, accuracy + spread * (seed - 1) * (-1 if divisor > 1 else 1))
        for steps, row in table.items()
        for divisor, accuracy in row.items()
        for seed in seeds
    ]


def judged(found, total_steps=3000, margin=0.02):
    return verdict(found, chance_loss=CHANCE, margin=margin, total_steps=total_steps)


def test_a_small_network_that_does_as_well_is_to_be_trained():
    answer = judged(runs({200: {1: 0.85, 4: 0.70}, 400: {1: 0.95, 4: 0.948, 16: 0.80}}))
    assert (answer.verdict, answer.divisor, answer.why) == (Verdict.SMALL, 4, None)


def test_the_smallest_that_does_as_well_counts():
    answer = judged(runs({400: {1: 0.95, 4: 0.95, 16: 0.945}}))
    assert (answer.verdict, answer.divisor) == (Verdict.SMALL, 16)


def test_a_small_network_that_stays_behind_says_that_cutting_may_gain():
    answer = judged(runs({200: {1: 0.70, 4: 0.45}, 400: {1: 0.88, 4: 0.62}}))
    assert (answer.verdict, answer.divisor) == (Verdict.GAIN, 4)
    assert answer.gaps[-1].accuracy == pytest.approx(0.26)


def test_a_gap_is_no_gain_yet_when_twice_the_updates_make_up_for_it():
    answer = judged(runs({200: {1: 0.85, 4: 0.65}, 400: {1: 0.95, 4: 0.90}}))
    assert (answer.verdict, answer.why) == (Verdict.UNKNOWN, Why.CLOSING)


def test_a_gap_that_will_have_closed_by_the_end_is_no_gain():
    table = {200: {1: 0.85, 4: 0.65}, 400: {1: 0.90, 4: 0.84}}  # behind twice the updates, too
    assert judged(runs(table), total_steps=500).verdict == Verdict.GAIN
    assert judged(runs(table), total_steps=3000).why == Why.CLOSING


def test_one_length_does_not_say_that_a_gap_stays():
    answer = judged(runs({200: {1: 0.85, 4: 0.45}}))
    assert (answer.verdict, answer.why) == (Verdict.UNKNOWN, Why.TOO_EARLY)


def test_at_the_full_length_a_gap_is_what_it_is():
    assert judged(runs({3000: {1: 0.95, 4: 0.85}})).verdict == Verdict.GAIN
    assert judged(runs({3000: {1: 0.15, 4: 0.15}})).verdict == Verdict.SMALL


def test_at_chance_nothing_is_said():
    answer = judged(runs({50: {1: 0.11, 4: 0.10}, 100: {1: 0.12, 4: 0.12}}))
    assert (answer.verdict, answer.why) == (Verdict.UNKNOWN, Why.NOT_BEGUN)


def test_equal_in_the_midst_of_learning_is_no_reason_to_start_small():
    answer = judged(runs({50: {1: 0.2, 4: 0.2}, 100: {1: 0.4, 4: 0.4}}))
    assert (answer.verdict, answer.why) == (Verdict.UNKNOWN, Why.TOO_EARLY)


def test_a_small_network_that_falls_behind_is_not_called_as_good():
    answer = judged(runs({200: {1: 0.80, 4: 0.84}, 400: {1: 0.95, 4: 0.945}}))
    assert answer.why == Why.GROWING


def test_seeds_that_disagree_leave_it_open():
    answer = judged(runs({200: {1: 0.85, 4: 0.85}, 400: {1: 0.95, 4: 0.95}}, spread=0.03))
    assert (answer.verdict, answer.why) == (Verdict.UNKNOWN, Why.UNCERTAIN)


def test_two_seeds_give_no_interval():
    answer = judged(runs({400: {1: 0.95, 4: 0.5}}, seeds=(0, 1)))
    assert (answer.verdict, answer.why, answer.gaps) == (Verdict.UNKNOWN, Why.TOO_EARLY, [])


def test_without_runs_nothing_is_known():
    assert judged([]).why == Why.NOTHING_TRAINED


def test_a_loss_that_is_no_number_is_not_learning():
    found = [run(divisor, 400, seed, 0.95, math.nan) for divisor in (1, 4) for seed in range(3)]
    assert judged(found).why == Why.NOT_BEGUN


@pytest.mark.parametrize(
    ("of_seed", "of_sample", "of_both"), [(0.05, 0.0, 0.3), (0.0, 0.6, 0.0), (0.04, 0.5, 0.2)]
)
def test_the_interval_holds_as_often_as_it_says(of_seed, of_sample, of_both):
    """Of differences drawn for seeds, samples and both, each bound of the mean holds in 95 of 100 cases."""
    generator = np.random.default_rng(0)

    def half_and_mean():
        drawn = of_seed * generator.normal(size=(4, 1)) + of_sample * generator.normal(size=200)
        drawn = drawn + of_both * generator.normal(size=(4, 200))
        return _half(drawn), drawn.mean()

    held = [mean <= half for half, mean in (half_and_mean() for _ in range(200))]
    assert 0.91 <= np.mean(held) <= 0.985
