"""The life of a proposal on the trainer's side: offered, decided, applied or refused.

`advance` is called at every step boundary. What it does follows from the loop state, the journal and the
decision file alone, so that a replay after a crash does the same again.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

from hankelboard.storage import proposals
from hankelboard.storage.commands import Command
from hankelboard.storage.errors import AlreadyDecided, ProposalError
from hankelboard.storage.history import ProposalOutcome
from hankelboard.storage.proposals import Decision, check_ranks
from hankelboard.storage.records import Record
from hankelboard.trainer.compression import evidence
from hankelboard.trainer.compression.deadline import Deadline
from hankelboard.trainer.compression.measurement import Measuring, evidence_of
from hankelboard.trainer.compression.opportunities import attempt_due, attempt_steps
from hankelboard.trainer.compression.session import Session
from hankelboard.trainer.compression.trials import POLICY as PRAGMATIC
from hankelboard.trainer.compression.trials import Trials
from hankelboard.trainer.compression.what_if import cut
from hankelboard.trainer.layers.build import state_dims
from hankelboard.trainer.reduction.reducible import RankTable

DECIDES_ITSELF = {
    "auto": ("approve", "within the tolerance {0.tolerance:g}"),
    "keep": ("reject", "measures only"),
    PRAGMATIC: ("approve", "cuts {0.share:.0%} of the states on trial"),
}
"""Policies that need no person, with their verdict and its reason."""
RETRY_S = 5.0


class Reductions:
    def __init__(self, session: Session):
        config = session.config
        self._session = session
        self._config = config.reduction
        self._waiting = False
        self._retry_at = 0.0
        self.steps = attempt_steps(
            config.training.steps,
            attempts=self._config.attempts,
            window=self._config.window,
            explicit=self._config.steps,
        )
        self._trials = Trials(session, self.steps)
        self._deadline = Deadline(session)
        self._measuring = Measuring(session, self.steps)

    @property
    def _at_end(self) -> bool:
        return self._session.state.step >= self._session.config.training.steps

    @property
    def holds_training(self) -> bool:
        """Whether training must wait for a person: there is a proposal, no verdict, and waiting = pause.

        At the last step there is nothing left to train on: what has not expired there is waited for.
        """
        outcome = self._pending()
        if outcome is None or outcome.decision is not None:
            return False
        return self._session.state.waiting == "pause" or self._at_end

    def advance(self) -> None:
        """Judge a cut on trial, offer a reduction when an attempt is due, act on the verdict.

        What a full disk prevents is tried again later; training goes on meanwhile.
        """
        if time.monotonic() < self._retry_at and not self._at_end:
            return
        consumed = self._session.state.attempts_consumed
        try:
            self._advance()
        except OSError as error:
            self._session.state.attempts_consumed = consumed
            self._put_off(f"proposal or decision not written: {error.strerror or error}")

    def _put_off(self, trouble: str) -> None:
        self._session.recorder.trouble = trouble
        self._retry_at = time.monotonic() + RETRY_S

    def _advance(self) -> None:
        if self._trials.judge(at_end=self._at_end):
            return
        if self._session.state.pending_proposal is None and not self._trials.running:
            self._attempt()
        outcome = self._pending()
        if outcome is not None:
            if outcome.decision is None and self._session.state.policy not in DECIDES_ITSELF:
                self._deadline.tick(outcome, at_end=self._at_end)
            self._answer(outcome)
        else:
            self._deadline.suspend()
        self._note_waiting()

    def measure(self, command: Command) -> str | None:
        """Carry the command `measure` out; why not, when that is not possible."""
        return self._measuring.on_demand(command)

    def hold(self) -> None:
        """Called instead of `advance` while a person paused the run: a pause does not use up a deadline."""
        self._deadline.suspend()

    def _pending(self) -> ProposalOutcome | None:
        number = self._session.state.pending_proposal
        return None if number is None else self._session.history.proposals[number]

    def _note_waiting(self) -> None:
        if self.holds_training != self._waiting:
            self._waiting = self.holds_training
            kind = "waiting_started" if self._waiting else "waiting_ended"
            self._session.event(kind, proposal=self._session.state.pending_proposal)

    # Offering.

    def _attempt(self) -> None:
        state = self._session.state
        due = attempt_due(self.steps, consumed=state.attempts_consumed, step=state.step)
        if due is None or (self._at_end and due != state.step):
            return  # what was not attempted in time is not made up for after training
        if self._config.ranks_as and self._measuring.ranks_of(due) is None:
            state.attempts_consumed = due  # the run whose cuts are followed was not cut here
            return
        state.attempts_consumed, state.pending_s = due, 0.0
        known = self._known(due)
        if known is None or known.offered_again:
            self._offer(due)
        elif known.state in ("pending", "approved", "applied"):
            state.pending_proposal = known.number  # a replay: the same proposal, the same verdict

    def _known(self, attempt_step: int) -> ProposalOutcome | None:
        """The latest proposal of this attempt on this branch, when a replay comes by here again."""
        branch = self._session.state.branch
        for outcome in reversed(self._session.history.proposals.values()):
            if (outcome.branch, outcome.attempt_step) == (branch, attempt_step):
                return outcome
        return None

    def _offer(self, attempt_step: int) -> None:
        session, state = self._session, self._session.state
        session.recorder.show_phase("measuring")
        session.record_spectra("proposal")
        number, record = self._unannounced(attempt_step)
        if record is None:
            record = self._measuring.proposal(attempt_step)
            if record is None:
                return
            proposals.publish_proposal(session.paths, number, record)
        state.pending_proposal, state.pending_s = number, 0.0
        session.event(
            "proposal_published",
            proposal=number,
            attempt_step=attempt_step,
            state_dims=session.state_dims,
            ranks=record["ranks"],
        )

    def _unannounced(self, attempt_step: int) -> tuple[int, Record | None]:
        """The number of the next proposal; with its record when a death came between file and event."""
        session = self._session
        number = max(proposals.proposal_numbers(session.paths), default=0)
        record = proposals.read_proposal(session.paths, number) if number else None
        if record is None or number in session.history.proposals:
            return number + 1, None
        key = (record.get("branch"), record.get("attempt_step"), record.get("step"))
        if key != (session.state.branch, attempt_step, session.state.step):
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
        if outcome.decision["verdict"] == "reject":
            self._session.state.pending_proposal = None
        elif self._session.state.step >= outcome.decision["apply_at_step"]:
            self._apply(outcome)

    def _find_decision(self, number: int) -> Decision | None:
        """The verdict on a proposal. Policies decide by writing a decision, like anybody else."""
        session = self._session
        policy = session.state.policy
        verdict, why = DECIDES_ITSELF.get(policy, (None, ""))
        if verdict is not None and proposals.read_decision(session.paths, number) is None:
            why = "ranks of {0.ranks_as}" if self._config.ranks_as and verdict == "approve" else why
            reason = f"policy {policy}: {why.format(self._config)}"
            try:
                return proposals.decide(
                    session.paths, number, verdict, by=f"policy:{policy}", via="trainer", reason=reason,
                    history=session.history,
                )  # fmt: skip
            except AlreadyDecided:
                pass  # a person was faster
        return proposals.read_decision(session.paths, number)

    def _accept(self, outcome: ProposalOutcome, decision: Decision) -> None:
        session = self._session
        proposal = evidence_of(session, outcome.number)
        try:
            if not decision.verdict:
                raise ProposalError("the decision file is no decision")
            ranks = check_ranks(proposal, proposal["ranks"] if decision.ranks is None else decision.ranks)
        except ProposalError as error:
            session.event(
                "decision_refused",
                proposal=outcome.number,
                decision_id=decision.decision_id,
                reason=str(error),
                offered_again=True,
            )
            self._offer_again(outcome)
            return
        session.event(
            "decision_accepted",
            proposal=outcome.number,
            decision_id=decision.decision_id,
            verdict=decision.verdict,
            ranks=ranks,
            by=decision.by,
            via=decision.via,
            reason=decision.reason,
            apply_at_step=session.state.step,
        )

    def _offer_again(self, outcome: ProposalOutcome) -> None:
        self._session.state.pending_proposal = None
        self._offer(outcome.attempt_step)

    # Applying.

    def _apply(self, outcome: ProposalOutcome) -> None:
        session, state = self._session, self._session.state
        proposal, ranks = evidence_of(session, outcome.number), list((outcome.decision or {})["ranks"])
        if session.recorder.unwritten:
            return  # first what decided it must be on disk
        session.calibrate()
        stale = self._staleness(proposal, ranks)
        if stale:
            session.event(
                "reduction_refused", proposal=outcome.number, reason=f"stale: {stale}", offered_again=True
            )
            self._offer_again(outcome)
            return
        before = session.measure()
        pinned = session.save("before_reduction", pinned=True)
        if pinned is None:
            self._without_checkpoint(outcome)
            return
        dims = session.state_dims
        try:
            error = cut(session.model, session.optimizer, ranks, self._config.moments)
        except ValueError as problem:
            self._refuse(outcome, f"cannot be realised: {problem}")
            return
        session.settle_forms()
        after = session.measure()
        state.reductions = [*state.reductions, outcome.number]
        state.pending_proposal = None
        point = proposals.what_if(proposal, ranks)
        predicted = point["measured"]
        session.event(
            "reduction_applied",
            proposal=outcome.number,
            **{"from": dims, "to": state_dims(session.model)},
            discarded_share=point["discarded_share"],
            before=before,
            after=after,
            predicted=predicted and {key: predicted[key] for key in ("loss", "accuracy")},
            write_back_error=error,
            checkpoint=str(pinned.name),
        )
        session.adopt(replace(state))
        if state.policy == PRAGMATIC:
            self._trials.begin(outcome.number, str(pinned.name), before)
        session.save("after_reduction", pinned=True)
        session.record_spectra("after_reduction")
        session.record_systems()

    def _without_checkpoint(self, outcome: ProposalOutcome) -> None:
        """Without a checkpoint to go back to nothing is cut: training goes on and it is tried again."""
        trouble = self._session.recorder.trouble or ""
        self._put_off(trouble)
        if self._at_end:
            self._refuse(outcome, f"no checkpoint to go back to could be written: {trouble}")

    def _refuse(self, outcome: ProposalOutcome, reason: str) -> None:
        self._session.state.pending_proposal = None
        self._session.event("reduction_refused", proposal=outcome.number, reason=reason)

    def _staleness(self, proposal: Record, ranks: Sequence[int]) -> str | None:
        """Why the approved ranks no longer fit, when the weights moved since they were proposed."""
        session = self._session
        if [layer["state_dim"] for layer in proposal["layers"]] != session.state_dims:
            return f"the layers have {session.state_dims} states now"
        if session.state.step == proposal["step"]:
            return None
        try:
            tables: list[RankTable] = evidence.rank_tables(session.model)
        except ValueError as error:
            return str(error)
        for layer, table, rank in zip(proposal["layers"], tables, ranks, strict=True):
            approved = layer["discarded_share"][rank]
            allowed = max(proposal["tolerance"], approved) * self._config.slack
            if table.discarded_share[rank] > allowed:
                now = table.discarded_share[rank]
                return (
                    f"layer {layer['layer']} would lose {now:.2%} at rank {rank} now, "
                    f"{approved:.2%} when it was proposed, {allowed:.2%} is allowed"
                )
        return None
