"""The smallest trainer that keeps to docs/FORMAT.md, and dies when it is told to.

What it believes about its weights (`lineage`: which attempt on which branch trained each step) is the oracle
for what readers make of its journals.
"""

import contextlib
import json
from dataclasses import dataclass, field

from hankelboard.storage import checkpoints, commands, proposals
from hankelboard.storage.errors import AlreadyDecided, CheckpointError, NotDecidable
from hankelboard.storage.history import TIMEOUT, read_history
from hankelboard.storage.journal import Journal
from hankelboard.storage.layout import CheckpointName, RunPaths
from hankelboard.storage.records import encode, now

LAYER = {
    "layer": 0, "name": "mixer", "state_dim": 4, "importance": "hsv", "rank": 1, "gated": False,
    "hsv": [4.0, 3.0, 2.0, 1.0], "condition": [None] * 5, "realised_modes": [0, 1, 2, 3, 4],
    "discarded_share": [1.0, 0.6, 0.3, 0.1, 0.0], "error_bound": [20.0, 12.0, 6.0, 2.0, 0.0],
    "realisable": [False, True, False, True, True], "parameters": [8, 16, 24, 32, 40],
}  # fmt: skip
PROPOSAL = {
    "branch": 0, "attempt": 0, "step": 0, "gate": 0.95, "tolerance": 0.6, "ranks": [1],
    "parameters_elsewhere": 100, "layers": [LAYER],
    "measured": {"split": "val", "samples": 9, "before": {"loss": 1.0, "accuracy": 0.6},
                 "points": [{"tolerance": 0.6, "ranks": [1], "rule": True, "loss": 1.1, "accuracy": 0.5}]},
}  # fmt: skip


class Crash(Exception):
    """The process or the machine dies here."""


@dataclass
class CrashPlan:
    """Die at the n-th event from now, with this share of its line written; 1.0: written, but not acted on."""

    events: int
    written: float


@dataclass
class Loop:
    """What a checkpoint brings back."""

    step: int = 0
    branch: int = 0
    reductions: list[int] = field(default_factory=list)
    lineage: dict[int, tuple[int, int]] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps({**vars(self), "lineage": sorted(self.lineage.items())})

    @classmethod
    def from_json(cls, text: str) -> "Loop":
        facts = json.loads(text)
        return cls(**{**facts, "lineage": {step: tuple(who) for step, who in facts["lineage"]}})


class Trainer:
    """One attempt. Whatever it does may raise Crash; then only the files are left."""

    def __init__(self, paths: RunPaths):
        self.paths = paths
        self.plan: CrashPlan | None = None
        self.ended = False
        self.events = Journal(paths.events)
        self.metrics = Journal(paths.metrics, buffer_s=1.0, clock=lambda: 0.0)
        self.metrics_before = paths.metrics.stat().st_size
        self.history = read_history(paths)
        self.attempt = self.history.attempt + 1
        checkpoints.remove_strays(paths)

    def begin(self, plan: CrashPlan | None) -> None:
        self.plan = plan
        found = self._restore_newest()
        self.event("attempt_started", state_dims=[4], policy="ask", checkpoint=found and str(found))
        if found is None:
            self._record()
            self.checkpoint("start")

    def _restore_newest(self) -> CheckpointName | None:
        path, live = self.history.segments(), self.history.branches[self.history.branch]
        origin = CheckpointName.parse(live.checkpoint or "")
        names = [
            name
            for name in checkpoints.checkpoint_names(self.paths)
            if name.branch in path and (path[name.branch] is None or name.step <= path[name.branch])
        ]
        self.loop = Loop()
        names.sort(key=lambda name: (name.branch == live.number, name == origin, name.sequence))
        for name in reversed(names):
            with contextlib.suppress(CheckpointError):
                self.restore(name)
                self.loop.branch = live.number
                return name
        return None

    def restore(self, name: CheckpointName) -> None:
        for problem in checkpoints.problems(self.paths, name):
            raise CheckpointError(problem)
        self.loop = Loop.from_json((self.paths.checkpoint(name) / "loop").read_text())

    def event(self, kind: str, **fields: object) -> None:
        record = {"kind": kind, "step": self.loop.step, "branch": self.loop.branch, "attempt": self.attempt}
        record.update(fields)
        if self.plan is not None:
            self.plan.events -= 1
            if self.plan.events <= 0:
                self._die_writing(record)
        self.events.append(record, durable=True)
        self.history.apply(record)

    def _die_writing(self, record: dict) -> None:
        line = encode({"t": now(), **record}).encode() + b"\n"
        with self.paths.events.open("ab") as file:
            file.write(line[: round(self.plan.written * len(line))])
        raise Crash

    def _record(self) -> None:
        self.metrics.append({"step": self.loop.step, "branch": self.loop.branch, "attempt": self.attempt})
        self.loop.lineage[self.loop.step] = (self.loop.branch, self.attempt)

    def train(self, steps: int) -> None:
        for _ in range(steps):
            self.loop.step += 1
            self._record()
            for outcome in list(self.history.proposals.values()):  # a replay after a crash
                if (
                    outcome.state == "applied"
                    and outcome.branch == self.loop.branch
                    and outcome.number not in self.loop.reductions
                    and outcome.decision["apply_at_step"] <= self.loop.step
                ):
                    self._apply(outcome.number)

    def checkpoint(self, cause: str, *, pinned: bool = False) -> None:
        last = max((name.sequence for name in checkpoints.checkpoint_names(self.paths)), default=0)
        name = CheckpointName(
            sequence=last + 1, branch=self.loop.branch, step=self.loop.step, attempt=self.attempt
        )
        text = self.loop.to_json()
        checkpoints.publish(
            self.paths, name, lambda folder: (folder / "loop").write_text(text), cause=cause, pinned=pinned,
            state_dims=[4], metrics={}, reductions=self.loop.reductions,
        )  # fmt: skip
        self.event("checkpoint_published", checkpoint=str(name), cause=cause, pinned=pinned)

    def offer(self) -> None:
        branch, step = self.loop.branch, self.loop.step
        for outcome in self.history.proposals.values():
            if (outcome.branch, outcome.attempt_step) == (branch, step):
                return  # a replay comes by here again
        for outcome in list(self.history.proposals.values()):
            if outcome.branch == branch and outcome.state == "approved":
                return
            if outcome.branch == branch and outcome.state == "pending":
                self.event("proposal_superseded", proposal=outcome.number, reason="a newer one")
        number = max(proposals.proposal_numbers(self.paths), default=0) + 1
        place = {"branch": branch, "attempt": self.attempt, "step": step, "attempt_step": step}
        record = {**PROPOSAL, **place}
        proposals.publish_proposal(self.paths, number, record)
        self.event("proposal_published", proposal=number, attempt_step=step, state_dims=[4], ranks=[1])

    def pending(self) -> int | None:
        outcome = self.history.pending()
        return outcome.number if outcome else None

    def run_out_of_time(self) -> None:
        number = self.pending()
        if number is not None:
            with contextlib.suppress(AlreadyDecided):
                proposals.decide(
                    self.paths, number, "reject", by=TIMEOUT, via="trainer", history=self.history
                )
            self.answer_decisions()

    def answer_decisions(self) -> None:
        for outcome in list(self.history.proposals.values()):
            if outcome.branch != self.loop.branch:
                continue
            if outcome.state == "pending":
                self._accept(outcome.number)
            if outcome.state == "approved" and outcome.decision["apply_at_step"] <= self.loop.step:
                self.checkpoint("before_reduction", pinned=True)
                self._apply(outcome.number)

    def _accept(self, number: int) -> None:
        decision = proposals.read_decision(self.paths, number)
        if decision is None:
            return
        about = {"proposal": number, "decision_id": decision.decision_id}
        try:
            if not decision.verdict:
                raise NotDecidable("the file is no decision")
            proposal = proposals.read_proposal(self.paths, number)
            ranks = proposals.check_ranks(proposal, decision.ranks or proposal["ranks"])
        except NotDecidable as error:
            self.event("decision_refused", **about, reason=str(error))
            return
        self.event(
            "decision_accepted", **about, verdict=decision.verdict, ranks=ranks, by=decision.by,
            apply_at_step=self.loop.step,
        )  # fmt: skip

    def _apply(self, number: int) -> None:
        self.loop.reductions.append(number)
        self.event("reduction_applied", proposal=number, **{"from": [4], "to": [4]})

    def obey(self) -> None:
        for command_id in commands.command_ids(self.paths):
            known = self.history.commands.get(command_id)
            if not self.ended and (known is None or known.state == "accepted"):
                self._carry_out(command_id)

    def _carry_out(self, command_id: str) -> None:
        command = commands.read_command(self.paths, command_id)
        if command is None:
            self.event("command_refused", command_id=command_id, reason="the file is no command")
            return
        if command_id not in self.history.commands:
            self.event("command_accepted", command_id=command_id)
        if command.kind == "stop":
            self.event("run_stopped", command_id=command_id, reason="asked for")
            self.events.close()
            self.metrics.close()
            self.ended = True
        elif command.kind == "rollback":
            self._roll_back(command)
        else:
            if command.kind == "pause" and not self.history.paused:
                self.event("paused", command_id=command_id)
            if command.kind == "resume" and self.history.paused:
                self.event("resumed", command_id=command_id)
            if command.kind == "checkpoint":
                self.checkpoint("command", pinned=True)
            self.event("command_applied", command_id=command_id)

    def _roll_back(self, command: commands.Command) -> None:
        name, left = CheckpointName.parse(command.checkpoint), self.loop.reductions
        try:
            self.restore(name)
        except CheckpointError as error:
            self.event("command_refused", command_id=command.id, reason=str(error))
            return
        self.loop.branch = max(self.history.branches) + 1
        self.event(
            "branch_started", parent=name.branch, from_step=name.step, checkpoint=str(name), policy="ask",
            command_id=command.id, attempts_consumed=0, state_dims=[4],
            undone=[number for number in left if number not in self.loop.reductions],
        )  # fmt: skip
        self.checkpoint("branch")
