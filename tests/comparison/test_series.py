"""Comparisons: which runs belong together, what is paired, and what is not claimed."""

import dataclasses
import math

import pytest
from scipy import stats

from hankelboard.comparison.cells import csv_rows, csv_text
from hankelboard.comparison.series import (
    Final,
    Spread,
    baseline_named,
    baseline_of,
    configuration_differences,
    differences_within,
    series_of,
)
from hankelboard.comparison.tables import mixtures, run_rows
from hankelboard.storage.errors import ConfigError


def final(name="a", role="compressed", seed=0, best=0.9, **fields):
    config = {"training": {"steps": 100, "seed": seed, "threads": seed + 1}, "reduction": {"tolerance": 0.1}}
    return Final(
        run=f"20261123-{name}-{seed}", name=name, role=role, group="g", preset="p", seed=seed,
        state="finished", step=100, total_steps=100, last=best, state_dims=[20, 22], best=best, best_step=90,
        test=fields.pop("test", best), train_s=10.0, waiting_s=0.0,
        config=fields.pop("config", config), **fields,
    )  # fmt: skip


def test_runs_that_differ_in_their_seed_alone_are_one_series():
    series = series_of(
        [final(seed=2), final("b", "baseline", seed=1), final(seed=1), final("b", "baseline", 2)]
    )
    assert [(one.label, [run.seed for run in one.runs]) for one in series] == [("a", [1, 2]), ("b", [1, 2])]
    assert baseline_of(series).label == "b"
    other = {"training": {"steps": 200, "seed": 0}, "reduction": {"tolerance": 0.1}}
    labels = [one.label for one in series_of([final(), final(seed=7, config=other)])]
    assert len(set(labels)) == 2  # another number of steps is another series, with a name of its own


def test_intervals_are_students_and_only_from_three_values_on():
    values = [0.90, 0.92, 0.97, 0.91]
    low, high = Spread(values=values).interval
    expected = stats.t.interval(0.95, len(values) - 1, loc=sum(values) / 4, scale=stats.sem(values))
    assert (low, high) == pytest.approx(expected, rel=1e-3)
    assert Spread(values=[0.9, 0.95]).interval is None and Spread(values=[]).mean is None
    assert Spread(values=[0.9]).sd is None


def test_differences_are_paired_by_seed_where_seeds_match():
    mine = series_of([final(seed=s, best=0.90 + s / 100) for s in (1, 2, 3)])[0]
    base = series_of([final("b", "baseline", s, best=0.80 + s / 100) for s in (1, 2, 3, 9)])[0]
    difference = mine.minus(base, "best")
    assert difference.paired and difference.n == 3 and difference.mean == pytest.approx(0.1)
    assert difference.interval == pytest.approx((0.1, 0.1))
    pair = series_of([final(seed=1, best=0.9), final(seed=2, best=0.8)])[0].minus(base, "best")
    assert pair.paired and pair.n == 2 and pair.interval is None
    assert mine.minus(series_of([final("c", seed=5, best=None)])[0], "best").mean is None


def test_without_common_seeds_the_interval_is_welchs():
    values, others = [0.90, 0.92, 0.97, 0.91], [0.85, 0.80, 0.89]
    mine = series_of([final(seed=s, best=value) for s, value in enumerate(values)])[0]
    base = series_of([final("b", "baseline", 10 + s, best=value) for s, value in enumerate(others)])[0]
    difference = mine.minus(base, "best")
    exact = stats.ttest_ind(values, others, equal_var=False).confidence_interval(0.95)
    assert not difference.paired and difference.n == 3
    assert difference.interval == pytest.approx((exact.low, exact.high), rel=1e-9)
    few = series_of([final("b", "baseline", 11, best=0.8), final("b", "baseline", 12, best=0.7)])[0]
    assert mine.minus(few, "best").interval is None


def test_only_differing_keys_are_told():
    other = {"training": {"steps": 200, "seed": 3, "threads": 2}, "reduction": {"tolerance": 0.1}}
    series = series_of([final(seed=1), final(seed=2), final("b", seed=3, config=other)])
    assert configuration_differences(series) == {"training.steps": [100, 200]}
    assert configuration_differences(series[:1]) == {}


def test_an_interval_needs_values_not_runs():
    series = series_of([final(seed=1), final(seed=2), final(seed=3, test=None)])[0]
    assert series.spread("best").interval is not None and series.spread("test").interval is None
    assert series.spread("states").values == [42.0] * 3


def test_a_seed_that_was_run_again_is_no_further_seed():
    again = [final(seed=0, best=0.90 + i / 100) for i in range(4)]
    again = [dataclasses.replace(run, run=f"{run.run}-{i}") for i, run in enumerate(again)]
    one = series_of(again)[0]
    base = series_of([final("b", "baseline", 0, best=0.8)])[0]
    assert len(one.runs) == 4 and one.seeds == [0]
    assert one.spread("best").values == [pytest.approx(0.915)]
    difference = one.minus(base, "best")
    assert (difference.n, difference.paired, difference.interval) == (1, True, None)
    assert difference.mean == pytest.approx(0.115)


def test_what_is_no_number_counts_as_not_known():
    values = [(0, 0.9), (1, math.nan), (2, 0.91), (3, math.inf)]
    one = series_of([final(seed=seed, best=value) for seed, value in values])[0]
    base = series_of([final("b", "baseline", seed, best=0.8) for seed in range(4)])[0]
    assert one.spread("best").values == [0.9, 0.91]
    assert one.minus(base, "best").n == 2


def test_the_first_seed_that_is_there_is_paired_while_the_others_run():
    mine = series_of([final(seed=0, best=0.9), final(seed=1, best=None)])[0]
    base = series_of([final("b", "baseline", 0, best=0.8), final("b", "baseline", 1, best=None)])[0]
    assert mine.minus(base, "best").paired
    other = series_of([final("b", "baseline", 0, best=None), final("b", "baseline", 1, best=0.8)])[0]
    assert not mine.minus(other, "best").paired


def test_runs_of_one_series_with_other_settings_are_told():
    def config(steps, source):
        return {"training": {"steps": steps, "seed": 1}, "start": {"run": source}}

    runs = [final(series="s", seed=seed, config=config(100, f"run-{seed}")) for seed in (0, 1)]
    assert differences_within(series_of(runs)[0]) == []
    longer = final(series="s", seed=2, config=config(200, "run-2"))
    assert differences_within(series_of([*runs, longer])[0]) == ["training.steps"]


def test_two_names_of_one_end_of_an_id_stay_apart():
    runs = [
        dataclasses.replace(final(config={"model": {"state_dim": n}}), run=f"2026112{n}-a-abcd")
        for n in (1, 2, 3)
    ]
    assert len({one.label for one in series_of(runs)}) == 3


def test_a_baseline_is_found_by_series_name_or_id_and_else_refused():
    finals = [final("a", series="cut"), final("b", "baseline", 4)]
    assert baseline_named(finals, "cut") == finals[0].run
    assert baseline_named(finals, "b") == baseline_named(finals, finals[1].run) == finals[1].run
    with pytest.raises(ConfigError, match=r"baseline 'nonsense' is no run or series .* there are cut, b"):
        baseline_named(finals, "nonsense")


def test_runs_that_learned_from_other_data_are_never_one_series():
    """Nor in a suite, which names its series. One of which nothing is known goes with the first."""
    runs = [final(series="s", seed=seed, data=data) for seed, data in enumerate(["x", "", "x", "y"])]
    series = series_of(runs)
    assert [one.seeds for one in series] == [[0, 1, 2], [3]]
    assert len({one.label for one in series}) == len({one.key for one in series}) == 2
    first, other = (one.label for one in series)
    (sentence,) = mixtures(series)
    assert sentence.startswith(f"{other} learned from other data than {first}, with the same settings")
    assert not mixtures(series_of(runs[:3]))
    rows = csv_rows(csv_text(run_rows(series)))
    assert [row["data"] for row in rows] == ["x", "", "x", "y"]
