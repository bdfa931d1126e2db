"""A full disk, a folder made read-only: training goes on and says so, cuts nothing, recovers by itself."""

import errno
import os
import time
from pathlib import Path

import pytest

from storage.verification import verify_run


class Disk:
    """While `full`, every write of new bytes into the run directory fails as the kernel fails it; while
    `read_only`, no file can be created or renamed there, but open ones can be written."""

    def __init__(self, monkeypatch, root):
        self.full = self.read_only = False
        self._root = str(root)
        pwrite, link = os.pwrite, os.link

        def refuse(*arguments, call, grows=lambda *_: True):
            if self.full and grows(*arguments):
                raise OSError(errno.ENOSPC, "No space left on device")
            if self.read_only and call is not pwrite:
                raise OSError(errno.EACCES, "Permission denied")
            return call(*arguments)

        monkeypatch.setattr(os, "pwrite", lambda fd, data, at: refuse(fd, data, at, call=pwrite, grows=grows))
        monkeypatch.setattr(os, "link", lambda a, b: refuse(a, b, call=link))
        self._wrap_files(monkeypatch)

    def _wrap_files(self, monkeypatch):
        open_path = Path.open

        def opened(path, mode="r", *more, **options):
            if str(path).startswith(self._root) and set(mode) & set("wxa"):
                if self.full:
                    raise OSError(errno.ENOSPC, "No space left on device", str(path))
                if self.read_only:
                    raise OSError(errno.EACCES, "Permission denied", str(path))
            return open_path(path, mode, *more, **options)

        monkeypatch.setattr(Path, "open", opened)


def grows(descriptor, data, at):
    return at + len(data) > os.fstat(descriptor).st_size


@pytest.fixture
def disk(monkeypatch, tmp_path):
    return Disk(monkeypatch, tmp_path)


def test_training_goes_on_says_so_and_catches_up(small_run, disk):
    run = small_run(training={"steps": 200, "keep_checkpoints": 0}, reduction={"attempts": 0, "steps": []})
    quiet = small_run(training={"steps": 200, "keep_checkpoints": 0}, reduction={"attempts": 0, "steps": []})
    quiet.train()
    with run.training():
        run.wait(lambda history: history.attempt == 0 and run.status["step"] > 20)
        disk.full = True
        run.wait(lambda history: "No space left on device" in (run.status["trouble"] or ""))
        reached = run.status["step"]
        run.wait(lambda history: run.status["step"] >= reached + 60)
        missed = run.live_path()[-1][0]
        disk.full = False
        run.wait(lambda history: history.state == "finished")
    assert missed < 195
    assert run.live_path() == quiet.live_path()  # what waited in memory was written afterwards, in order
    assert run.final_weights() == quiet.final_weights()
    assert run.status["trouble"] is None
    assert not [finding for finding in verify_run(run.paths) if finding.damage]


def test_nothing_is_cut_without_a_checkpoint_to_go_back_to(small_run, disk, monkeypatch):
    monkeypatch.setattr("trainer.reductions.RETRY_S", 0.2)
    run = small_run(training={"steps": 1500}, reduction={"policy": "ask", "steps": [20]})
    with run.training():
        run.wait_pending(1)
        run.decide(1, "approve")
        disk.full = True
        run.wait(lambda history: run.status["trouble"])
        time.sleep(0.5)
        assert not run.events("reduction_applied") and run.status["state_dims"] == [12, 12]
        disk.full = False
        run.wait(lambda history: history.proposals[1].state == "applied")
        run.send("stop")
    assert run.status["state_dims"] != [12, 12]


def test_the_end_waits_until_it_can_be_written(small_run, disk):
    run = small_run(reduction={"attempts": 0, "steps": []})
    with run.training() as outcome:
        run.wait(lambda history: history.attempt == 0 and run.status["step"] >= 30)
        disk.full = True
        run.wait(lambda history: run.status["step"] == 60)
        time.sleep(0.7)
        assert not outcome
        disk.full = False
    assert outcome == ["finished"] and run.history.state == "finished"


def test_a_folder_made_read_only_while_training(small_run, disk):
    run = small_run(training={"steps": 200}, reduction={"attempts": 0, "steps": []})
    with run.training():
        run.wait(lambda history: history.attempt == 0 and run.status["step"] > 20)
        disk.read_only = True
        run.wait(lambda history: "Permission denied" in (run.status["trouble"] or ""))
        reached = run.status["step"]
        run.wait(lambda history: run.status["step"] >= reached + 60)
        disk.read_only = False
        run.wait(lambda history: history.state == "finished")
    assert run.status["trouble"] is None
    assert run.live_path()[-1][0] == 200
    assert not [finding for finding in verify_run(run.paths) if finding.damage]
