"""The worker: claims queued runs, one child process per run, and outlives a child that dies.

Whatever goes wrong with one run is said once, and the others go on.
"""

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from hankelboard.access import tickets
from hankelboard.access.tickets import Ticket, Validity
from hankelboard.storage import workers
from hankelboard.storage.errors import RunError, RunHeld, Superseded
from hankelboard.storage.history import History, read_history
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.lifeline import CHILD_MARK
from hankelboard.storage.opening import irregularities, size_of
from hankelboard.storage.references import state_beside, waits_for
from hankelboard.storage.runs import is_held, list_runs, read_run
from hankelboard.storage.status import BeatWatch
from hankelboard.storage.vocabulary import ENDED, CommandKind, Fault, RunState
from hankelboard.trainer.compression.clock import Clock
from hankelboard.trainer.compression.failure import REVIVING, describe, give_up
from hankelboard.trainer.compression.inbox import unanswered
from hankelboard.trainer.compression.signals import heard
from hankelboard.trainer.compression.terminal import UTF8, say
from hankelboard.trainer.work import deaths, log_keeper, orphans

SCAN_S = 1.0
PATIENCE_S = 20.0
KILL_PATIENCE_S = 5.0
LEFT_ALONE = 75
"""Exit code of a child that found nothing to do, or the run in another's hands: no death where that is so.

Code of the user's own can end with it, too.
"""
JOBS_MARK = "HANKELBOARD_JOBS"
"""In the environment of a child: how many are trained at once."""
LOG_PATIENCE_S = 2.0
TROUBLE_REST_S = 60.0
"""How long a run is left alone that could not be looked after: each try may claim an attempt."""


@dataclass
class Child:
    """The process of a run, and the one that writes its log."""

    process: subprocess.Popen[bytes]
    keeper: subprocess.Popen[bytes]
    events_bytes: int
    """Size of the journal before it started: where it did not grow, the process said nothing."""


class Worker:
    """Watches a folder of runs. Either side may be killed: a child trains on without its worker, and a
    worker resumes what a dead child left, from its newest valid checkpoint."""

    def __init__(self, runs: Path, *, jobs: int = 1, clock: Clock = time):
        self._runs = runs
        self._jobs = jobs
        self._clock = clock
        self._children: dict[str, Child] = {}
        self._keepers: list[subprocess.Popen[bytes]] = []
        self._settled: dict[str, tuple[int, int, int]] = {}
        self._deaths: Counter[str] = Counter()
        self._due: dict[str, float] = {}
        self._kills: dict[str, float] = {}
        self._looked_at: dict[str, int] = {}
        self._to_kill: dict[str, bool] = {}
        self._waits: set[str] = set()
        self._watches: defaultdict[str, BeatWatch] = defaultdict(BeatWatch)
        self._troubles: dict[str, str] = {}
        self._unadopted: dict[str, tuple[object, ...]] = {}
        self._rests: dict[str, float] = {}
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
            self._let_keepers_end()
            workers.withdraw(self._runs)

    @contextlib.contextmanager
    def _contained(self, run_id: str) -> Iterator[None]:
        """Say what goes wrong with one run, once, here and on its page."""
        try:
            yield
        except Exception as error:  # whatever it is, other runs are not to suffer
            trouble = describe(error)
            if self._troubles.get(run_id) != trouble:
                say(f"{run_id} cannot be looked after: {trouble}")
            self._troubles[run_id] = trouble
        else:
            self._troubles.pop(run_id, None)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._ending = True

    def _announce(self) -> None:
        self._beat += 1
        try:
            workers.announce(self._runs, self._beat, sorted(self._children), 5 * SCAN_S, self._troubles)
        except OSError as error:
            say(f"worker heartbeat not written: {error}", sys.stderr)

    def _start_what_waits(self) -> bool:
        """Start children while there is room; returns whether runs are left that wait for room or rest.

        Or for a judgement: whether the beat of a trainer elsewhere, of which nothing else is known, goes on.
        """
        waiting = self._judging = False
        for paths in reversed(self._list()):
            if paths.run_id in self._children or self._rests_from_trouble(paths.run_id):
                continue
            with self._contained(paths.run_id), self._resting_after_trouble(paths.run_id):
                if not self._wants_child(paths):
                    continue
                if self._clock.monotonic() < self._due.get(paths.run_id, 0.0):
                    waiting = True
                elif len(self._children) >= self._jobs:
                    return True
                else:
                    self._start(paths)
        return waiting or self._judging

    def _rests_from_trouble(self, run_id: str) -> bool:
        return self._clock.monotonic() < self._rests.get(run_id, -math.inf)

    @contextlib.contextmanager
    def _resting_after_trouble(self, run_id: str) -> Iterator[None]:
        try:
            yield
        except Exception:
            self._rests[run_id] = self._clock.monotonic() + TROUBLE_REST_S
            raise

    def _list(self) -> list[RunPaths]:
        try:
            return list_runs(self._runs)
        except OSError as error:  # a file server that does not answer now: the next round
            say(f"{self._runs} cannot be listed: {error.strerror or error}", sys.stderr)
            return []

    def _wants_child(self, paths: RunPaths) -> bool:
        mark = _mark(paths)
        if self._settled.get(paths.run_id) == mark or self._is_unadopted_still(paths, mark):
            return False
        try:
            run, history, oddities = read_run(paths), read_history(paths), irregularities(paths)
        except (RunError, OSError) as error:
            self._settle(paths, mark, str(error))
            return False
        if oddities:
            self._settle(paths, mark, "; ".join(oddities))
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
        if orphans.wants_trainer(run, history, asked):
            if not self._has_ticket(paths, mark):
                return False
            if max(history.deaths, self._deaths[paths.run_id]) >= deaths.MAX_DEATHS:
                self._give_up(paths, history)
                return False
            if {command.kind for command in asked} & REVIVING:
                self._due.pop(paths.run_id, None)  # a person does not want to wait
            waits = waits_for(run.config, state_beside(paths)) if history.state == RunState.QUEUED else ""
            self._say_what_waits(paths.run_id, waits)
            return not waits
        if asked:
            with contextlib.suppress(RunHeld, Superseded):  # then another one answers
                orphans.answer(paths, history, asked, self._watches[paths.run_id])
        return False

    def _is_held(self, paths: RunPaths) -> bool:
        watch = self._watches[paths.run_id]
        held = is_held(paths, watch)
        self._judging |= held and watch.beat is not None and not watch.advanced
        return held

    def _is_unadopted_still(self, paths: RunPaths, mark: tuple[int, int, int]) -> bool:
        known = self._unadopted.get(paths.run_id)
        return known is not None and known == (*mark, *tickets.mark(paths))

    def _has_ticket(self, paths: RunPaths, mark: tuple[int, int, int]) -> bool:
        """Return whether somebody of this account wants the run started; say once why it is left alone."""
        before = tickets.mark(paths)
        ticket = tickets.look(paths)
        if not ticket.is_valid:
            self._unadopted[paths.run_id] = (*mark, *before)
            self._complain(paths.run_id, ticket)
        return ticket.is_valid

    def _complain(self, run_id: str, ticket: Ticket) -> None:
        what = f"{run_id} is not adopted: {ticket.reason}. `hankelboard adopt {run_id}` lets workers start it"
        if ticket.validity == Validity.UNKNOWN:  # as of all others: said once
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
            with self._contained(run_id):
                if not self._asked_to_kill(RunPaths(self._runs / run_id)):
                    self._kills.pop(run_id, None)
                elif now - self._kills.setdefault(run_id, now) > KILL_PATIENCE_S:
                    say(f"{run_id} did not obey kill, process {child.process.pid} is killed")
                    child.process.kill()

    def _asked_to_kill(self, paths: RunPaths) -> bool:
        mark = _mtime(paths.inbox)
        if self._kills.get(paths.run_id) or self._looked_at.get(paths.run_id) != mark:
            self._looked_at[paths.run_id] = mark
            asked = unanswered(paths, read_history(paths))
            self._to_kill[paths.run_id] = any(command.kind == CommandKind.KILL for command in asked)
        return self._to_kill[paths.run_id]

    def _settle(self, paths: RunPaths, mark: tuple[int, int, int], why: str) -> None:
        say(f"{paths.run_id} left alone: {why}")
        self._settled[paths.run_id] = mark

    def _give_up(self, paths: RunPaths, history: History) -> None:
        how = f": {history.reason}" if history.deaths else ""
        reason = f"{deaths.MAX_DEATHS} processes in a row died and came no further{how}; log.txt says more"
        with contextlib.suppress(RunHeld, Superseded):  # then another one trains it
            give_up(paths, reason, lambda now: now.state == history.state, self._watches[paths.run_id])
        self._deaths[paths.run_id] = 0

    def _command(self, run_id: str) -> list[str]:
        hankelboard = [sys.executable, "-P", "-m", "hankelboard"]
        return [*hankelboard, "run", run_id, "--runs-dir", str(self._runs)]

    def _start(self, paths: RunPaths) -> None:
        events_bytes = size_of(paths.events)
        keeper = log_keeper.start(paths.log)
        self._keepers.append(keeper)
        assert keeper.stdin is not None
        with keeper.stdin:
            # A session of its own: Ctrl-C at the terminal reaches the worker, which asks the child to save.
            process = subprocess.Popen(
                self._command(paths.run_id), stdin=subprocess.DEVNULL, stdout=keeper.stdin,
                stderr=keeper.stdin, start_new_session=True,
                env={**os.environ, **UTF8, CHILD_MARK: "1", JOBS_MARK: str(self._jobs)},
            )  # fmt: skip
        self._children[paths.run_id] = Child(process, keeper, events_bytes)
        say(f"{paths.run_id} started, process {process.pid}")

    def _reap(self) -> None:
        self._keepers = [keeper for keeper in self._keepers if keeper.poll() is None]
        for run_id, child in list(self._children.items()):
            code = child.process.poll()
            if code is None:
                continue
            del self._children[run_id]
            killed = self._kills.pop(run_id, None) is not None
            say(f"{run_id} ended with {code}")
            with self._contained(run_id):
                paths = RunPaths(self._runs / run_id)
                if not killed and not (code == LEFT_ALONE and self._is_held(paths)):
                    self._note_end(paths, child, deaths.death_of(code))

    def _note_end(self, paths: RunPaths, child: Child, death: deaths.Death) -> None:
        """Note a process that died: that recorded no end, and left a run that wants a trainer as before."""
        run, history = read_run(paths), read_history(paths)
        ended = history.state in ENDED
        if ended and size_of(paths.events) != child.events_bytes:
            self._deaths[paths.run_id] = 0
        elif orphans.wants_trainer(run, history, list(unanswered(paths, history))):
            if ended and history.state != RunState.INTERRUPTED:  # its journal says how it ended: that stays
                self._deaths[paths.run_id] += death.fault == Fault.OWN
            else:
                self._record(paths, death)

    def _record(self, paths: RunPaths, death: deaths.Death) -> None:
        try:
            history = deaths.record(paths, death, self._watches[paths.run_id])
        except (RunHeld, Superseded):
            return  # another process trains it, so this one could not
        except (OSError, RunError):
            self._deaths[paths.run_id] += death.fault == Fault.OWN  # where its journal cannot be written
            raise
        say(f"{paths.run_id}: {history.reason}")
        if death.fault == Fault.OUTSIDE:
            self._due[paths.run_id] = self._clock.monotonic() + deaths.rest_s(history.kills)

    def _end_children(self) -> None:
        """Ask the children to save and leave; they go on saving by themselves if the worker must go."""
        for child in self._children.values():
            child.process.terminate()
        deadline = self._clock.monotonic() + PATIENCE_S
        for run_id, child in self._children.items():
            try:
                child.process.wait(max(0.0, deadline - self._clock.monotonic()))
            except subprocess.TimeoutExpired:
                say(f"{run_id} is still saving (process {child.process.pid})")

    def _let_keepers_end(self) -> None:
        """Wait until the logs are written; not for what a child started and left behind."""
        deadline = self._clock.monotonic() + LOG_PATIENCE_S
        for keeper in self._keepers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                keeper.wait(max(0.0, deadline - self._clock.monotonic()))


def _mark(paths: RunPaths) -> tuple[int, int, int]:
    """Return what changes whenever an ended run may be another: its directory, its journal and its inbox."""
    return _mtime(paths.root), _mtime(paths.events), _mtime(paths.inbox)


def _mtime(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
