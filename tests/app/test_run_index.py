"""The list of all runs: what did not change is not looked at, and nothing that did is missed."""

import os
import shutil
import subprocess
import sys
import threading
import time

import pytest

from hankelboard.app.data import runs as data
from hankelboard.app.data.prefetch import Prefetch
from hankelboard.app.data.run_cache import RunCache
from hankelboard.app.data.run_index import TRUST_S, RunIndex
from hankelboard.app.data.run_list import RunList
from hankelboard.storage.runs import create_run
from hankelboard.storage.status import process_identity
from tests.app.conftest import settle, state
from tests.app.synthetic_run import CONFIG, SyntheticRun
from tests.waiting import PATIENCE_S, until

# watchdog says so when folders appear faster than it looks; it watches them all the same.
pytestmark = pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")


def looked_at(paths):
    cache = RunCache(paths)
    cache.refresh()
    return cache


# The list.


def test_a_folder_in_which_nothing_changed_is_listed_once(runs):
    run = SyntheticRun(runs, "one")
    settle(runs)
    listing = RunList()
    listed = listing.of(runs)
    assert list(listed) == [run.id] and listing.of(runs) is listed
    other = SyntheticRun(runs, "other")
    assert set(listing.of(runs)) == {run.id, other.id}
    shutil.rmtree(other.paths.root)
    assert set(listing.of(runs)) == {run.id}
    assert listing.of(runs / "absent") == {}


def test_a_run_within_the_same_tick_of_the_clock_as_the_listing_is_not_missed(runs):
    first = SyntheticRun(runs, "first")
    listing = RunList()
    before = runs.stat().st_mtime_ns
    assert list(listing.of(runs)) == [first.id]
    second = SyntheticRun(runs, "second")
    os.utime(runs, ns=(before, before))  # a coarse clock
    assert set(listing.of(runs)) == {first.id, second.id}


# The index.


def test_a_run_that_nobody_reported_is_not_looked_at(runs, index, stats):
    SyntheticRun(runs, "one").start().finish()
    SyntheticRun(runs, "queued")
    settle(runs)
    listing = RunList()
    assert len(index.rows(listing.of(runs))[0]) == 2
    stats.clear()
    assert len(index.rows(listing.of(runs))[0]) == 2
    assert stats == [str(runs)]


def test_a_reported_run_is_read_and_no_other_one(runs, index, stats):
    one, other = SyntheticRun(runs, "one").start(), SyntheticRun(runs, "other").start().finish()
    state(index, runs, one)
    one.finish()
    index.changed(one.id)
    stats.clear()
    assert state(index, runs, one) == "finished"
    assert not [path for path in stats if other.id in path]
    stats.clear()
    assert state(index, runs, one) == "finished" and stats == [str(runs)]


def test_without_a_watch_that_reports_every_run_is_looked_at(runs, index):
    run = SyntheticRun(runs).start().finish()
    assert state(index, runs, run) == "finished"
    run.event("attempt_started", checkpoint=None, state_dims=run.dims)
    run.status("running")
    assert state(index, runs, run) == "finished"  # nobody said so
    index._reported_at = time.monotonic() - TRUST_S - 1
    assert state(index, runs, run) == "running"


def test_a_change_while_the_run_is_being_read_makes_it_due_again(runs):
    run = SyntheticRun(runs).start()

    def refreshed(paths):
        cache = looked_at(paths)
        if not index.caches({run.id: paths}):
            run.finish()  # behind the reader's back
            index.changed(run.id)
        return cache

    index = RunIndex(refreshed)
    index.watched()
    assert state(index, runs, run) == "running"
    assert state(index, runs, run) == "finished"


def test_a_reading_that_fails_is_made_up_for(runs):
    run = SyntheticRun(runs).start()
    broken = threading.Event()

    def refreshed(paths):
        if broken.is_set():
            raise RuntimeError("not now")
        return looked_at(paths)

    index = RunIndex(refreshed)
    index.watched()
    state(index, runs, run)
    run.finish()
    index.changed(run.id)
    broken.set()
    with pytest.raises(RuntimeError):
        state(index, runs, run)
    broken.clear()
    assert state(index, runs, run) == "finished"


def test_a_trainer_that_dies_without_a_word_is_noticed_without_a_report(runs, index):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    run = SyntheticRun(runs).start()
    run.status("running", **process_identity(child.pid))
    assert state(index, runs, run) == "running"
    child.communicate()
    assert state(index, runs, run) == "dead"


def test_runs_that_vanish_are_forgotten_and_new_ones_are_read(runs, index):
    run, other = SyntheticRun(runs, "one"), SyntheticRun(runs, "other")
    index.rows(RunList().of(runs))
    shutil.rmtree(other.paths.root)
    new = SyntheticRun(runs, "new")
    rows, left_out = index.rows(RunList().of(runs))
    assert {row["run"] for row in rows} == {run.id, new.id} and left_out == 0
    assert len(index.caches(RunList().of(runs))) == 2


def test_a_spent_budget_leaves_out_what_was_never_read_and_nothing_else(runs, index):
    run = SyntheticRun(runs, "one")
    listing = RunList()
    assert index.rows(listing.of(runs), 0.0) == ([], 1)
    index.rows(listing.of(runs))
    SyntheticRun(runs, "new")
    rows, left_out = index.rows(listing.of(runs), 0.0)
    assert [row["run"] for row in rows] == [run.id] and left_out == 1


# Through the data layer.


def waiting_for(runs, name, other):
    config = {**CONFIG, "start": {"run": other}}
    return create_run(runs, name=name, config=config).id


def test_a_queued_run_stops_waiting_when_the_other_one_ends(runs):
    first = SyntheticRun(runs, "first").start()
    second = waiting_for(runs, "second", first.id)
    data.index.watched()
    try:
        reasons = [next(row["reason"] for row in data.summaries() if row["run"] == second)]
        first.finish()
        reasons.append(next(row["reason"] for row in data.summaries() if row["run"] == second))
    finally:
        data.index._reported_at = float("-inf")
    assert "waits for" in reasons[0] and reasons[1] == ""


def test_runs_that_wait_for_each_other_are_listed_by_two_threads_at_once(runs):
    one = waiting_for(runs, "one", "another")
    other = waiting_for(runs, "other", one)
    record = (runs / one / "run.json").read_text().replace('"another"', f'"{other}"')
    (runs / one / "run.json").write_text(record)
    caches = [data.cache_of(run) for run in (one, other)]

    def ask(cache):
        for _ in range(300):
            cache.summary()

    threads = [threading.Thread(target=ask, args=(cache,), daemon=True) for cache in caches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert not any(thread.is_alive() for thread in threads)


def test_a_sparkline_is_read_when_it_is_asked_for(runs, monkeypatch):
    monkeypatch.setattr("hankelboard.app.data.prefetch.HEAD_START_S", 0.0)
    run, other = SyntheticRun(runs, "one").start(), SyntheticRun(runs, "other").start()
    run.train(500)
    other.train(200)
    notified = threading.Event()
    data.notify_when_prefetched(lambda name: notified.set())
    data.summaries()
    assert data.sparkline(run.id) == []
    assert notified.wait(PATIENCE_S)
    assert len(data.sparkline(run.id)) == 5
    assert not data.cache_of(other.id).has_open("metrics")


def test_reading_ahead_goes_on_as_long_as_there_is_more(monkeypatch):
    monkeypatch.setattr("hankelboard.app.data.prefetch.HEAD_START_S", 0.0)
    rest = [True, True, False]
    prefetch, notified = Prefetch(), threading.Event()
    prefetch.notify = lambda name: notified.set()
    prefetch.request("all", lambda: rest.pop(0))
    until(lambda: notified.is_set() and rest == [])


def test_runs_that_a_budget_left_out_are_read_meanwhile(runs, monkeypatch):
    monkeypatch.setattr("hankelboard.app.data.prefetch.HEAD_START_S", 0.0)
    for name in ("one", "other", "third"):
        SyntheticRun(runs, name)
    assert data.rows_within(0.0)[1] == 3
    until(lambda: data.rows_within(0.0)[1] == 0)
    assert len(data.rows_within(0.0)[0]) == 3
