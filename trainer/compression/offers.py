"""The life of a proposal on the trainer's side: offered, decided, applied or refused.

`advance` is called at every step boundary. What it does follows from the loop state, the journal and the
decision file alone, so that a replay after a crash does the same again.
"""

import copy
import time
from collections.abc import Sequence
from math import inf

from torch import nn

from hankelboard.settings.config import ReductionConfig
from hankelboard.storage import proposals
from hankelboard.storage.atomic import is_unfinished
from hankelboard.storage.commands import Command
from hankelboard.storage.errors import AlreadyDecided, ProposalError
from hankelboard.storage.figures import percent
from hankelboard.storage.history import ProposalOutcome
from hankelboard.storage.proposals import Decision, check_ranks
from hankelboard.storage.schema import (
    Point,
    Proposal,
    ProposalFields,
    Scores,
    SecondsPerStep,
    StateDimsBefore,
)
from hankelboard.storage.vocabulary import (
    Cause,
    EventKind,
    Phase,
    Policy,
    ProposalState,
    SnapshotCause,
    Verdict,
    Waiting,
)
from hankelboard.trainer.compression import evidence
from hankelboard.trainer.compression.deadline import Deadline
from hankelboard.trainer.compression.measurement import CUTS_BY_ITSELF, Measurements, evidence_of
from hankelboard.trainer.compression.monitor import Monitor
from hankelboard.trainer.compression.opportunities import (
    least_distance,
    opportunity_due,
    opportunity_steps,
)
from hankelboard.trainer.compression.run import Run
from hankelboard.trainer.compression.timing import seconds_per_step, timed_already
from hankelboard.trainer.compression.trials import Trials
from hankelboard.trainer.compression.what_if import cut
from hankelboard.trainer.compression.workload import Followed, Workload
from hankelboard.trainer.reduction.reducible import RankTable

DECIDES_ITSELF: dict[str, tuple[Verdict, str]] = {
    Policy.AUTO: (Verdict.APPROVE, "within the tolerance {0.tolerance:g}"),
    Policy.KEEP: (Verdict.REJECT, "measures only"),
    Policy.PRAGMATIC: (Verdict.APPROVE, "cuts {share} of the states on trial"),
}
"""Policies that need no person, with their verdict and its reason."""
RETRY_S = 5.0
UNFINISHED_S = 10.0
"""How long an empty file may still become a decision; then it is none (storage/atomic.py: create)."""


class Offers:
    """Proposes cuts at the opportunities of a run, and carries out what is decided."""

    def __init__(
        self,
        run: Run,
        monitor: Monitor,
        workload: Workload,
        config: ReductionConfig,
        followed: Followed | None = None,
    ):
        """Take as `followed` the run whose cuts are repeated: `reduction.ranks_as`."""
        self._run, self._monitor, self._workload = run, monitor, workload
        self._config, self._followed = config, followed
        self._waiting = False
        self._counted = 0.0
        """Until when time was counted as spent on cuts."""
        self._retry_at = -inf
        self._trouble: str | None = None
        """Why something was put off; until it is done, or over."""
        self._swallowed = ""
        """Why there was no proposal at an opportunity, until that is in the journal."""
        self._there = max(proposals.proposal_numbers(run.paths), default=0)
        """The highest number when this attempt began."""
        self._unfinished: dict[int, float] = {}
        """Decisions whose file was empty when first looked at, and when that was."""
        self.opportunities = opportunity_steps(
            run.steps, count=config.attempts, window=config.window, explicit=config.steps
        )
        self._trials = Trials(run, monitor, config, self.opportunities)
        self._deadline = Deadline(run, config)
        self._measurements = Measurements(run, monitor, workload, config, self.opportunities, followed)

    @property
    def _at_end(self) -> bool:
        return self._run.state.step >= self._run.steps

    @property
    def holds_training(self) -> bool:
        """Whether training must wait for a person: there is a proposal, no verdict, and waiting = pause.

        At the last step there is nothing left to train on: what has not expired there is waited for.
        """
        outcome = self._pending()
        if outcome is None or outcome.decision is not None:
            return False
        return self._run.state.waiting == Waiting.PAUSE or self._at_end

    def advance(self) -> None:
        """Judge a cut on trial, propose one at an opportunity, act on the verdict.

        What a full disk prevents is tried again later; training goes on meanwhile.
        """
        if self._run.clock.monotonic() < self._retry_at and not self._at_end:
            return
        self._retry_at, self._counted = -inf, time.perf_counter()
        try:
            self._advance()
        except OSError as error:
            self._try_later(f"proposal or decision not written: {error.strerror or error}")
        finally:
            self._note_cost()
        if self._retry_at == -inf and self._trouble is not None:
            self._forget_trouble()

    def _forget_trouble(self) -> None:
        """Say no more that something waits for room: it is done, or over."""
        if self._run.recorder.trouble == self._trouble:
            self._run.recorder.trouble = None
        self._trouble = None

    def _try_later(self, trouble: str) -> None:
        self._run.recorder.trouble = self._trouble = trouble
        self._retry_at = self._run.clock.monotonic() + RETRY_S

    def _advance(self) -> None:
        if self._trials.judge(at_end=self._at_end):
            return
        if self._run.state.pending_proposal is None and not self._trials.running:
            self._offer_when_due()
        outcome = self._pending()
        if outcome is not None:
            if outcome.decision is None and self._run.state.policy not in DECIDES_ITSELF:
                self._deadline.tick(outcome, at_end=self._at_end)
            self._answer(outcome)
        else:
            self._deadline.suspend()
        self._note_waiting()

    def _note_cost(self) -> None:
        """Count what this boundary has taken so far as spent on cuts: checkpoints are to know it."""
        now = time.perf_counter()
        self._run.state.cutting_s += now - self._counted
        self._counted = now

    def measure(self, command: Command) -> str | None:
        """Carry the command `measure` out; why not, when that is not possible."""
        return self._measurements.on_demand(command)

    def hold(self) -> None:
        """Do nothing, instead of `advance`, while a person paused the run: no deadline passes meanwhile."""
        self._deadline.suspend()

    def _pending(self) -> ProposalOutcome | None:
        number = self._run.state.pending_proposal
        return None if number is None else self._run.history.proposals[number]

    def _note_waiting(self) -> None:
        if self.holds_training != self._waiting:
            self._waiting = self.holds_training
            kind = EventKind.WAITING_STARTED if self._waiting else EventKind.WAITING_ENDED
            self._run.event(kind, proposal=self._run.state.pending_proposal)

    # Offering.

    def _offer_when_due(self) -> None:
        state = self._run.state
        due = opportunity_due(self.opportunities, consumed=state.attempts_consumed, step=state.step)
        if due is None or (self._at_end and due != state.step):
            if self._at_end:
                self._record_swallowed(state.step)
            return  # what was not proposed in time is not made up for after training
        if self._followed is not None and self._measurements.followed_ranks(due) is None:
            state.attempts_consumed = due  # the run whose cuts are followed was not cut here
            return
        self._record_swallowed(due)
        state.attempts_consumed, state.pending_s = due, 0.0
        earlier = self._replayed(due)
        if earlier is None and (why := self._too_close(due)):
            reason = f"no proposal: {'; '.join(filter(None, [self._swallowed, why]))}"
            self._run.event(EventKind.REDUCTION_REFUSED, attempt_step=due, reason=reason)
            self._swallowed = ""
        elif earlier is None or earlier.offered_again:
            self._offer(due)
        elif earlier.state in (ProposalState.PENDING, ProposalState.APPROVED, ProposalState.APPLIED):
            state.pending_proposal = earlier.number  # a replay: the same proposal, the same verdict

    def _record_swallowed(self, end: int) -> None:
        """Record the opportunities before `end` at which a full disk prevented a proposal."""
        state, why = self._run.state, self._swallowed
        for step in self.opportunities if why else ():
            if state.attempts_consumed < step < end:
                self._run.event(EventKind.REDUCTION_REFUSED, attempt_step=step, reason=f"no proposal: {why}")
                state.attempts_consumed, self._swallowed = step, ""

    def _too_close(self, opportunity: int) -> str:
        """Return why a policy makes no cut here: another one is less than half a distance away.

        Only what a full disk or a long wait delayed comes so close to its neighbours.
        """
        step, least = self._run.state.step, least_distance(self.opportunities) / 2
        if self._run.state.policy not in CUTS_BY_ITSELF:
            return ""
        following = next((later for later in self.opportunities if later > opportunity), None)
        if following is not None and opportunity < step and following - step < least:
            return f"{step - opportunity} steps late, and step {following} is the next opportunity"
        last = self._last_cut()
        if last is not None and step - last < least:
            return f"the last cut was made late, at step {last}"
        return ""

    def _last_cut(self) -> int | None:
        """Return the step of the latest cut that is in the weights."""
        for number in reversed(self._run.state.reductions):
            applied = self._run.history.proposals[number].applied
            return applied["step"] if applied else None
        return None

    def _replayed(self, opportunity: int) -> ProposalOutcome | None:
        """Return the latest proposal at this opportunity on this branch: a replay comes by here again."""
        branch = self._run.state.branch
        for outcome in reversed(self._run.history.proposals.values()):
            if (outcome.branch, outcome.attempt_step) == (branch, opportunity):
                return outcome
        return None

    def _offer(self, opportunity: int) -> None:
        """Publish a proposal. When it cannot be written the opportunity stays, but at the end of training."""
        try:
            self._publish(opportunity)
        except OSError as error:
            self._run.state.attempts_consumed = opportunity - 1
            self._swallowed = f"not written: {error.strerror or error}"
            if self._at_end:
                self._record_swallowed(opportunity + 1)
            raise

    def _publish(self, opportunity: int) -> None:
        run, state = self._run, self._run.state
        run.recorder.show_phase(Phase.MEASURING)
        self._monitor.record_spectra(SnapshotCause.PROPOSAL)
        number, record = self._unannounced(opportunity)
        if record is None:
            record = self._measurements.proposal(opportunity)
            if record is None:
                return
            number = self._publish_numbered(number, record)
        state.pending_proposal, state.pending_s = number, 0.0
        run.event(
            EventKind.PROPOSAL_PUBLISHED,
            proposal=number,
            attempt_step=opportunity,
            state_dims=run.state_dims,
            ranks=record["ranks"],
        )

    def _publish_numbered(self, number: int, record: ProposalFields) -> int:
        """Publish a proposal under the first number that is free, and return it."""
        while True:
            self._run.recorder.check()
            try:
                proposals.publish_proposal(self._run.paths, number, record)
            except FileExistsError:  # of an attempt that did not know yet that it was over
                number += 1
            else:
                return number

    def _unannounced(self, opportunity: int) -> tuple[int, ProposalFields | None]:
        """Return the number of the next proposal, and its record if a death came between file and event.

        What an attempt before this one publishes later is of weights that were left: it is passed over.
        """
        run = self._run
        number = max(proposals.proposal_numbers(run.paths), default=0)
        record = proposals.read_proposal(run.paths, number) if number else None
        late = number > self._there and record is not None and record.get("attempt") != run.recorder.attempt
        if record is None or late or number in run.history.proposals:
            return number + 1, None
        key = (record.get("branch"), record.get("attempt_step"), record.get("step"))
        if key != (run.state.branch, opportunity, run.state.step):
            return number + 1, None
        return number, record

    # Answering.

    def _answer(self, outcome: ProposalOutcome) -> None:
        if outcome.decision is None:
            decision = self._find_decision(outcome.number)
            if decision is None:
                return
            self._accept(outcome, decision)
        if outcome.decision is None:
            return  # refused: another proposal stands in its place
        if outcome.decision["verdict"] == Verdict.REJECT:
            self._run.state.pending_proposal = None
        elif self._run.state.step >= outcome.decision["apply_at_step"]:
            self._apply(outcome)

    def _find_decision(self, number: int) -> Decision | None:
        """Return the verdict on a proposal. Policies decide as people do, by writing a decision."""
        run = self._run
        policy = run.state.policy
        verdict, why = DECIDES_ITSELF.get(policy, (None, ""))
        if verdict is not None and proposals.read_decision(run.paths, number) is None:
            why = "ranks of {0.ranks_as}" if self._config.ranks_as and verdict == Verdict.APPROVE else why
            reason = f"policy {policy}: {why.format(self._config, share=percent(self._config.share, 0))}"
            run.recorder.check()
            try:
                return proposals.decide(
                    run.paths, number, verdict, by=f"policy:{policy}", via="trainer", reason=reason,
                    history=run.history,
                )  # fmt: skip
            except AlreadyDecided:
                pass  # a person was faster
        decision = proposals.read_decision(run.paths, number)
        return None if self._is_being_written(number) else decision

    def _is_being_written(self, number: int) -> bool:
        """Return whether the file of a decision is empty and has not been so for long."""
        if not is_unfinished(self._run.paths.decision(number)):
            return False
        now = self._run.clock.monotonic()
        return now - self._unfinished.setdefault(number, now) < UNFINISHED_S

    def _accept(self, outcome: ProposalOutcome, decision: Decision) -> None:
        run = self._run
        proposal = evidence_of(run.paths, outcome.number)
        try:
            if not decision.verdict:
                raise ProposalError("the decision file is no decision")
            ranks = check_ranks(proposal, proposal["ranks"] if decision.ranks is None else decision.ranks)
        except ProposalError as error:
            run.event(
                EventKind.DECISION_REFUSED,
                proposal=outcome.number,
                decision_id=decision.decision_id,
                reason=str(error),
                offered_again=True,
            )
            self._offer_again(outcome)
            return
        run.event(
            EventKind.DECISION_ACCEPTED,
            proposal=outcome.number,
            decision_id=decision.decision_id,
            verdict=decision.verdict,
            ranks=ranks,
            by=decision.by,
            by_role=decision.by_role,
            via=decision.via,
            reason=decision.reason,
            apply_at_step=run.state.step,
        )

    def _offer_again(self, outcome: ProposalOutcome) -> None:
        self._run.state.pending_proposal = None
        self._offer(outcome.attempt_step)

    # Applying.

    def _apply(self, outcome: ProposalOutcome) -> None:
        run, state = self._run, self._run.state
        proposal = evidence_of(run.paths, outcome.number)
        approved = outcome.decision.get("ranks") if outcome.decision else None
        ranks = list(approved or proposal["ranks"])
        if run.recorder.unwritten:
            return  # first what decided it must be on disk
        self._monitor.calibrate()
        stale = self._staleness(proposal, ranks)
        if stale:
            run.event(
                EventKind.REDUCTION_REFUSED,
                proposal=outcome.number,
                reason=f"stale: {stale}",
                offered_again=True,
            )
            self._offer_again(outcome)
            return
        before = self._monitor.measure()
        self._note_cost()
        pinned = run.save(Cause.BEFORE_REDUCTION, pinned=True)
        if pinned is None:
            self._without_checkpoint(outcome)
            return
        dims, timed = run.state_dims, timed_already(proposal, ranks)
        uncut = None if timed else copy.deepcopy(run.model)
        try:
            error = cut(run.model, run.optimizer, ranks, self._config.moments)
        except ValueError as problem:
            self._refuse(outcome, f"cannot be realised: {problem}")
            return
        run.reshaped()
        after = self._monitor.measure()
        state.reductions = [*state.reductions, outcome.number]
        state.pending_proposal = None
        point = proposals.what_if(proposal, ranks)
        predicted = point["measured"]
        before_cut: StateDimsBefore = {"from": dims}
        run.event(
            EventKind.REDUCTION_APPLIED,
            proposal=outcome.number,
            **before_cut,
            to=run.state_dims,
            discarded_share=point["discarded_share"],
            before=before,
            after=after,
            predicted=predicted and _scores(predicted),
            write_back_error=error,
            checkpoint=str(pinned.name),
            seconds_per_step=timed or self._timed_beside(uncut),
            train_s=round(state.train_s, 3),
        )
        if state.policy == Policy.PRAGMATIC:
            self._trials.begin(outcome.number, str(pinned.name), before)
        self._note_cost()
        run.save(Cause.AFTER_REDUCTION, pinned=True)
        self._monitor.record_spectra(SnapshotCause.AFTER_REDUCTION)
        self._monitor.record_systems()

    def _timed_beside(self, uncut: nn.Module | None) -> SecondsPerStep:
        """Return seconds per step before and after a cut to ranks that nobody measured."""
        models = [model for model in (uncut, copy.deepcopy(self._run.model)) if model is not None]
        now, after = seconds_per_step(models, self._workload)
        return {"now": now, "after": after}

    def _without_checkpoint(self, outcome: ProposalOutcome) -> None:
        """Cut nothing without a checkpoint to go back to: training goes on and it is tried again."""
        trouble = self._run.recorder.trouble or ""
        self._try_later(trouble)
        if self._at_end:
            self._refuse(outcome, f"no checkpoint to go back to could be written: {trouble}")

    def _refuse(self, outcome: ProposalOutcome, reason: str) -> None:
        self._run.state.pending_proposal = None
        self._run.event(EventKind.REDUCTION_REFUSED, proposal=outcome.number, reason=reason)

    def _staleness(self, proposal: Proposal, ranks: Sequence[int]) -> str | None:
        """Return why the approved ranks no longer fit, when the weights moved since they were proposed."""
        run = self._run
        if [layer["state_dim"] for layer in proposal["layers"]] != run.state_dims:
            return f"the layers have {run.state_dims} states now"
        if run.state.step == proposal["step"]:
            return None
        try:
            tables: list[RankTable] = evidence.rank_tables(run.model)
        except ValueError as error:
            return str(error)
        for layer, table, rank in zip(proposal["layers"], tables, ranks, strict=True):
            approved = layer["discarded_share"][rank]
            allowed = max(proposal["tolerance"], approved) * self._config.slack
            if table.discarded_share[rank] > allowed:
                now = table.discarded_share[rank]
                return (
                    f"layer {layer['layer']} would lose {percent(now)} at rank {rank} now, "
                    f"{percent(approved)} when it was proposed, {percent(allowed)} is allowed"
                )
        return None


def _scores(point: Point) -> Scores:
    """Return what a measured cut was to give, without what else was measured of it."""
    scores: Scores = {}
    if "loss" in point:
        scores["loss"] = point["loss"]
    if "accuracy" in point:
        scores["accuracy"] = point["accuracy"]
    return scores
