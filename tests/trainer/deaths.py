"""Train in a process of its own and die there by SIGKILL at a chosen line."""

import contextlib
import io
import multiprocessing
import os
import signal

_context = multiprocessing.get_context("forkserver")
# Imported once, before the fork: what every training would import for some seconds.
_context.set_forkserver_preload(["trainer.train", "sklearn.datasets", "torch._dynamo"])


def train_until(paths, dies):
    """Train in a child that `dies(kill)` has prepared for its death; returns its exit code."""
    child = _context.Process(target=_train, args=(paths, dies))
    child.start()
    child.join(60)
    return child.exitcode


def _train(paths, dies):
    from trainer.train import train_run

    dies.prepare()
    with contextlib.redirect_stdout(io.StringIO()):
        train_run(paths, keep_log=False)


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


class NotAtAll:
    """The child ends by itself."""

    def prepare(self):
        pass


class AtEvent:
    """Before, halfway through, or after writing the nth event of a kind."""

    def __init__(self, kind, *, nth=1, when="after"):
        self.kind, self.nth, self.when = kind, nth, when

    def __repr__(self):
        return f"{self.when} {self.kind} {self.nth}"

    def prepare(self):
        from storage.journal import Journal

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
        from storage import atomic

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
        from trainer import train

        update = train.optimizer_step

        def fatal(session):
            if session.state.step >= self.step:
                kill()
            return update(session)

        train.optimizer_step = fatal
