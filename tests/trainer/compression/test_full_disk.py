"""A full disk, a folder made read-only: training goes on and says so, cuts nothing, recovers by itself."""

import contextlib
import errno
import os
import threading
from functools import partial
from pathlib import Path

import pytest

from hankelboard.storage.verification import verify_run
from hankelboard.trainer.compression import offers
from tests.trainer.small_run import ENDLESS, at_steps


class Disk:
    """While `full`, every write of new bytes into the run directory fails as the kernel fails it; while
    `read_only`, no file can be created or renamed there, but open ones can be written; `cannot_grow` is a
    file that takes no more bytes, although others do."""

    cannot_grow = None

    def __init__(self, monkeypatch, root):
        self._full = self.read_only = False
        self._finds_room = None
        self._root = str(root)
        pwrite, link = os.pwrite, os.link

        def refuse(*arguments, call, grows=lambda *_: True, **options):
            full = self.full or (call is pwrite and self._is_stuck(arguments[0]))
            if full and grows(*arguments):
                raise OSError(errno.ENOSPC, "No space left on device")
            if self.read_only and call is not pwrite:
                raise OSError(errno.EACCES, "Permission denied")
            return call(*arguments, **options)

        monkeypatch.setattr(os, "pwrite", lambda fd, data, at: refuse(fd, data, at, call=pwrite, grows=grows))
        monkeypatch.setattr(os, "link", lambda *names, **places: refuse(*names, call=link, **places))
        self._wrap_files(monkeypatch)

    def _is_stuck(self, descriptor):
        return self.cannot_grow and os.path.samestat(os.fstat(descriptor), self.cannot_grow.stat())

    @property
    def full(self):
        return self._full and threading.get_ident() != self._finds_room

    @full.setter
    def full(self, full):
        self._full = full

    @contextlib.contextmanager
    def room(self):
        """What this thread writes finds room on the full disk: a decision, which is small."""
        self._finds_room = threading.get_ident()
        yield
        self._finds_room = None

    def _wrap_files(self, monkeypatch):
        open_path, create = Path.open, os.open

        def opened(path, mode="r", *more, **options):
            if set(mode) & set("wxa"):
                self._refuse_creation(path)
            return open_path(path, mode, *more, **options)

        def created(path, flags, *more, **options):
            if flags & os.O_EXCL:  # a bare name is one in a folder of the run
                self._refuse_creation(Path(self._root, path))
            return create(path, flags, *more, **options)

        monkeypatch.setattr(Path, "open", opened)
        monkeypatch.setattr(os, "open", created)

    def _refuse_creation(self, path):
        if str(path).startswith(self._root):
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            if self.read_only:
                raise OSError(errno.EACCES, "Permission denied", str(path))


def grows(descriptor, data, at):
    return at + len(data) > os.fstat(descriptor).st_size


@pytest.fixture
def disk(monkeypatch, tmp_path):
    return Disk(monkeypatch, tmp_path)


def test_training_goes_on_says_so_and_catches_up(small_run, disk, monkeypatch):
    keys = {"training": {"steps": 200, "keep_checkpoints": 0}, "reduction": {"attempts": 0, "steps": []}}
    run, quiet = small_run(**keys), small_run(**keys)
    quiet.train()
    seen = {}

    def make_room():
        seen.update(reached=run.live_path()[-1][0], trouble=run.status["trouble"])
        disk.full = False

    at_steps(monkeypatch, {33: lambda: setattr(disk, "full", True), 133: make_room})
    assert run.train() == "finished"
    assert seen["reached"] <= 33 and "No space left on device" in seen["trouble"]
    assert run.live_path() == quiet.live_path()  # what waited in memory was written afterwards, in order
    assert run.final_weights() == quiet.final_weights()
    assert run.status["trouble"] is None
    assert not [finding for finding in verify_run(run.paths) if finding.damage]


def test_nothing_is_cut_without_a_checkpoint_to_go_back_to(small_run, disk, monkeypatch):
    monkeypatch.setattr("hankelboard.trainer.compression.offers.RETRY_S", 0.1)
    run = small_run(training={"steps": ENDLESS}, reduction={"policy": "ask", "steps": [20], "slack": 1000.0})
    with run.training():
        run.wait_pending(1)
        disk.full = True
        with disk.room():
            run.decide(1, "approve")
        run.wait(lambda history: run.status["trouble"])
        run.wait_beats(5)
        assert not run.events("reduction_applied") and run.status["state_dims"] == [12, 12]
        disk.full = False
        run.wait(lambda history: history.proposals[1].state == "applied")
        run.wait_beats()
        run.send("stop")
    assert run.status["state_dims"] != [12, 12]


def test_nothing_is_cut_before_what_decided_it_is_on_disk(small_run, disk, monkeypatch):
    """A checkpoint could be written all the while; a death after the cut would find no decision for it."""
    run = small_run(reduction={"steps": [20], "slack": 1000.0})
    decided, cut = [], offers.cut

    def watched(*arguments):
        decided.append([event["step"] for event in run.events("decision_accepted")])
        return cut(*arguments)

    monkeypatch.setattr(offers, "cut", watched)
    fill, clear = (partial(setattr, disk, "cannot_grow", file) for file in (run.paths.events, None))
    at_steps(monkeypatch, {20: fill, 30: clear})
    assert run.train() == "finished"
    assert decided == [[20]]
    assert run.events("reduction_applied")[0]["step"] >= 30


def refused(run):
    return [(event["attempt_step"], event["reason"]) for event in run.events("reduction_refused")]


def test_an_opportunity_that_a_full_disk_swallowed_is_in_the_journal(small_run, disk, monkeypatch):
    """And what is late is not made up for right before the next one."""
    monkeypatch.setattr(offers, "RETRY_S", 0.0)
    run = small_run(training={"steps": 20}, reduction={"steps": [4, 8, 12]})
    fill, clear = (partial(setattr, disk, "full", full) for full in (True, False))
    at_steps(monkeypatch, {3: fill, 11: clear})
    assert run.train() == "finished"
    why = (
        "no proposal: not written: No space left on device; 3 steps late, and step {} is the next opportunity"
    )
    assert refused(run) == [(4, why.format(8)), (8, why.format(12))]
    assert [event["step"] for event in run.events("reduction_applied")] == [12]
    (began,), (ended,) = run.events("trouble_began"), run.events("trouble_ended")
    assert 3 <= began["step"] < 12 <= ended["step"] and "No space left on device" in began["reason"]
    assert run.status["trouble"] is None


def test_what_is_not_too_late_is_made_up_for(small_run, disk, monkeypatch):
    monkeypatch.setattr(offers, "RETRY_S", 0.0)
    run = small_run(training={"steps": 20}, reduction={"steps": [4, 12]})
    fill, clear = (partial(setattr, disk, "full", full) for full in (True, False))
    at_steps(monkeypatch, {3: fill, 6: clear})
    assert run.train() == "finished"
    assert [event["step"] for event in run.events("reduction_applied")] == [6, 12] and not refused(run)


def test_a_cut_that_came_late_takes_the_place_of_the_next_one(small_run, disk, monkeypatch):
    """The proposal was written in time, the checkpoint to go back to was not."""
    monkeypatch.setattr(offers, "RETRY_S", 0.0)
    run = small_run(reduction={"steps": [12, 24, 48]})
    fill, clear = (partial(setattr, disk, "cannot_grow", file) for file in (run.paths.events, None))
    at_steps(monkeypatch, {12: fill, 18: clear})
    assert run.train() == "finished"
    late, on_time = (event["step"] for event in run.events("reduction_applied"))
    assert 18 <= late < 24 and on_time == 48
    assert refused(run) == [(24, f"no proposal: the last cut was made late, at step {late}")]


def test_an_opportunity_that_is_swallowed_at_the_end_is_in_the_journal(small_run, disk, monkeypatch):
    run = small_run(reduction={"steps": [60]})
    at_steps(monkeypatch, {50: lambda: setattr(disk, "full", True)})
    with run.training() as outcome:
        run.wait(lambda history: run.status["step"] == 60)
        run.wait_beats(3)
        disk.full = False
    assert outcome == ["finished"]
    assert refused(run) == [(60, "no proposal: not written: No space left on device")]


def test_the_end_waits_until_it_can_be_written(small_run, disk, monkeypatch):
    run = small_run(reduction={"attempts": 0, "steps": []})
    at_steps(monkeypatch, {33: lambda: setattr(disk, "full", True)})
    with run.training() as outcome:
        run.wait(lambda history: run.status["step"] == 60)
        run.wait_beats(3)
        assert not outcome
        disk.full = False
    assert outcome == ["finished"] and run.history.state == "finished"


def test_a_folder_made_read_only_while_training(small_run, disk, monkeypatch):
    run = small_run(training={"steps": 200}, reduction={"attempts": 0, "steps": []})
    troubles = []

    def make_writable():
        troubles.append(run.status["trouble"])
        disk.read_only = False

    at_steps(monkeypatch, {33: lambda: setattr(disk, "read_only", True), 133: make_writable})
    assert run.train() == "finished"
    assert "Permission denied" in troubles[0] and run.status["trouble"] is None
    assert run.live_path()[-1][0] == 200
    assert not [finding for finding in verify_run(run.paths) if finding.damage]
