"""Which short runs are made, and never for more than the budget. Training is replaced by a made-up one."""

import math

import pytest
import torch

from hankelboard.settings.config import parse
from hankelboard.trainer.data.task import Split, Task
from hankelboard.trainer.worth import findings, search
from hankelboard.trainer.worth.search import Search, chance, distinct
from hankelboard.trainer.worth.verdict import Verdict, Why
from tests.trainer.worth.test_verdict import CHANCE, run

LEARNS = {50: 0.1, 100: 0.3, 200: 0.85, 400: 0.95, 800: 0.96}
"""Accuracy of the large network by length."""


@pytest.fixture
def searched(monkeypatch):
    """Searches with small networks that are behind as `behind(divisor, steps)` says."""

    def make(behind, budget=10_000, learns=LEARNS, steps=3000, state_dim=64):
        def train(config, task, *, divisor, seed, steps):
            accuracy = learns[steps] - (behind(divisor, steps) if divisor > 1 else 0.0)
            return run(divisor, steps, seed, accuracy + 0.001 * (seed % 3))

        monkeypatch.setattr(search, "train_short", train)
        config = parse({"model": {"state_dim": state_dim, "layers": 1}, "training": {"steps": steps}})
        split = Split(torch.zeros(10, 4, 1), torch.arange(10))
        task = Task(split, split, split, classes=10)
        return Search(config=config, task=task, budget=budget, seeds=3, margin=0.02)

    return make


def lengths_of(made):
    return {(steps, divisor) for divisor, _, steps in made.runs}


def test_small_ones_are_trained_from_where_the_large_one_learns_and_longer_until_it_is_clear(searched):
    made = searched(lambda divisor, steps: 0.0 if (divisor, steps) == (4, 400) else 0.2)
    answer = made.go()
    assert (answer.verdict, answer.divisor) == (Verdict.SMALL, 4)
    assert lengths_of(made) == {(50, 1), (100, 1), (200, 1), (200, 4), (400, 1), (400, 4), (400, 16)}


def test_a_gain_that_is_clear_ends_the_search(searched):
    made = searched(lambda divisor, steps: 0.3)
    assert made.go().verdict == Verdict.GAIN
    assert max(steps for _, _, steps in made.runs) == 400


@pytest.mark.parametrize("budget", [0, 40, 120, 350, 1500, 2000, 5000])
def test_the_budget_is_never_passed(searched, budget):
    made = searched(lambda divisor, steps: 0.2 / math.log2(steps), budget=budget)
    made.go()
    assert made.spent <= budget


def test_a_budget_for_nothing_says_so(searched):
    made = searched(lambda divisor, steps: 0.0, budget=10)
    found = findings.find(made)
    assert found.answer.why == Why.NOTHING_TRAINED
    assert "the budget is too small for a single short run" in found.words()[0]


def test_within_too_small_a_budget_none_has_begun_to_learn(searched):
    made = searched(lambda divisor, steps: 0.0, budget=350, learns=dict.fromkeys(LEARNS, 0.11))
    found = findings.find(made)
    assert found.answer.why == Why.NOT_BEGUN
    words = found.words()[0]
    assert words.startswith("Cannot tell: none of them has begun to learn within the budget.")
    more = float(words.rpartition("--budget ")[2].rstrip("."))
    assert more * 3000 >= made.spent + made.cost(made.round_at(100)), "the budget it names is enough"


def test_where_longer_runs_do_not_fit_shorter_ones_say_whether_a_gap_stays(searched):
    learns = {50: 0.1, 100: 0.2, 200: 0.5, 400: 0.95}
    made = searched(lambda divisor, steps: 0.3 if steps == 200 else 0.5, budget=3750, learns=learns)
    assert made.go().verdict == Verdict.GAIN
    assert lengths_of(made) >= {(200, 4), (400, 4)} and made.spent <= 3750


def test_seeds_are_added_where_longer_runs_do_not_fit(searched):
    made = searched(lambda divisor, steps: 0.019, budget=3000, learns=dict.fromkeys(LEARNS, 0.85))
    made.go()
    assert made.seeds > 3 and made.spent <= 3000


def test_runs_are_never_longer_than_the_training(searched):
    made = searched(lambda divisor, steps: 0.0, steps=120, learns={50: 0.1, 100: 0.2, 120: 0.3})
    answer = made.go()
    assert (answer.steps, answer.verdict) == (120, Verdict.SMALL)


def test_sizes_that_are_equal_count_once(searched):
    made = searched(lambda divisor, steps: 0.3, state_dim=4)
    made.go()
    assert {divisor for divisor, _, _ in made.runs} == {1, 4}
    assert distinct([4]) == [1, 4] and distinct([1, 1]) == [1]


def test_chance_is_of_the_labels_that_count():
    loss, accuracy = chance(torch.tensor([[0, 0, 1], [1, -100, -100]]))
    assert (loss, accuracy) == (pytest.approx(math.log(2)), 0.5)
    assert chance(torch.arange(10))[0] == pytest.approx(CHANCE)
    assert chance(torch.tensor([-100])) == (0.0, 0.0)


def test_words_and_record_say_what_is_at_stake(searched):
    found = findings.find(searched(lambda divisor, steps: 0.3))
    words = "\n".join(found.words())
    assert words.startswith("Cutting may gain: 16 states per layer from scratch end 30.")
    assert "after 200 updates, 16 states: −30.00" in words and "after 400 updates, 4 states" in words
    record = found.record()
    assert (record["verdict"], record["divisor"], record["states"][16]) == ("cutting may gain", 4, [4])
    assert record["words"] == found.words()
