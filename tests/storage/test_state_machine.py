"""A model trainer, deciders and senders in any order, with crashes at any byte: docs/FORMAT.md holds.

The trainer here is the smallest that keeps to the format. What it believes about its weights (`lineage`:
which attempt on which branch trained each step) is the oracle for what readers make of its journals.
"""

import contextlib
import json
import os
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from storage import checkpoints, commands, proposals, runs
from storage.errors import AlreadyDecided, CheckpointError, NotDecidable
from storage.history import TIMEOUT, History, fold, read_history
from storage.journal import Journal, JournalReader, read_journal
from storage.layout import CheckpointName, RunPaths, run_paths
from storage.records import encode, new_ulid, now
from storage.verification import verify_run

ARROWS = {
    None: {"pending"},
    "pending": {"approved", "rejected", "refused", "expired", "superseded"},
    "approved": {"applied", "refused", "superseded"},
    "applied": {"rolled_back"},
}
ANSWERS = ("command_applied", "command_refused", "branch_started", "run_stopped")
GARBAGE = (b"", b"{", b"[]", b"\0" * 50, b'{"verdict":"maybe"}', b'{"verdict":"approve","ranks":[2]}')
LAYER = {
    "layer": 0, "name": "mixer", "state_dim": 4, "rank": 1, "hsv": [4.0, 3.0, 2.0, 1.0],
    "discarded_share": [1.0, 0.6, 0.3, 0.1, 0.0], "error_bound": [20.0, 12.0, 6.0, 2.0, 0.0],
    "realisable": [False, True, False, True, True], "parameters": [8, 16, 24, 32, 40],
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
        record = {"branch": branch, "attempt": self.attempt, "step": step, "attempt_step": step, "gate": 0.95,
                  "tolerance": 0.6, "ranks": [1], "parameters_elsewhere": 9, "layers": [LAYER]}  # fmt: skip
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


def essence(history: History) -> tuple:
    """A history without the times in its records, which their writer does not know."""
    proposals_now = {number: outcome.state for number, outcome in history.proposals.items()}
    return (proposals_now, history.commands, history.branches, history.branch, history.attempt, history.state)


class Storage(RuleBasedStateMachine):
    """The trainer above and the people around it; after each of their acts the format's promises hold."""

    @initialize()
    def create(self):
        self.stack = contextlib.ExitStack()
        self.stack.enter_context(mock.patch("os.fsync"))  # crashes of the machine are made by truncation here
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.paths = run_paths(folder, runs.create_run(folder, name="model", config={}).id)
        self.trainer: Trainer | None = None
        self.events = JournalReader(self.paths.events)
        self.folded = History()
        self.states: dict[int, str] = {}
        self.metrics = JournalReader(self.paths.metrics)
        self.recorded: list[dict] = []
        self.answers: Counter[str] = Counter()
        self.accepted: Counter[int] = Counter()
        self.created: dict[Path, bytes] = {}

    def teardown(self):
        if hasattr(self, "stack"):
            if self.trainer:
                self.die(1.0)
            self.stack.close()

    # The trainer.

    alive = precondition(lambda self: self.trainer is not None)
    dead = precondition(lambda self: self.trainer is None)

    def act(self, what):
        try:
            what()
        except Crash:
            self.die(1.0)
        else:
            if self.trainer.ended:
                self.trainer = None

    def die(self, kept: float):
        """What was buffered is gone, and of what was written but never synced only a share is kept."""
        trainer, self.trainer = self.trainer, None
        os.close(trainer.events._descriptor)
        os.close(trainer.metrics._descriptor)
        size = self.paths.metrics.stat().st_size
        before = min(size, trainer.metrics_before)
        os.truncate(self.paths.metrics, before + round(kept * (size - before)))

    @dead
    @rule(data=st.data(), smooth=st.sampled_from([True, True, True, False]))
    def start(self, data, smooth):
        plan = None if smooth else data.draw(st.builds(CrashPlan, st.integers(1, 3), st.floats(0, 1)))
        self.trainer = Trainer(self.paths)
        self.act(lambda: self.trainer.begin(plan))
        if self.trainer:
            self.trainer.plan = None

    @alive
    @rule(kept=st.sampled_from([1.0, 0.97, 0.5, 0.0]))
    def crash(self, kept):
        self.die(kept)

    @alive
    @rule(save=st.booleans(), steps=st.integers(0, 3))
    def train_save_train_and_crash(self, save, steps):
        """What happens most: rules drawn one by one come to it too seldom."""
        self.train(3, True)
        if self.trainer and save:
            self.checkpoint()
        if self.trainer:
            self.train(steps, True)
        if self.trainer:
            self.die(1.0)

    @alive
    @rule(plan=st.builds(CrashPlan, st.integers(1, 4), st.floats(0, 1) | st.just(1.0)))
    def plan_a_crash(self, plan):
        self.trainer.plan = plan

    @alive
    @rule(steps=st.integers(1, 6), flush=st.sampled_from([True, True, False]))
    def train(self, steps, flush):
        self.act(lambda: self.trainer.train(steps))
        if self.trainer and flush:
            self.trainer.metrics.flush()

    @alive
    @rule()
    def checkpoint(self):
        self.act(lambda: self.trainer.checkpoint("scheduled"))

    @alive
    @rule(verdict=st.sampled_from([None, "approve", "reject"]))
    def offer(self, verdict):
        """Offer a cut; now and then somebody decides at once."""
        self.act(self.trainer.offer)
        number = self.trainer and self.trainer.pending()
        if number and verdict and proposals.read_decision(self.paths, number) is None:
            proposals.decide(self.paths, number, verdict, by="ada", via="test")
            self.act(self.trainer.answer_decisions)

    @alive
    @rule()
    def answer_decisions(self):
        self.act(self.trainer.answer_decisions)

    @alive
    @rule()
    def run_out_of_time(self):
        self.act(self.trainer.run_out_of_time)

    @alive
    @rule()
    def obey(self):
        self.act(self.trainer.obey)

    @rule(newest=st.integers(1, 3))
    def damage_checkpoints(self, newest):
        for name in checkpoints.checkpoint_names(self.paths)[-newest:]:
            if name.step > 0:
                (self.paths.checkpoint(name) / "loop").write_bytes(b"")

    # People.

    @rule(data=st.data(), verdict=st.sampled_from(["approve", "reject"]), known=st.booleans(),
          ranks=st.sampled_from([None, [1], [3], [4], [2], [9], []]))  # fmt: skip
    def decide(self, data, verdict, known, ranks):
        number = data.draw(st.sampled_from([*proposals.proposal_numbers(self.paths), 77]))
        there = proposals.read_decision(self.paths, number)
        outcome = read_history(self.paths).proposals.get(number)
        history = self.folded if known else None
        possible = verdict == "reject" or ranks in (None, [1], [3], [4])
        try:
            decision = proposals.decide(
                self.paths, number, verdict, by="ada", via="test", ranks=ranks, history=history
            )
        except AlreadyDecided:
            assert there is not None
        except NotDecidable:
            assert there is None
            assert number == 77 or not possible or (outcome and outcome.state != "pending")
        else:
            assert there is None and possible and (outcome is None or outcome.state == "pending")
            assert proposals.read_decision(self.paths, number) == decision

    @rule(data=st.data(), content=st.sampled_from(GARBAGE))
    def decide_nonsense(self, data, content):
        number = data.draw(st.sampled_from([*proposals.proposal_numbers(self.paths), 77]))
        if number != 77:
            with contextlib.suppress(FileExistsError), self.paths.decision(number).open("xb") as file:
                file.write(content)

    @rule(kind=st.sampled_from(["pause", "resume", "checkpoint", "pause", "resume", "stop"]))
    def send(self, kind):
        commands.send_command(self.paths, kind, by="bob", via="test")

    @rule(data=st.data(), obey=st.booleans())
    def send_rollback(self, data, obey):
        names = checkpoints.checkpoint_names(self.paths)
        if names:
            name = data.draw(st.sampled_from(names))
            commands.send_command(self.paths, "rollback", by="bob", via="test", checkpoint=str(name))
        if self.trainer and obey:
            self.obey()
        if self.trainer and obey:
            self.train(2, True)

    @rule(content=st.sampled_from(GARBAGE))
    def send_nonsense(self, content):
        self.paths.command(new_ulid()).write_bytes(content)

    # What must hold after each of these.

    @invariant()
    def the_format_holds(self):
        self.read()
        self.incremental_and_whole_reads_agree()
        self.each_decided_proposal_has_its_one_decision()
        self.each_command_is_answered_at_most_once()
        self.each_step_on_a_path_is_of_one_attempt_on_one_branch()
        self.nothing_that_people_created_is_changed_or_gone()
        self.verification_sees_no_damage_but_that_of_checkpoints()

    def read(self):
        """Read on, as a viewer does, and look at each event as it comes."""
        for event in self.events.read_new():
            self.folded.apply(event)
            for number, outcome in self.folded.proposals.items():
                before = self.states.get(number)
                assert outcome.state == before or outcome.state in ARROWS.get(before, ()), (event, before)
                self.states[number] = outcome.state
            if event["kind"] in ANSWERS:
                self.answers[event["command_id"]] += 1
            if event["kind"] == "decision_accepted":
                self.accepted[event["proposal"]] += 1
        restarts = self.metrics.restarts
        new = self.metrics.read_new()
        self.recorded = new if self.metrics.restarts > restarts else self.recorded + new

    def incremental_and_whole_reads_agree(self):
        events, damaged = read_journal(self.paths.events)
        assert (self.events.damaged, self.events.restarts, damaged) == (0, 0, 0)
        whole = fold(events)
        assert self.folded == whole and whole.unknown == 0
        assert fold(json.loads(json.dumps(events))) == whole
        if self.trainer:
            assert essence(self.trainer.history) == essence(whole)
        assert (self.recorded, self.metrics.damaged) == read_journal(self.paths.metrics)

    def each_decided_proposal_has_its_one_decision(self):
        assert all(count == 1 for count in self.accepted.values()), self.accepted
        names = [path.name for path in self.paths.decisions.iterdir()]
        for number, outcome in self.folded.proposals.items():
            if outcome.decision is None:
                continue
            assert names.count(f"{number:06d}.json") == 1
            decision = proposals.read_decision(self.paths, number)
            assert decision.decision_id == outcome.decision["decision_id"]
            assert decision.verdict == outcome.decision["verdict"]

    def each_command_is_answered_at_most_once(self):
        assert all(count == 1 for count in self.answers.values()), self.answers

    def each_step_on_a_path_is_of_one_attempt_on_one_branch(self):
        for branch in self.folded.branches:
            steps = [r["step"] for r in self.recorded if self.folded.on_path(r, branch)]
            assert len(steps) == len(set(steps)), (branch, Counter(steps).most_common(3))
        if self.trainer:
            lineage = self.trainer.loop.lineage
            on_path = [r for r in self.recorded if self.folded.on_path(r)]
            own = [r for r in self.recorded if lineage.get(r["step"]) == (r["branch"], r["attempt"])]
            assert on_path == own

    def nothing_that_people_created_is_changed_or_gone(self):
        for folder in (self.paths.decisions, self.paths.inbox):
            for path in folder.iterdir():
                assert self.created.setdefault(path, path.read_bytes()) == path.read_bytes()
        assert all(path.exists() for path in self.created)

    def verification_sees_no_damage_but_that_of_checkpoints(self):
        damage = [finding for finding in verify_run(self.paths) if finding.damage]
        assert all(finding.where.startswith("checkpoints/") for finding in damage), damage


Storage.TestCase.settings = settings(
    max_examples=int(os.environ.get("HANKELBOARD_EXAMPLES", "60")), stateful_step_count=40, deadline=None,
    report_multiple_bugs=False, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)  # fmt: skip
TestStorage = Storage.TestCase


def test_a_branch_that_had_to_resume_from_before_its_beginning_trains_those_steps_itself():
    """The checkpoint a branch began from is damaged, so its next attempt resumes from an older one."""
    where = {"branch": 0, "attempt": 0}
    events = [
        {"kind": "attempt_started", "step": 0, **where, "state_dims": [4], "checkpoint": None},
        {"kind": "branch_started", "step": 40, "branch": 1, "attempt": 0, "parent": 0, "from_step": 40,
         "checkpoint": "b0-00000040-a0-0002", "command_id": "c", "policy": "ask", "state_dims": [4]},
        {"kind": "attempt_started", "step": 20, "branch": 1, "attempt": 1, "state_dims": [4], "policy": "ask",
         "checkpoint": "b0-00000020-a0-0001"},
    ]  # fmt: skip
    history = fold(events)
    assert history.on_path({"step": 20, **where})
    assert history.on_path({"step": 30, "branch": 1, "attempt": 1})
    assert not history.on_path({"step": 30, **where})
