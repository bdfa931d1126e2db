"""A trainer that freezes between its look at the fence and a write, is taken for dead, and wakes."""

import fcntl
import os
import signal
import socket
from contextlib import contextmanager
from pathlib import Path

from hankelboard.storage import attempts, checkpoints, opening, status
from hankelboard.storage.journal import read_journal
from hankelboard.storage.summary import summarise
from hankelboard.storage.verification import verify_run
from tests.trainer.deaths import _context, _train
from tests.waiting import PATIENCE_S, until

STEPS = 24
KEYS = {
    "training": {"steps": STEPS, "log_every": 2, "evaluate_every": 4, "spectra_every": 4,
                 "checkpoint_every": 6, "keep_checkpoints": 1},
    "reduction": {"steps": [9, 15]},
    "output": {"systems": True},
}  # fmt: skip


def no_locks(descriptor, how):
    raise OSError(37, "No locks available")


class Freezes:
    """The child stops itself right before the nth write of a kind, after it looked."""

    def __init__(self, kind, nth, paths):
        self.kind, self.nth, self.paths = kind, nth, paths

    def __repr__(self):
        return f"frozen before {self.kind} {self.nth}"

    def prepare(self):
        from hankelboard.trainer.compression import recorder

        fcntl.flock = no_locks
        recorder.EXPECT_S = dict.fromkeys(recorder.EXPECT_S, 0.05)
        recorder.BEAT_S = 0.01
        getattr(self, f"_{self.kind}")()

    def _at(self, owner, name, concerns):
        """Freeze at the nth call of a function that concerns this kind."""
        real, seen = getattr(owner, name), 0

        def freezing(*arguments, **more):
            nonlocal seen
            seen += concerns(*arguments)
            if concerns(*arguments) and seen == self.nth:
                os.kill(os.getpid(), signal.SIGSTOP)
            return real(*arguments, **more)

        setattr(owner, name, freezing)

    def _journal(self, key):
        from hankelboard.storage.journal import Journal

        self._at(Journal, "_write", lambda journal, line: key in line)

    def _event(self):
        self._journal(b'"kind":')

    def _metrics(self):
        self._journal(b'"lr":')

    def _spectrum(self):
        self._journal(b'"hsv":')

    def _healing(self):
        """Between the opening of a journal, which may be that of a later attempt by now, and its healing."""
        from hankelboard.storage import journal

        self._at(journal, "_drop_torn_tail", lambda descriptor: True)

    def _claimed(self):
        """Before anything but the claim: the journals are opened only when it wakes."""
        from hankelboard.trainer.training import loop

        self._at(loop.checkpoints, "remove_strays", lambda *more: True)

    def _taking_over(self):
        """Before its folder of journals gets its name: the attempt before was of a machine that is gone."""
        from hankelboard.storage import atomic

        self._at(opening, "rename", lambda path, to: to.parent.name == "attempts")
        status.GRACE_S = attempts.BEGINS_WITHIN_S = 0.1
        self.paths.attempts.mkdir()
        atomic.create(self.paths.attempt(0), {"attempt": 0, "host": "gone"})

    def _status(self):
        self._at(status.atomic, "replace", lambda path, *more: path.name == "status.json")

    def _proposal(self):
        self._at(status.atomic, "create", lambda path, *more: path.parent.name == "proposals")

    def _decision(self):
        self._at(status.atomic, "create", lambda path, *more: path.parent.name == "decisions")

    def _checkpoint(self):
        self._at(opening, "rename", lambda path, to: to.parent.name == "checkpoints" and to.name[0] == "b")

    def _pruning(self):
        self._at(checkpoints, "remove", lambda *more: True)

    def _systems(self):
        self._at(status.atomic, "create_bytes", lambda path, *more: path.parent.name == "systems")


KINDS = (
    ("event", 1), ("event", 3), ("event", 9), ("metrics", 1), ("metrics", 3), ("spectrum", 2), ("healing", 1),
    ("healing", 3), ("taking_over", 1), ("claimed", 1), ("status", 1), ("status", 9), ("proposal", 1),
    ("proposal", 2), ("decision", 1), ("decision", 2), ("checkpoint", 1), ("checkpoint", 3), ("pruning", 1),
    ("systems", 1), ("systems", 3),
)  # fmt: skip


@contextmanager
def frozen(paths, freezes):
    """A child that is frozen there; it wakes at the end of the block and ends by itself, in good order."""
    child = _context.Process(target=_train, args=(paths, freezes))
    child.start()
    try:
        until(lambda: _state(child.pid) in "TX")
        assert _state(child.pid) == "T", f"{freezes!r}: it never came there"
        yield
        os.kill(child.pid, signal.SIGCONT)
        child.join(PATIENCE_S)
        assert child.exitcode == 0, freezes
    finally:
        if child.is_alive():
            child.kill()
            child.join(PATIENCE_S)


def _state(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0].replace("Z", "X")
    except OSError:
        return "X"


def on_another_machine(monkeypatch):
    """This process is on a machine of its own, with a file system that has no locks."""
    monkeypatch.setattr(fcntl, "flock", no_locks)
    monkeypatch.setattr(socket, "gethostname", lambda: "another-machine")
    monkeypatch.setattr(status, "GRACE_S", 0.1)
    monkeypatch.setattr(attempts, "BEGINS_WITHIN_S", 0.1)
    monkeypatch.setattr(attempts, "POLL_S", 0.02)


def wake_after_another(run, kind, nth, monkeypatch):
    """Freeze there, train to the end elsewhere, wake: readers see the same before and after."""
    freezes = Freezes(kind, nth, run.paths)
    with frozen(run.paths, freezes):
        on_another_machine(monkeypatch)
        assert run.train() == "finished"
        before = truth(run)
        assert before["state"][:2] == ("finished", STEPS) and not before["damage"]
        assert before["path"][-1][0] == STEPS
    assert truth(run) == before, freezes
    monkeypatch.undo()


def truth(run):
    """What readers know of a run."""
    summary = summarise(run.paths)
    history = run.history
    return {
        "state": (summary.state, summary.step, summary.state_dims, summary.best, summary.test),
        "events": read_journal(run.paths.events)[0],
        "proposals": {number: outcome.state for number, outcome in history.proposals.items()},
        "path": run.live_path(history),
        "checkpoints": [
            str(name)
            for name in checkpoints.checkpoint_names(run.paths)
            if history.on_path(vars(name))
        ],
        "damage": [finding for finding in verify_run(run.paths) if finding.damage],
    }  # fmt: skip
