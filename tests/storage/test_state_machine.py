"""A model trainer, deciders and senders in any order, with crashes at any byte: docs/FORMAT.md holds."""

import contextlib
import json
import os
import tempfile
from collections import Counter
from pathlib import Path
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hankelboard.storage import checkpoints, commands, proposals, runs
from hankelboard.storage.errors import AlreadyDecided, NotDecidable
from hankelboard.storage.history import History, fold, read_history
from hankelboard.storage.journal import JournalReader, read_journal
from hankelboard.storage.layout import run_paths
from hankelboard.storage.records import new_ulid
from hankelboard.storage.verification import verify_run
from tests.storage.model_trainer import Crash, CrashPlan, Trainer

ARROWS = {
    None: {"pending"},
    "pending": {"approved", "rejected", "refused", "expired", "superseded"},
    "approved": {"applied", "refused", "superseded"},
    "applied": {"rolled_back"},
}
ANSWERS = ("command_applied", "command_refused", "branch_started", "run_stopped")
GARBAGE = (b"", b"{", b"[]", b"\0" * 50, b'{"verdict":"maybe"}', b'{"verdict":"approve","ranks":[2]}')


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
