"""Runs as a trainer would write them, without one: through storage, seeded, in milliseconds.

As a program it fills a folder with a showcase and, with --live, keeps appending to one run:
    python tests/app/synthetic_run.py RUNS --live 60
"""

import argparse
import math
import random
import time
from pathlib import Path

from hankelboard.access import tickets
from hankelboard.storage import checkpoints, proposals, runs, workers
from hankelboard.storage.journal import Journal
from hankelboard.storage.layout import CheckpointName, RunPaths, run_paths
from hankelboard.storage.records import now
from hankelboard.storage.spectrum import discarded_shares, tail_sums
from hankelboard.storage.status import process_identity, write_status

CONFIG = {
    "model": {"family": "lru", "layers": 2, "width": 32, "state_dim": 64},
    "data": {"task": "digits"},
    "training": {"steps": 2000, "batch": 64, "learning_rate": 0.004, "seed": 0},
    "reduction": {"policy": "ask", "tolerance": 0.05, "attempts": 4, "window": 0.1, "gate": 0.95},
    "output": {"tensorboard": True},
}


class SyntheticRun:
    """Plays the trainer of one run. Every method leaves the files as the trainer would."""

    def __init__(self, folder, name="Digits, cut while it trains", *, steps=2000, state_dim=64, layers=2,
                 role="compressed", group="demo", seed=0, queued=True, task="digits", family="lru",
                 importance="hsv"):  # fmt: skip
        config = {**CONFIG, "training": {**CONFIG["training"], "steps": steps, "seed": seed},
                  "data": {"task": task}, "model": {**CONFIG["model"], "family": family}}  # fmt: skip
        run = runs.create_run(folder, name=name, config=config, preset="digits-lru", group=group, role=role,
                              seed=seed, queued=queued, by="ada")  # fmt: skip
        self.paths: RunPaths = run_paths(folder, run.id)
        tickets.issue(self.paths)  # as `hankelboard new` does
        self.id = run.id
        self.text, self.importance = task == "text", importance
        self.total = steps
        self.step, self.branch, self.attempt = 0, 0, 0
        self.dims = [state_dim] * layers
        self.beat, self.sequence, self.best = 0, 0, None
        self.pending = None
        self.reductions = []
        self.train_s, self.waiting_s = 0.0, 0.0
        self.random = random.Random(seed + 17)
        self.dent = 0.0

    # Journals.

    def event(self, kind, **fields):
        with Journal(self.paths.events) as journal:
            journal.append({"kind": kind, **self.where(), **fields})

    def where(self):
        return {"step": self.step, "branch": self.branch, "attempt": self.attempt}

    def start(self):
        self.event("attempt_started", checkpoint=None, state_dims=self.dims, policy="ask", device="cpu")
        self.event("run_started")
        self.checkpoint("start", pinned=True)
        self.spectra("scheduled")
        self.status("running")
        return self

    def scores(self, step=None):
        """Validation loss and accuracy that fall and rise as one hopes, with noise."""
        step = self.step if step is None else step
        loss = 0.12 + 2.2 * math.exp(-step / 260) + self.dent + self.random.gauss(0, 0.01)
        scores = {"loss": max(loss, 0.01), "accuracy": min(0.995, 1 - 0.32 * max(loss, 0.01))}
        return scores | ({"bits_per_character": scores["loss"] / math.log(2)} if self.text else {})

    def train(self, to, every=10, evaluate_every=100):
        """Metrics up to a step; spectra and evaluations on schedule."""
        with Journal(self.paths.metrics) as journal:
            while self.step < to:
                self.step = min(to, self.step + every)
                self.train_s += 0.012 * every
                self.dent *= 0.9
                journal.append(self.metrics(self.step % evaluate_every == 0 or self.step == self.total))
        if self.step % 100 == 0:
            self.spectra("scheduled")
        self.status("running")
        return self

    def metrics(self, evaluated):
        progress = self.step / self.total
        record = {
            **self.where(),
            "elapsed_s": round(self.train_s * 1.2, 3),
            "train_s": round(self.train_s, 3),
            "train/loss": 0.08 + 2.25 * math.exp(-self.step / 230) + self.dent + self.random.gauss(0, 0.05),
            "lr": 0.004 * 0.5 * (1 + math.cos(math.pi * progress)),
            "steps_per_s": 82 + self.random.gauss(0, 3) - 0.2 * sum(self.dims),
            "memory_mb": 410 + 12 * progress,
            **{f"state_dim/{layer}": dim for layer, dim in enumerate(self.dims)},
        }
        if evaluated:
            scores = self.scores()
            record |= {f"val/{name}": value for name, value in scores.items()}
            if self.best is None or scores["accuracy"] > self.best["value"]:
                self.best = {"metric": "val/accuracy", "value": scores["accuracy"], "step": self.step}
                self.best |= {key: value for key, value in scores.items() if key == "bits_per_character"}
        return record

    def hsv(self, layer, state_dim):
        rate = 7.0 + 2.5 * layer
        values = [3.0 * math.exp(-i / rate) * (1 + 0.06 * math.sin(i)) + 1e-6 for i in range(state_dim)]
        return [float(f"{value:.6g}") for value in sorted(values, reverse=True)]

    def spectra(self, snapshot):
        seen = "hsv" if self.importance == "output_energy" else self.importance
        with Journal(self.paths.spectra) as journal:
            for layer, state_dim in enumerate(self.dims):
                journal.append({**self.where(), "layer": layer, "state_dim": state_dim, "importance": seen,
                                "hsv": self.hsv(layer, state_dim), "snapshot": snapshot})  # fmt: skip

    def status(self, state, phase="training", **fields):
        self.beat += 1
        left = (self.total - self.step) / 80
        write_status(self.paths, {
            **process_identity(), **self.where(), "beat": self.beat, "expect_next_s": 5, "state": state,
            "phase": phase, "total_steps": self.total, "state_dims": self.dims, "steps_per_s": 80.4,
            "eta_s": left, "train_s": round(self.train_s, 2), "waiting_s": round(self.waiting_s, 2),
            "pending_proposal": self.pending, "best": self.best, "trouble": None, **fields,
        })  # fmt: skip

    def checkpoint(self, cause, *, pinned=False):
        self.sequence += 1
        name = CheckpointName(
            sequence=self.sequence, branch=self.branch, step=self.step, attempt=self.attempt
        )

        def write(folder):
            (folder / "model.safetensors").write_bytes(bytes(self.random.randbytes(4096)))
            (folder / "loop.json").write_text("{}")

        scores = self.scores()
        checkpoints.publish(self.paths, name, write, cause=cause, pinned=pinned, state_dims=list(self.dims),
                            metrics={"val/loss": scores["loss"], "val/accuracy": scores["accuracy"]},
                            reductions=list(self.reductions))  # fmt: skip
        self.event("checkpoint_published", checkpoint=str(name), cause=cause, pinned=pinned)
        return str(name)

    # Proposals.

    def evidence(self, tolerance=0.05, gate=0.95):
        layers = []
        for number, state_dim in enumerate(self.dims):
            hsv = self.hsv(number, state_dim)
            realisable = [rank != 0 and rank % 9 != 4 for rank in range(state_dim)] + [True]
            layers.append({
                "layer": number, "name": f"blocks.{number}.mixer", "state_dim": state_dim, "hsv": hsv,
                "discarded_share": discarded_shares(hsv),
                "error_bound": [2.0 * tail for tail in tail_sums(hsv)] if self.importance == "hsv" else None,
                "realisable": realisable, "condition": [1.0 + 0.3 * r for r in range(state_dim + 1)],
                "realised_modes": list(range(state_dim + 1)),
                "parameters": [130 * r for r in range(state_dim + 1)], "importance": self.importance,
                "output_error": self.output_error(state_dim, realisable),
            })  # fmt: skip
        record = {**self.where(), "attempt_step": self.step,
                  "policy": "ask", "waiting": "pause", "tolerance": tolerance, "gate": gate,
                  "importance": self.importance, "parameters_elsewhere": 8200, "layers": layers}  # fmt: skip
        record["ranks"] = proposals.ranks_at(record, tolerance)
        for layer, rank in zip(layers, record["ranks"], strict=True):
            layer |= {"rank": rank, "gated": rank == layer["state_dim"]}
        return record

    def output_error(self, state_dim, realisable):
        """Measured at the first of every six ranks that can be chosen."""
        ranks = [rank for rank in range(1, state_dim) if realisable[rank]][::6]
        return {"split": "calibration, held out", "sequences": 16, "relative_to": "y - D*u", "ranks": ranks,
                "errors": [math.exp(-rank / 9.0) for rank in ranks]}  # fmt: skip

    def propose(self, **changes):
        number = max(proposals.proposal_numbers(self.paths), default=0) + 1
        record = {**self.evidence(), **changes}
        before = self.scores()
        points = []
        for factor in (0.25, 0.5, 1.0, 2.0, 4.0):
            ranks = proposals.ranks_at(record, record["tolerance"] * factor)
            lost = 0.02 * factor**1.5
            points.append({"tolerance": record["tolerance"] * factor, "ranks": ranks,
                           "rule": ranks == record["ranks"], "loss": before["loss"] + lost,
                           "accuracy": before["accuracy"] - 0.3 * lost})  # fmt: skip
        parameters = 8200 + sum(130 * n for n in self.dims)
        record |= {
            "measured": {"split": "val", "samples": 270, "seconds": 1.2, "before": before, "points": points},
            "cost": {"seconds_per_step": {"now": 0.0124, "after": 0.0081},
                     "parameters": {"now": parameters, "after": 8200 + sum(130 * r for r in record["ranks"])},
                     "projected_saving_s": 0.0043 * (self.total - self.step)},
        }  # fmt: skip
        self.spectra("proposal")
        proposals.publish_proposal(self.paths, number, record)
        self.event("proposal_published", proposal=number, attempt_step=self.step, state_dims=list(self.dims),
                   ranks=record["ranks"], tolerance=record["tolerance"])  # fmt: skip
        self.event("waiting_started", proposal=number)
        self.pending = number
        self.status("waiting_for_decision")
        return number

    def decide(self, number, verdict="approve", by="ada", reason="the tail is flat", ranks=None):
        proposals.decide(self.paths, number, verdict, by=by, via="test", reason=reason, ranks=ranks)

    def answer(self, number):
        """What the trainer does when it sees the decision file."""
        decision = proposals.read_decision(self.paths, number)
        record = proposals.read_proposal(self.paths, number)
        ranks = decision.ranks or record["ranks"]
        self.event("decision_accepted", proposal=number, decision_id=decision.decision_id,
                   verdict=decision.verdict, ranks=ranks, by=decision.by, via=decision.via,
                   reason=decision.reason, apply_at_step=self.step)  # fmt: skip
        self.event("waiting_ended", proposal=number)
        self.pending = None
        self.waiting_s += 41.0
        if decision.verdict == "approve":
            self.apply(number, record, ranks)
        self.status("running")

    def apply(self, number, record, ranks):
        pinned = self.checkpoint("before_reduction", pinned=True)
        before, old = self.scores(), list(self.dims)
        self.dent, self.dims = 0.09, list(ranks)
        point = proposals.what_if(record, ranks)
        predicted = point["measured"]
        self.reductions.append(number)
        self.event("reduction_applied", proposal=number, **{"from": old, "to": list(ranks)},
                   discarded_share=point["discarded_share"], before=before, after=self.scores(),
                   predicted=predicted and {key: predicted[key] for key in ("loss", "accuracy")},
                   write_back_error=1e-12, checkpoint=pinned,
                   seconds_per_step={"now": 0.03, "after": 0.02}, train_s=round(self.train_s, 3))  # fmt: skip
        self.checkpoint("after_reduction", pinned=True)
        self.spectra("after_reduction")

    def roll_back(self, checkpoint, dims, by="ada", policy="ask", undone=()):
        name = CheckpointName.parse(checkpoint)
        parent = name.branch
        self.step, self.dims, self.dent, self.pending = name.step, list(dims), 0.0, None
        self.best = None
        self.reductions = [number for number in self.reductions if number not in undone]
        self.branch = max(self.branch, parent) + 1
        self.event("branch_started", parent=parent, from_step=name.step, checkpoint=checkpoint,
                   command_id="01JD0000000000000000000000", policy=policy, state_dims=list(dims), by=by,
                   undone=list(undone))  # fmt: skip
        self.checkpoint("branch")
        self.status("running")

    def finish(self):
        self.checkpoint("finish", pinned=True)
        self.event("run_finished", best=self.best, test=self.scores(), train_s=self.train_s)
        self.status("finished")
        return self

    def answer_commands(self, state="applied"):
        """Accept and answer every new command in the inbox, effects left out."""
        from hankelboard.storage import commands
        from hankelboard.storage.history import read_history

        known = read_history(self.paths).commands
        for command_id in commands.command_ids(self.paths):
            if command_id not in known:
                command = commands.read_command(self.paths, command_id)
                who = {"command_id": command_id, "command": command.kind, "by": command.by}
                self.event("command_accepted", **who)
                self.event(f"command_{state}", **who)


def with_history(folder, name="Digits, cut while it trains", **options):
    """A run with a cut, a rollback, a second branch and a proposal that waits."""
    run = SyntheticRun(folder, name, **options).start()
    run.train(200)
    number = run.propose()
    run.decide(number)
    run.answer(number)
    pinned = next(str(c) for c in checkpoints.checkpoint_names(run.paths) if c.step == 200)
    full = [64] * len(run.dims)
    run.train(600)
    run.event("paused", by="ada")
    run.event("resumed", by="ada")
    run.checkpoint("scheduled")
    run.train(900)
    run.roll_back(pinned, full, undone=[number])
    run.train(420)
    run.propose()
    return run


def showcase(folder):
    """One run of every kind that a page must cope with."""
    baseline = SyntheticRun(folder, "Digits, full size", role="baseline", seed=3).start()
    for step in range(100, 2001, 100):
        baseline.train(step)
    baseline.finish()
    scratch = SyntheticRun(folder, "Digits, small from scratch", role="scratch", state_dim=24, seed=5).start()
    scratch.train(1200)
    scratch.event("run_failed", reason="RuntimeError: out of memory")
    scratch.status("failed")
    gone = SyntheticRun(folder, "On a machine that died", seed=6, group="").start()
    gone.train(500)
    gone.status("running", pid=2**22 + 1)
    broken = SyntheticRun(folder, "Half copied", seed=7, group="").start()
    broken.paths.run_json.unlink()
    torn = SyntheticRun(folder, "<b>Torn</b> **lines** :red[x]", seed=8, group="").start()
    torn.train(300)
    with torn.paths.metrics.open("ab") as file:
        file.write(
            b'{"step": 301, nonsense}\n{"step":310,"branch":0,"attempt":0,"train/loss":null}\n{"step": 3'
        )
    SyntheticRun(folder, "Waits in the queue", seed=9)
    return with_history(folder)


def keep_going(living, seconds, interval=0.5):
    """Append like trainers and a worker: records twice a second, decisions and commands answered."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for run in living:
            live_on(run, interval)
        workers.announce(living[0].paths.root.parent, living[0].beat, [run.id for run in living], 5.0)
        time.sleep(interval)


def live_on(run, seconds):
    """One breath of a living run."""
    run.answer_commands()
    if run.pending is not None:
        run.waiting_s += seconds
        run.status("waiting_for_decision")
        if proposals.read_decision(run.paths, run.pending):
            run.answer(run.pending)
    elif run.step < run.total:
        run.train(run.step + 10)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", type=Path)
    parser.add_argument("--live", type=float, default=0.0, metavar="S")
    options = parser.parse_args()
    waiting = showcase(options.runs)
    live = SyntheticRun(options.runs, "Live now", seed=21, steps=20_000).start()
    live.train(300)
    print(f"{now()} {waiting.id} waits, {live.id} lives", flush=True)
    keep_going([waiting, live], options.live)
