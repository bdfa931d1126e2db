"""Curves of comparisons: the live path, the four axes, bands over seeds, and what charts draw of them."""

import dataclasses
import re

import numpy as np
import pytest
import vl_convert

from hankelboard.comparison import charts, tables
from hankelboard.comparison.curves import AXES, band, curve_of, read_curve, running_clock
from hankelboard.comparison.series import series_of
from hankelboard.storage.runs import read_run
from tests.app.synthetic_run import SyntheticRun
from tests.comparison.test_series import final


def curve(values, steps=None, batch=10):
    steps = np.arange(len(values)) * 10.0 if steps is None else np.array(steps, float)
    return curve_of(steps, np.array(values, float), steps, steps / 2, steps, batch)


def test_axes_of_a_curve():
    one = curve([0.1, np.nan, 0.5], steps=[0, 10, 30])
    assert one.along("samples").tolist() == [0, 100, 300] and one.along("train_s").tolist() == [0, 5, 15]
    assert one.last == 0.5
    assert one.best_within("step", 10) == pytest.approx(0.1) and one.best_within("step", -1) is None
    assert set(AXES) == {"train_s", "step", "samples", "clock_s"}


def test_the_clock_goes_on_over_processes():
    assert running_clock(np.array([1.0, 5.0, 0.5, 2.0, 0.1])).tolist() == [1.0, 5.0, 5.5, 7.0, 7.1]
    assert len(running_clock(np.zeros(0))) == 0


def test_a_band_is_mean_and_sample_deviation_where_all_seeds_are():
    a, b = curve([0.2, 0.4, 0.6]), curve([0.4, 0.4, 0.8, 0.9])
    found = band([a, b], "step")
    assert (found.at[0], found.at[-1]) == (0, 20)
    assert found.mean[0] == pytest.approx(0.3) and found.sd[0] == pytest.approx(np.std([0.2, 0.4], ddof=1))
    same = band([a, curve([0.4, 0.4, 0.8])], "step")
    assert same.mean.tolist() == pytest.approx([0.3, 0.4, 0.7])
    assert band([a], "step") is None and band([a, curve([])], "step") is None
    assert band([a, curve([0.1, 0.2], steps=[100, 110])], "step") is None


def test_reading_follows_the_live_path_and_leaves_gaps(tmp_path):
    run = SyntheticRun(tmp_path).start()
    run.train(200)
    found = read_curve(run.paths, "val/accuracy", read_run(run.paths).config["training"]["batch"])
    assert found.step.tolist() == [100, 200] and np.isfinite(found.value).all()
    assert found.along("samples").tolist() == [6400, 12800]
    assert found.train_s[-1] == pytest.approx(run.train_s, abs=1e-3)
    assert len(read_curve(SyntheticRun(tmp_path, name="empty").paths, "val/accuracy", 1).value) == 0


def many(count):
    configs = [{"training": {"steps": 100 + i, "seed": 0}} for i in range(count)]
    return series_of([final(f"run-{i}", config=config) for i, config in enumerate(configs)])


def test_colour_dash_and_shape_stay_with_a_series():
    few, more = many(3), many(20)
    palette = charts.Palette(more)
    looks = set()
    for one in more:
        place = palette.color()["scale"]["domain"].index(one.label)
        channels = (palette.dash(), palette.shape())
        looks.add((place % charts.HUES, *(str(channel["scale"]["range"][place]) for channel in channels)))
    assert len(looks) == 20
    alone = [charts.Palette([one]).color()["scale"]["domain"].index(one.label) for one in few]
    again = [charts.Palette([one]).color()["scale"]["domain"].index(one.label) for one in many(3)]
    assert alone == again and all(place < charts.HUES for place in alone)


def drawn(spec, rows):
    """The chart as SVG, drawn by Vega itself: a specification that it does not understand fails here."""
    return vl_convert.vegalite_to_svg({**spec, "datasets": rows, "usermeta": {}})


def test_vega_draws_what_the_specifications_say():
    config = {"training": {"steps": 100, "seed": 0}}
    series = series_of([final(seed=1), final(seed=2), final("b", "baseline", config=config)])
    curves = {run.run: curve([0.1, 0.5, 0.9 + run.seed / 100]) for one in series for run in one.runs}
    palette = charts.Palette(series)
    rows = charts.curve_tables(series, curves, "step")
    assert len(rows["curves"]) == 9 and len(rows["bands"]) == 3
    assert {row["at"] for row in charts.curve_tables(series, curves, "step", skip=0.5)["curves"]} == {10, 20}
    svg = drawn(charts.curve_spec(palette, "step", "validation accuracy", ".1%"), rows)
    assert svg.count("mark-line") >= 2 and ">b<" in svg and ">\u200b" not in svg
    points = charts.point_tables(series, "test", "states")
    assert len(points["points"]) == 3 and len(points["means"]) == 1 and points["front"]
    assert ">a<" in drawn(charts.point_spec(palette, "test", "states", log=True), points)


def test_charts_show_no_deviation_of_two_seeds():
    for seeds in (2, 3):
        series = series_of([final(seed=seed, test=0.8 + seed / 10) for seed in range(seeds)])
        curves = {run.run: curve([0.1, run.test]) for run in series[0].runs}
        row = charts.curve_tables(series, curves, "step")["bands"][-1]
        (mean,) = charts.point_tables(series, "test", "states")["means"]
        assert (
            (row["high"] > row["mean"] > row["low"])
            == (mean["high"] > mean["y"] > mean["low"])
            == (seeds > 2)
        )


def test_tables_say_how_many_and_claim_nothing_of_few():
    config = {"training": {"steps": 50, "seed": 0}}
    mine = [final(seed=s, test=0.90 + s / 1000) for s in (1, 2, 3)]
    base = [final("b", "baseline", seed=s, test=0.80 + s / 500, config=config) for s in (1, 2, 3)]
    series = series_of(mine + base)
    row, other = tables.series_rows(series, series[1], "test")
    assert row["test accuracy, last weights"] == "90.20 ± 0.10 %"
    assert row["Δ test accuracy, last weights, points"].startswith("+9.80 [") and other["runs"] == "3"
    assert "(n = 3, paired)" in row["Δ test accuracy, last weights, points"]
    assert other["Δ test accuracy, last weights, points"] == "baseline"
    few = series_of(mine[:2] + base[:2])
    row = tables.series_rows(few, few[1], "test")[0]
    assert row["test accuracy, last weights"] == "90.10 % / 90.20 %"
    assert "no claim" in row["Δ test accuracy, last weights, points"]


def test_budgets_say_which_runs_ended_before():
    series = series_of([final(seed=1), final(seed=2)])
    curves = {series[0].runs[0].run: curve([0.1, 0.6]), series[0].runs[1].run: curve([0.2, 0.3, 0.9])}
    (row,) = tables.budget_rows(series, curves, "step", 20)
    assert row["accuracy"] == "60.00 % / 90.00 %" and row["note"] == "1 of 2 end before"
    later = {run: one.after(100.0) for run, one in curves.items()}
    (row,) = tables.budget_rows(series, later, "train_s", 20)
    assert (row["seeds"], row["accuracy"], row["note"]) == ("0", "–", "2 of 2 begin after")
    assert tables.budgets({**curves, "empty": curve([])}) == [5.0, 10.0]


def test_a_seed_that_was_run_again_is_one_in_charts_and_budgets():
    runs = [final(seed=seed, test=value) for seed, value in ((1, 0.5), (1, 0.7), (2, 0.9))]
    runs = [dataclasses.replace(run, run=f"{run.run}-{i}") for i, run in enumerate(runs)]
    curves = {run.run: curve([0.1, run.test]) for run in runs}
    both, once = series_of(runs), series_of(runs[:2])
    points = charts.point_tables(both, "test", "states")
    assert len(points["points"]) == 3
    assert (points["means"][0]["n"], points["means"][0]["y"]) == (2, pytest.approx(0.75))
    assert charts.point_tables(once, "test", "states")["means"] == []
    assert charts.curve_tables(both, curves, "step")["bands"]
    assert charts.curve_tables(once, curves, "step")["bands"] == []
    (row,) = tables.budget_rows(both, curves, "step", 20)
    assert (row["seeds"], row["accuracy"]) == ("2", "60.00 % / 90.00 %")


@pytest.mark.parametrize("width", [300, 500, 860])
def test_names_are_whole_in_the_legend_of_a_narrow_and_a_wide_chart(width):
    names = ["cut after training, tuned", "real symmetry, moments reset", "c"]
    runs = [final(name, config={"training": {"steps": i}}) for i, name in enumerate(names)]
    series = series_of(runs)
    spec = charts.point_spec(charts.Palette(series), "test", "states", log=True)
    svg = drawn({**spec, "width": width}, charts.point_tables(series, "test", "states"))
    assert "…" not in svg and all(f">{name}<" in svg for name in names)
    drawn_width = float(re.search(r'<svg[^>]* width="([\d.]+)"', svg)[1])
    assert drawn_width <= width + 10, "nothing lies beyond the edge"
