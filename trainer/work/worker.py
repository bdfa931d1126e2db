"""The worker: claims queued runs, one child process per run, and outlives a child that dies."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from types import FrameType

from hankelboard.access import tickets
from hankelboard.access.tickets import Standing, Ticket
from hankelboard.storage import workers
from hankelboard.storage.errors import RunError, RunHeld, Superseded
from hankelboard.storage.history import read_history
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.references import state_beside, waits_for
from hankelboard.storage.runs import is_held, list_runs, read_run
from hankelboard.storage.status import BeatWatch
from hankelboard.storage.vocabulary import CommandKind, RunState
from hankelboard.trainer.compression.clock import Clock
from hankelboard.trainer.compression.failure import give_up
from hankelboard.trainer.compression.inbox import unanswered
from hankelboard.trainer.compression.permission import CHILD_MARK
from hankelboard.trainer.compression.signals import heard
from hankelboard.trainer.compression.terminal import UTF8, say
from hankelboard.trainer.work import orphans

SCAN_S = 1.0
PATIENCE_S = 20.0
MAX_DEATHS = 3
KILL_PATIENCE_S = 5.0
LEFT_ALONE = 75
"""Exit code of a child that found nothing to do, or the run in another's hands: no death."""
JOBS_MARK = "HANKELBOARD_JOBS"
"""In the environment of a child: how many are trained at once."""


class Worker:
    """Watches a folder of runs. Either side may be killed: a child trains on without its worker, and a
    worker resumes what a dead child left, from its newest valid checkpoint."""

    def __init__(self, runs: Path, *, jobs: int = 1, device: str | None = None, clock: Clock = time):
        self._runs = runs
        self._jobs = jobs
        self._clock = clock
        self._device = device
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._settled: dict[str, tuple[int, int]] = {}
        self._deaths: Counter[str] = Counter()
        self._kills: dict[str, float] = {}
        self._looked_at: dict[str, int] = {}
        self._to_kill: dict[str, bool] = {}
        self._waits: set[str] = set()
        self._watches: defaultdict[str, BeatWatch] = defaultdict(BeatWatch)
        self._unadopted: dict[str, tuple[object, ...]] = {}
        self._complaints: set[str] = set()
        self._beat = 0
        self._ending = False
        self._judging = False

    def work(self, *, once: bool = False) -> None:
        """Work until a signal comes; with `once` until nothing is left to do."""
        for number in heard():
            signal.signal(number, self._on_signal)
        self._runs.mkdir(parents=True, exist_ok=True)
        say(f"worker {os.getpid()} watches {self._runs} ({self._jobs} at once)")
        try:
            while not self._ending:
                self._reap()
                self._kill_what_does_not_listen()
                waiting = self._start_what_waits()
                self._announce()
                if once and not self._children and not waiting:
                    return
                self._clock.sleep(SCAN_S / 4 if once else SCAN_S)
        finally:
            self._end_children()
            workers.withdraw(self._runs)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._ending = True

    def _announce(self) -> None:
        self._beat += 1
        try:
            workers.announce(self._runs, self._beat, sorted(self._children), 5 * SCAN_S)
        except OSError as error:
            say(f"worker heartbeat not written: {error}", sys.stderr)

    def _start_what_waits(self) -> bool:
        """Start children while there is room; returns whether runs are left that wait for that.

        Or for a judgement: whether the beat of a trainer elsewhere, of which nothing else is known, goes on.
        """
        self._judging = False
        for paths in reversed(list_runs(self._runs)):
            if paths.run_id in self._children or not self._wants_child(paths):
                continue
            if len(self._children) >= self._jobs:
                return True
            self._start(paths)
        return self._judging

    def _wants_child(self, paths: RunPaths) -> bool:
        mark = _mark(paths)
        if self._settled.get(paths.run_id) == mark or self._is_unadopted_still(paths, mark):
            return False
        try:
            run, history = read_run(paths), read_history(paths)
        except (RunError, OSError) as error:
            self._settle(paths, mark, str(error))
            return False
        if run.copy_of:
            self._settle(paths, mark, f"it is a copy of {run.copy_of}; `hankelboard run` trains it on")
            return False
        asked = list(unanswered(paths, history))
        if orphans.needs_nothing(history, asked):
            self._settled[paths.run_id] = mark
            return False
        if self._is_held(paths):
            return False  # somebody trains it, and answers its commands
        if self._deaths[paths.run_id] >= MAX_DEATHS:
            self._give_up(paths)
            return False
        if orphans.wants_trainer(run, history, asked):
            if not self._has_ticket(paths, mark):
                return False
            waits = waits_for(run.config, state_beside(paths)) if history.state == RunState.QUEUED else ""
            self._say_what_waits(paths.run_id, waits)
            return not waits
        if asked:
            with contextlib.suppress(RunHeld, Superseded):  # then another one answers
                orphans.answer(paths, history, asked)
        return False

    def _is_held(self, paths: RunPaths) -> bool:
        watch = self._watches[paths.run_id]
        held = is_held(paths, watch)
        self._judging |= held and watch.beat is not None and not watch.advanced
        return held

    def _is_unadopted_still(self, paths: RunPaths, mark: tuple[int, int]) -> bool:
        known = self._unadopted.get(paths.run_id)
        return known is not None and known == (*mark, *tickets.mark(paths))

    def _has_ticket(self, paths: RunPaths, mark: tuple[int, int]) -> bool:
        """Return whether somebody of this account wants the run started; say once why it is left alone."""
        before = tickets.mark(paths)
        ticket = tickets.look(paths)
        if not ticket.is_valid:
            self._unadopted[paths.run_id] = (*mark, *before)
            self._complain(paths.run_id, ticket)
        return ticket.is_valid

    def _complain(self, run_id: str, ticket: Ticket) -> None:
        what = f"{run_id} is not adopted: {ticket.reason}. `hankelboard adopt {run_id}` lets workers start it"
        if ticket.standing == Standing.UNKNOWN:  # as of all others: said once
            what = f"no run is started while tickets cannot be read: {ticket.reason}"
        if what not in self._complaints:
            self._complaints.add(what)
            say(what)

    def _say_what_waits(self, run_id: str, waits: str) -> None:
        if waits and run_id not in self._waits:
            self._waits.add(run_id)
            say(f"{run_id} {waits}")

    def _kill_what_does_not_listen(self) -> None:
        """Kill a child that hangs and cannot obey `kill`, after some seconds."""
        now = self._clock.monotonic()
        for run_id, child in self._children.items():
            paths = RunPaths(self._runs / run_id)
            if not self._asked_to_kill(paths):
                self._kills.pop(run_id, None)
            elif now - self._kills.setdefault(run_id, now) > KILL_PATIENCE_S:
                say(f"{run_id} did not obey kill, process {child.pid} is killed")
                child.kill()

    def _asked_to_kill(self, paths: RunPaths) -> bool:
        mark = _mtime(paths.inbox)
        if self._kills.get(paths.run_id) or self._looked_at.get(paths.run_id) != mark:
            self._looked_at[paths.run_id] = mark
            asked = unanswered(paths, read_history(paths))
            self._to_kill[paths.run_id] = any(command.kind == CommandKind.KILL for command in asked)
        return self._to_kill[paths.run_id]

    def _settle(self, paths: RunPaths, mark: tuple[int, int], why: str) -> None:
        say(f"{paths.run_id} left alone: {why}")
        self._settled[paths.run_id] = mark

    def _give_up(self, paths: RunPaths) -> None:
        reason = f"{MAX_DEATHS} processes died before training began; log.txt says more"
        with contextlib.suppress(RunHeld, Superseded):  # then another one trains it
            give_up(paths, reason, lambda history: history.state == RunState.QUEUED)
        self._deaths[paths.run_id] = 0

    def _start(self, paths: RunPaths) -> None:
        command = [
            sys.executable,
            "-P",
            "-m",
            "hankelboard",
            "run",
            paths.run_id,
            "--runs-dir",
            str(self._runs),
        ]
        with paths.log.open("ab") as log:
            # A session of its own: Ctrl-C at the terminal reaches the worker, which asks the child to save.
            self._children[paths.run_id] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **UTF8, CHILD_MARK: "1", JOBS_MARK: str(self._jobs)},
            )  # fmt: skip
        say(f"{paths.run_id} started, process {self._children[paths.run_id].pid}")

    def _reap(self) -> None:
        for run_id, child in list(self._children.items()):
            code = child.poll()
            if code is None:
                continue
            del self._children[run_id]
            say(f"{run_id} ended with {code}")
            self._count_death(run_id, code)

    def _count_death(self, run_id: str, code: int) -> None:
        """Count deaths before any record; later ones are counted by the journal (attempts)."""
        history = read_history(RunPaths(self._runs / run_id))
        if code not in (0, LEFT_ALONE) and history.state == RunState.QUEUED:
            self._deaths[run_id] += 1

    def _end_children(self) -> None:
        """Ask the children to save and leave; they go on saving by themselves if the worker must go."""
        for child in self._children.values():
            child.terminate()
        deadline = self._clock.monotonic() + PATIENCE_S
        for run_id, child in self._children.items():
            try:
                child.wait(max(0.0, deadline - self._clock.monotonic()))
            except subprocess.TimeoutExpired:
                say(f"{run_id} is still saving (process {child.pid})")


def _mark(paths: RunPaths) -> tuple[int, int]:
    """Return what changes whenever something could be asked of an ended run: its journal and its inbox."""
    return _mtime(paths.events), _mtime(paths.inbox)


def _mtime(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
