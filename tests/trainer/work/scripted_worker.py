"""A worker whose children run scripts instead of training, and whose clock a test sets forward."""

import sys

from hankelboard.trainer.work.worker import Worker

BEGIN = """
import json, os, signal, sys
from hankelboard.storage.journal import Journal
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.runs import RunLock
from pathlib import Path
paths = RunPaths(Path(sys.argv[1]))
where = {"step": 0, "branch": 0}
def say(kind, **fields):
    with Journal(paths.events) as journal:
        journal.append({"kind": kind, **where, **fields}, durable=True)
def start():
    global lock
    lock = RunLock(paths)
    where["attempt"] = lock.fence.number
    say("attempt_started", state_dims=[4], policy="ask", checkpoint="x")
"""


class Scripted(Worker):
    """Its children run a script each; its clock goes as quickly as somebody sets it forward."""

    def __init__(self, runs, script, **scripts):
        super().__init__(runs, jobs=9, clock=self)
        self.scripts = scripts
        self.script = script
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds

    def _command(self, run_id):
        script = self.scripts.get(run_id.split("-")[2], self.script)
        return [sys.executable, "-c", BEGIN + script, str(self._runs / run_id)]

    def round(self):
        """One look at everything, as `work` does; then all children that were started have ended."""
        self._reap()
        waits = self._start_what_waits()
        for child in self._children.values():
            child.process.wait()
        self._reap()
        for keeper in self._keepers:
            keeper.wait()
        return waits
