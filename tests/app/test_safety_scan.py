"""The safety net: what no event tells of is found all the same, in turn, by a bounded number of looks."""

import asyncio
import shutil
import time

import pytest
from watchdog.events import FileModifiedEvent

from hankelboard.app.live.safety_scan import LOOKS, SafetyScan
from hankelboard.app.live.watch import ANYTHING, Watch
from tests.app.conftest import SyntheticRun, comes_true, ready, settle, state
from tests.waiting import until

# watchdog says so when folders appear faster than it looks; it watches them all the same.
pytestmark = pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")


class Resting(set):
    """Runs that ended, as the index would know them."""

    def __call__(self, run_id):
        return run_id in self


def empty_runs(folder, count):
    names = [f"run-{number:04d}" for number in range(count)]
    for name in names:
        (folder / name).mkdir()
    return names


def test_a_round_looks_at_a_bounded_number_of_runs_and_reaches_each_in_turn(runs, stats):
    names = empty_runs(runs, 5 * LOOKS)
    settle(runs)
    scan = SafetyScan(runs, Resting(names[:-3]))
    seen = set()
    for turn in range(5 + 1):
        stats.clear()
        found = scan.round(float(turn), all_living=False)
        looked = {path.split("run-")[1][:4] for path in stats if "run-" in path}
        assert len(looked) <= LOOKS and {name[-4:] for name in names[-3:]} <= looked
        seen |= set(found.first_seen)
    assert seen == set(names)


def test_many_living_runs_take_turns_unless_there_are_no_events(runs):
    names = empty_runs(runs, 2 * LOOKS)
    assert len(SafetyScan(runs, Resting()).round(0.0, all_living=False).first_seen) <= LOOKS
    assert set(SafetyScan(runs, Resting()).round(0.0, all_living=True).first_seen) == set(names)


def test_what_changed_appeared_or_vanished_since_the_last_look_is_found(runs):
    run, other = SyntheticRun(runs, "one").start(), SyntheticRun(runs, "other").start()
    scan = SafetyScan(runs, Resting())
    assert set(scan.round(5.0, all_living=True).first_seen) == {run.id, other.id}
    assert scan.round(6.0, all_living=True).changed == {}
    run.event("paused", by="ada")
    shutil.rmtree(other.paths.root)
    new = SyntheticRun(runs, "new")
    found = scan.round(7.0, all_living=True)
    assert found.changed == {run.id: 6.0, other.id: 0.0, new.id: 0.0}


def watched(watch, story):
    """Play a story, a coroutine, while the watch runs; returns whether it still hears all."""
    watch.start()
    try:
        asyncio.run(story())
    finally:
        watch.stop()
    return watch.hears_all


def test_where_events_do_not_come_the_scan_tells_and_living_runs_are_polled(runs, index, monkeypatch):
    """As on a network file system that another machine writes to: there is an observer, and it is silent."""
    run = SyntheticRun(runs).start()
    state(index, runs, run)
    watch = Watch(runs, index, debounce_s=0.01, scan_s=0.05)
    monkeypatch.setattr(watch, "on_any_event", lambda event: None)

    async def story():
        await ready(watch)
        run.finish()
        await comes_true(lambda: state(index, runs, run) == "finished")
        await comes_true(lambda: not watch.hears_all)

    assert not watched(watch, story)


def test_where_events_come_they_are_trusted(runs, index):
    run = SyntheticRun(runs).start()
    watch = Watch(runs, index, debounce_s=0.01)
    watch._observe()
    try:
        watch._round()
        for step in range(10, 60, 10):
            looked_at = time.monotonic()
            run.train(step)
            until(lambda since=looked_at: watch._heard.get(run.id, 0.0) > since)
            watch._round()
            watch._round()  # judges what the one before found
    finally:
        watch._observer.stop()
        watch._observer.join()
    assert watch.hears_all


def test_what_happened_before_the_watch_began_is_looked_at_once(runs, index):
    run = SyntheticRun(runs).start()
    assert state(index, runs, run) == "running"
    run.finish()

    async def story():
        await comes_true(lambda: state(index, runs, run) == "finished")

    watched(Watch(runs, index, scan_s=60.0), story)


def test_the_scan_wakes_nobody_for_what_an_event_told_of_and_the_index_looks_again(runs, index):
    told, silent = SyntheticRun(runs, "told").start(), SyntheticRun(runs, "silent").start()
    watch = Watch(runs, index, debounce_s=60.0)
    watch._observer = object()  # there is one; its events are played here
    watch._round()
    for run in (told, silent):
        state(index, runs, run)
        run.finish()
    watch.on_any_event(FileModifiedEvent(str(told.paths.events)))
    watch._timer.cancel()
    watch._pending.clear()
    assert state(index, runs, told) == "finished"
    told.event("paused", by="ada")  # after the event, and before the round
    told.status("paused")
    watch._round()
    assert watch._pending == {silent.id: {ANYTHING}}
    watch._timer.cancel()
    assert state(index, runs, told) == "paused" and state(index, runs, silent) == "finished"
