"""The data layer: incremental, tolerant of what it finds, and bounded in what it gives to a chart."""

import asyncio
import json
import math

import numpy as np
import pytest

from hankelboard.app.charts import (
    metric_tables,
    metrics,
    spectra,
    spectra_tables,
)
from hankelboard.app.data import columns as series
from hankelboard.app.data import journal_tables
from hankelboard.app.data import runs as data
from hankelboard.app.live.watch import Watch
from hankelboard.app.words import labels
from hankelboard.storage.journal import Journal
from tests.app.conftest import comes_true, ready
from tests.app.synthetic_run import SyntheticRun, with_history

# watchdog says so when folders appear faster than it looks; it watches them all the same.
pytestmark = pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")


def steps_of(run, chart="accuracy"):
    table = metric_tables.chart_table(run.id, chart)
    return [step for step in table["step"].to_pylist() if step == step]


@pytest.fixture
def run(runs):
    run = SyntheticRun(runs).start()
    run.train(200)
    return run


def test_only_new_bytes_are_parsed(run, monkeypatch):
    metric_tables.chart_table(run.id, "loss")
    parsed = []
    parse = journal_tables.parse
    monkeypatch.setattr(journal_tables, "parse", lambda lines: parsed.append(lines) or parse(lines))
    metric_tables.chart_table(run.id, "loss")
    assert parsed == []
    run.train(210)
    metric_tables.chart_table(run.id, "loss")
    assert len(parsed) == 1 and json.loads(parsed[0])["step"] == 210


def test_a_torn_tail_waits_until_it_is_whole(run):
    before = metric_tables.chart_table(run.id, "loss").num_rows
    line = b'{"t":"x","step":210,"branch":0,"attempt":0,"train/loss":1.0}\n'
    with run.paths.metrics.open("ab") as file:
        file.write(line[:20])
        file.flush()
        assert metric_tables.chart_table(run.id, "loss").num_rows == before
        assert data.summary(run.id)["damaged"] == {}
        file.write(line[20:])
    assert metric_tables.chart_table(run.id, "loss").num_rows == before + 1


def test_a_replaced_journal_is_read_anew(run):
    assert max(steps_of(run)) == 200
    run.paths.metrics.unlink()
    with Journal(run.paths.metrics) as journal:
        journal.append({"step": 7, "branch": 0, "attempt": 0, "val/accuracy": 0.5})
    assert steps_of(run) == [7]


def test_what_was_left_is_drawn_apart_from_the_live_path(runs):
    run = with_history(runs)
    table = metric_tables.chart_table(run.id, "accuracy").to_pylist()
    live = [row["step"] for row in table if row["path"] == "live"]
    left = [row["step"] for row in table if row["path"] == "left"]
    assert live == sorted(set(live)) and max(live) == 400
    assert min(left) == 200 and max(left) == 900  # joined to the last live point
    marks = {(row["kind"], row["path"]) for row in metric_tables.marks_table(run.id, "accuracy").to_pylist()}
    assert ("rollback", "live") in marks


@pytest.mark.parametrize("holes", [False, True])
def test_decimation_keeps_the_extremes_the_ends_and_the_gaps_and_is_bounded(holes):
    chance = np.random.default_rng(1)
    steps, values = np.arange(1_000_000), chance.standard_normal(1_000_000)
    values[[123_456, 777_777]] = 40.0, -40.0
    if holes:
        values[500_000] = np.nan
    kept_steps, kept = series.decimate(steps, values)
    assert len(kept) <= series.POINTS_PER_LINE
    assert {0, 999_999, 123_456, 777_777} <= set(kept_steps.tolist())
    assert np.isnan(kept).any() == holes
    assert (np.diff(kept_steps) > 0).all()


@pytest.mark.parametrize("count", [5, 6, 7, 11, 13, 100])
@pytest.mark.parametrize("limit", [2, 3, 5, 6])
def test_decimation_of_every_length_keeps_order_ends_and_extremes(count, limit):
    chance = np.random.default_rng(count)
    for holes in (0, 1, count - 1, count):
        values = chance.standard_normal(count)
        values[chance.permutation(count)[:holes]] = np.nan
        kept_steps, kept = series.decimate(np.arange(count), values, limit)
        assert (np.diff(kept_steps) > 0).all() and {0, count - 1} <= set(kept_steps.tolist())
        assert np.array_equal(kept, values[kept_steps], equal_nan=True)
        assert np.isnan(kept).any() == (holes > 0)
        if holes < count:
            assert np.nanmin(kept) == np.nanmin(values) and np.nanmax(kept) == np.nanmax(values)


def test_a_chart_of_a_long_run_is_small(run):
    with Journal(run.paths.metrics) as journal:
        for step in range(201, 5_000):
            journal.append({"step": step, "branch": 0, "attempt": 0, "train/loss": 1.0 / step})
    table = metric_tables.chart_table(run.id, "loss")
    assert table.num_rows <= 2 * series.POINTS_PER_LINE + 2
    assert sum(table["spot"].to_pylist()) <= 2 * metrics.SPOTS + 2


def test_a_loss_that_is_null_is_a_gap_and_a_mark(run):
    with Journal(run.paths.metrics) as journal:
        journal.append({"step": 210, "branch": 0, "attempt": 0, "train/loss": float("nan")})
    marks = metric_tables.marks_table(run.id, "loss").to_pylist()
    assert any(row["kind"] == "not finite" and row["step"] == 210 for row in marks)


@pytest.mark.parametrize(
    "text",
    ["<img src=x onerror=alert(1)>", "[a](javascript:alert(1))", ":red[x]", "$x$", "**x**", "`x`", "~x~",
     "# x", "www.example.org", "a@b.org", ":material/bolt:", "https://example.org"],
)  # fmt: skip
def test_text_from_files_means_nothing_in_markdown(text):
    shown = labels.plain(text)
    for mark in "<[$*`~#":
        assert f"{mark}" not in shown.replace(f"\\{mark}", "")
    assert "://" not in shown and "www." not in shown and ":red[" not in shown


@pytest.mark.parametrize("observed", [True, False])
def test_a_change_wakes_those_who_watch_that_run(runs, monkeypatch, observed):
    """By the kernel's notices, and where there are none (a network file system) by the scan."""
    one, other = SyntheticRun(runs, "one").start(), SyntheticRun(runs, "other").start()
    if not observed:
        monkeypatch.setattr(Watch, "_observe", lambda watch: None)
    watch = Watch(runs, debounce_s=0.02, scan_s=0.1)

    async def listen():
        with (
            watch.subscribe(one.id) as mine,
            watch.subscribe(other.id) as others,
            watch.subscribe(None) as any_,
        ):
            await ready(watch)
            for event in (mine, others, any_):
                event.clear()
            one.event("paused", by="ada")
            await comes_true(lambda: mine.is_set() and any_.is_set())
            await asyncio.sleep(0.3)
            return others.is_set()

    watch.start()
    try:
        assert not asyncio.run(listen())
    finally:
        watch.stop()


def test_spectra_of_the_live_path_by_layer_and_the_ranks_they_leave(runs):
    from hankelboard.storage.spectrum import discarded_shares, rank_for_tolerance

    run = with_history(runs)
    layers = spectra_tables.by_layer(run.id)
    assert sorted(layers) == [0, 1]
    steps = [record["step"] for record in layers[0]]
    assert steps == sorted(set(steps)) and max(steps) <= 420  # what the rollback left is not among them
    table = spectra.rank_table(layers[0]).to_pylist()
    for record in layers[0]:
        told = {row["tolerance"]: row["rank"] for row in table if row["step"] == record["step"]}
        assert told[spectra.N_NAME] == record["state_dim"]
        assert told["5% discarded"] == rank_for_tolerance(discarded_shares(record["hsv"]), 0.05)


def test_a_heat_map_is_bounded_and_keeps_the_snapshots_around_a_cut():
    dims = [1024] * 300 + [200] * 300
    snapshots = [
        {"step": 10 * i, "state_dim": n, "hsv": [2.0 ** (-j / 20) for j in range(n)]}
        for i, n in enumerate(dims)
    ]
    kept = [snapshot["step"] for snapshot in spectra.thinned(snapshots)]
    assert {0, 2990, 3000, 5990} <= set(kept) and len(kept) <= spectra.SNAPSHOTS + 2
    columns = spectra.heat_table(snapshots, 6000).to_pylist()
    assert all(len(column["high"]) == len(column["low"]) <= spectra.STATES for column in columns)
    before, after = (next(c for c in columns if c["start"] == step) for step in (2990, 3000))
    assert before["stride"] == after["stride"] == 8
    assert (len(before["low"]), len(after["low"])) == (128, 25)
    assert all(column["end"] > column["start"] for column in columns)


def unpacked(column):
    """The values of a column of the heat map as the browser reads them: app/charts/spectra.py `_unpacked`."""
    levels = [256 * high + low for high, low in zip(column["high"], column["low"], strict=True)]
    return [math.exp(column["base"] + column["spacing"] * level) if level else None for level in levels]


@pytest.mark.parametrize(
    "hsv",
    [[3.0], [2.0] * 5, [0.0, 0.0], [], [float("nan"), 1e-3], [7.3, 2.1, 1e-7, 0.0, -1e-9, float("nan")],
     list(np.geomspace(4e2, 3e-10, 64)), [1e300, 1e-300]],
)  # fmt: skip
def test_a_heat_map_tells_its_values_to_four_digits_and_leaves_out_what_has_no_logarithm(hsv):
    snapshots = [{"step": 0, "state_dim": len(hsv), "hsv": hsv}]
    (column,) = spectra.heat_table(snapshots, 10).to_pylist()
    accuracy = 1e-2 if max(hsv, default=0) == 1e300 else 3e-4
    for told, value in zip(unpacked(column), hsv, strict=True):
        assert (told is None) == (not value > 0)
        assert told is None or told == pytest.approx(value, rel=accuracy)


@pytest.mark.parametrize("stepped", [False, True])
def test_points_that_a_line_does_not_need_are_left_out_and_it_stays_where_it_was(stepped):
    steps = np.arange(400)
    noise = np.random.default_rng(3).standard_normal(400)
    lines = {
        "smooth": np.cos(steps / 127), "flat": np.full(400, 7.0), "steps": np.repeat([64.0, 47, 33, 20], 100),
        "noise": noise, "gap": np.where(abs(steps - 200) < 3, np.nan, 1.0), "nothing": np.full(400, np.nan),
        "spike": np.where(steps == 301, 5.0, 0.0), "one": noise[:1], "two": noise[:2], "none": noise[:0],
    }  # fmt: skip
    for name, values in lines.items():
        spots = np.zeros(len(values), bool)
        spots[37::90] = True
        kept = series.needed(steps[: len(values)], values, spots, stepped=stepped)
        assert set(np.flatnonzero(spots)) <= set(kept)
        assert np.array_equal(np.isnan(values), np.isin(np.arange(len(values)), kept) & np.isnan(values))
        drawn = np.interp(steps[: len(values)], kept, values[kept]) if len(kept) else values
        if stepped and len(kept):
            drawn = values[kept][np.searchsorted(kept, np.arange(len(values)), side="right") - 1]
        finite = values[~np.isnan(values)]
        moved = np.abs(drawn - values)[~np.isnan(values) & ~np.isnan(drawn)]
        if len(finite):
            assert moved.max() <= 3 * series.STRAIGHT * np.ptp(finite) + 1e-12, name
    few = {"flat", "steps"} | (set() if stepped else {"smooth"})
    for name in few:
        assert len(series.needed(steps, lines[name], np.zeros(400, bool), stepped=stepped)) < 70
    assert len(series.needed(steps, noise, np.zeros(400, bool), stepped=stepped)) > 390
