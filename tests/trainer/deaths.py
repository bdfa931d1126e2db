"""Train in a process of its own and die there by SIGKILL at a chosen line."""

import contextlib
import io
import multiprocessing
import multiprocessing.util
import os
import signal
import time

from tests.waiting import PATIENCE_S

_context = multiprocessing.get_context("forkserver")
# Imported once, before the fork: what every training would import for some seconds.
_context.set_forkserver_preload(["hankelboard.trainer.training.loop", "torch._dynamo"])


def train_until(paths, dies):
    """Train in a child that `dies(kill)` has prepared for its death; returns its exit code."""
    child = _context.Process(target=_train, args=(paths, dies))
    child.start()
    child.join(PATIENCE_S)
    if child.is_alive():
        child.kill()
        raise AssertionError(f"{dies!r}: the training does not end")
    return child.exitcode


def _train(paths, dies):
    from hankelboard.trainer.training.loop import train_run

    dies.prepare()
    with contextlib.redirect_stdout(io.StringIO()):
        train_run(paths, keep_log=False)


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


class NotAtAll:
    """The child ends by itself."""

    def __repr__(self):
        return "not at all"

    def prepare(self):
        pass


class AtEvent:
    """Before, halfway through, or after writing the nth event of a kind."""

    def __init__(self, kind, *, nth=1, when="after"):
        self.kind, self.nth, self.when = kind, nth, when

    def __repr__(self):
        return f"{self.when} {self.kind} {self.nth}"

    def prepare(self):
        from hankelboard.storage.journal import Journal

        write, seen = Journal._write, 0

        def fatal(journal, line):
            nonlocal seen
            seen += f'"kind":"{self.kind}"'.encode() in line.replace(b" ", b"")
            if seen < self.nth:
                return write(journal, line)
            if self.when == "after":
                write(journal, line)
            elif self.when == "halfway":
                os.pwrite(journal._descriptor, line[: len(line) // 2], journal._size)
            return kill()

        Journal._write = fatal


class InCheckpoint:
    """While the nth checkpoint is being built: after its payload, or after its manifest but before its
    publication."""

    def __init__(self, nth, *, when):
        self.nth, self.when = nth, when

    def __repr__(self):
        return f"checkpoint {self.nth} {self.when}"

    def prepare(self):
        from hankelboard.storage import atomic

        create, seen = atomic.create, 0

        def fatal(path, record):
            nonlocal seen
            if path.name != "manifest.json":
                return create(path, record)
            seen += 1
            if seen == self.nth and self.when == "without manifest":
                kill()
            create(path, record)
            if seen == self.nth:
                kill()
            return None

        atomic.create = fatal


class AtStep:
    """In the middle of training, after this many updates."""

    def __init__(self, step):
        self.step = step

    def __repr__(self):
        return f"step {self.step}"

    def prepare(self):
        from hankelboard.trainer.training import loop

        update = loop.optimizer_step

        def fatal(session):
            if session.run.state.step >= self.step:
                kill()
            return update(session)

        loop.optimizer_step = fatal


class AtCall:
    """Before or after the nth call that changes the disk: write, fsync, link, rename, truncate, unlink, …"""

    CALLS = ("pwrite", "fsync", "link", "rename", "replace", "ftruncate", "unlink", "mkdir", "rmdir")

    def __init__(self, nth, *, when):
        self.nth, self.when = nth, when

    def __repr__(self):
        return f"{self.when} call {self.nth}"

    def prepare(self):
        self.calls = 0
        count_time_in_looks()
        for name in self.CALLS:
            setattr(os, name, self._counted(getattr(os, name)))

    def _counted(self, call):
        def counted(*arguments, **more):
            self.calls += 1
            if self.calls == self.nth and self.when == "before":
                kill()
            try:
                return call(*arguments, **more)
            finally:  # also when it found a folder that it was to make
                if self.calls == self.nth and self.when == "after":
                    kill()

        return counted


def count_time_in_looks():
    """Let each look at the clock take a hundredth of a second, by the clock itself.

    What happens from time to time, such as writing a status, then happens at the same calls however quick the
    machine is.
    """
    seconds = 0.0

    def monotonic():
        nonlocal seconds
        seconds += 0.01
        return seconds

    from hankelboard.storage.journal import Journal

    time.monotonic = monotonic
    Journal.__init__.__kwdefaults__["clock"] = monotonic


class CountCalls(AtCall):
    """Does not die: writes how many such calls a whole training makes, and its seconds of processor, into a
    file."""

    def __init__(self, path):
        super().__init__(0, when="never")
        self.path = path

    def prepare(self):
        super().prepare()
        began = time.process_time()

        def write():
            self.path.write_text(f"{self.calls} {time.process_time() - began}")

        assert multiprocessing.util.Finalize(None, write, exitpriority=9)


class AfterSeconds:
    """At an instant that nobody chose, by the time that the processor works for the child: a machine that
    stalls does not move it."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __repr__(self):
        return f"after {self.seconds:.3f} s"

    def prepare(self):
        signal.signal(signal.SIGPROF, lambda *_: kill())
        signal.setitimer(signal.ITIMER_PROF, self.seconds)
