"""Small real runs: an LRU of 12 states per layer on digits, 60 steps, well under a second each."""

import contextlib
import threading
import time

from hankelboard.access import tickets
from hankelboard.settings.config import parse
from hankelboard.settings.preset import find_preset
from hankelboard.settings.toml import merge
from hankelboard.storage import checkpoints, commands, proposals
from hankelboard.storage.errors import CommandRefused
from hankelboard.storage.history import read_history
from hankelboard.storage.journal import events_reader, metrics_reader, read_journal, spectra_reader
from hankelboard.storage.layout import run_paths
from hankelboard.storage.runs import create_run
from hankelboard.storage.status import read_status
from hankelboard.trainer.training import loop
from tests.waiting import PATIENCE_S, until

SMALL = {
    "model": {"width": 8, "state_dim": 12},
    "training": {
        "steps": 60, "batch": 16, "threads": 1, "log_every": 5, "evaluate_every": 10, "spectra_every": 20,
        "checkpoint_every": 15,
    },
    "reduction": {
        "policy": "auto", "steps": [20, 40], "tolerance": 0.2, "evidence_samples": 64, "grid": [0.5, 1.0],
    },
    "output": {"tensorboard": False},
}  # fmt: skip
ADA = {"by": "ada", "by_role": "account"}
"""Who accepts what changed."""
ENDLESS = 1_000_000
"""Steps of a run that is ended by the test: no machine is so quick that it ends by itself before."""


PACE = 20.0


class QuickClock:
    """A clock by which a trainer waits in a test: PACE of its seconds pass in one."""

    @staticmethod
    def monotonic():
        return PACE * time.monotonic()

    @staticmethod
    def sleep(seconds):
        time.sleep(seconds / PACE)


class SmallRun:
    """A run directory with a small configuration, and what a test asks of it."""

    clock = QuickClock()
    """By which its trainer waits."""

    def __init__(self, folder, **keys):
        config = parse(merge(merge(find_preset("digits-lru").tables, SMALL), keys))
        self.paths = run_paths(folder, create_run(folder, name="small", config=config.as_dict()).id)
        tickets.issue(self.paths)  # as `hankelboard new` does: a worker may start it

    @classmethod
    def at(cls, paths):
        """A run that is there already."""
        run = cls.__new__(cls)
        run.paths = paths
        return run

    def train(self, **options):
        outcome = loop.train_run(self.paths, keep_log=False, clock=self.clock, **options)
        assert self.damage() == "", "a trainer writes nothing that no reader takes"
        return outcome

    def damage(self):
        """What does not fit in the journals, in words."""
        readers = [read(self.paths) for read in (events_reader, metrics_reader, spectra_reader)]
        return "; ".join(reader.described for reader in readers if reader.read_new() and reader.damaged)

    @property
    def history(self):
        return read_history(self.paths)

    @property
    def status(self):
        """The latest status; step 0 before there is one."""
        nothing = {"step": 0, "state": "queued", "trouble": None, "beat": 0, "attempt": -1}
        return {**nothing, **(read_status(self.paths) or {})}

    def events(self, *kinds):
        return [event for event in read_journal(self.paths.events)[0] if event["kind"] in kinds]

    def live_path(self, history=None):
        """(step, training loss, validation loss, state dimensions) on the live path."""
        history = history or self.history
        return sorted(
            (
                r["step"],
                r.get("train/loss", -1.0),
                r.get("val/loss", -1.0),
                r["state_dim/0"],
                r["state_dim/1"],
            )
            for r in read_journal(self.paths.metrics)[0]
            if history.on_path(r)
        )

    def checkpoints(self, cause=None):
        return [c for c in checkpoints.list_checkpoints(self.paths)[0] if cause in (None, c.cause)]

    def final_weights(self):
        return checkpoints.list_checkpoints(self.paths)[0][-1].files["model.safetensors"]["sha256"]

    # What a person does.

    def send(self, kind, **arguments):
        return commands.send_command(self.paths, kind, by="ada", via="test", **arguments)

    def decide(self, number, verdict, **arguments):
        return proposals.decide(self.paths, number, verdict, by="ada", via="test", **arguments)

    def wait(self, what):
        """Until what(history) holds; returns the history."""
        held = []

        def holds():
            held[:] = [self.history]
            return what(held[0])

        until(holds, every_s=0.01)
        return held[0]

    def wait_beats(self, count=2):
        """Until the trainer said so many times more that it lives: what it does by itself, it has done."""
        first = self.status["beat"]
        self.wait(lambda history: self.status["beat"] >= first + count)

    def wait_pending(self, number):
        return self.wait(lambda history: (p := history.pending()) and p.number == number)

    def wait_answer(self, command_id):
        """The trainer's answer to a command."""
        done = ("applied", "refused")
        history = self.wait(lambda h: command_id in h.commands and h.commands[command_id].state in done)
        return history.commands[command_id]

    @contextlib.contextmanager
    def training(self):
        """Train in the background; at the end of the block the run is asked to stop when it goes on."""
        outcome = []
        thread = threading.Thread(target=lambda: outcome.append(self.train()))
        thread.start()
        try:
            yield outcome
        except BaseException:
            with contextlib.suppress(CommandRefused):  # it ended by itself
                self.send("stop")
            raise
        finally:
            thread.join(PATIENCE_S)
        assert outcome, "the trainer is still at work"


def at_steps(monkeypatch, actions):
    """Call actions[step]() in the trainer, right after so many updates."""
    update, left = loop.optimizer_step, dict(actions)

    def acting(session):
        loss = update(session)
        left.pop(session.run.state.step, lambda: None)()
        return loss

    monkeypatch.setattr(loop, "optimizer_step", acting)
