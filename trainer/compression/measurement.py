"""What is measured for a proposal: when it is made, and when a person asks for more."""

from collections.abc import Sequence

from hankelboard.storage import proposals
from hankelboard.storage.commands import Command
from hankelboard.storage.errors import ProposalError
from hankelboard.storage.proposals import check_ranks
from hankelboard.storage.records import Record
from hankelboard.trainer.compression import evidence
from hankelboard.trainer.compression.badge import is_flat
from hankelboard.trainer.compression.calibration import calibrate
from hankelboard.trainer.compression.deadline import deadline_record
from hankelboard.trainer.compression.evidence import Occasion
from hankelboard.trainer.compression.session import Session
from hankelboard.trainer.compression.trials import POLICY as PRAGMATIC
from hankelboard.trainer.layers.build import build_model

LEAST_MEASURING_S = 2.0


class Measuring:
    """Measures the network as it is, for proposals at the attempts `steps`."""

    def __init__(self, session: Session, steps: Sequence[int]):
        self._session = session
        self._config = session.config.reduction
        self._steps = steps

    def proposal(self, attempt_step: int) -> Record | None:
        """The record of a proposal; None, with the reason in an event, when there is nothing to propose."""
        session, state = self._session, self._session.state
        session.calibrate()
        try:
            measured = evidence.gather(
                session.model, session.task.val, self._config, session.timing_batch(),
                self._occasion(attempt_step),
            )  # fmt: skip
        except ValueError as error:
            session.event("reduction_refused", attempt_step=attempt_step, reason=f"no proposal: {error}")
            return None
        if all(layer["rank"] == layer["state_dim"] for layer in measured["layers"]):
            flat = ": the spectrum is flat" if all(map(is_flat, measured["layers"])) else ""
            session.event(
                "reduction_refused",
                attempt_step=attempt_step,
                reason=f"nothing to cut: at tolerance {self._config.tolerance:g} every layer keeps "
                f"{self._config.gate:.0%} or more of its states{flat}",
            )
            return None
        left = session.config.training.steps - state.step
        seconds = measured["cost"]["seconds_per_step"]
        measured["cost"]["projected_saving_s"] = left * (seconds["now"] - seconds["after"])
        return {
            "branch": state.branch, "attempt": session.recorder.attempt, "step": state.step,
            "attempt_step": attempt_step, "policy": state.policy, "waiting": state.waiting,
            "deadline": deadline_record(self._config), **measured,
        }  # fmt: skip

    def on_demand(self, command: Command) -> str | None:
        """Measure for the pending proposal what a person asks for; why not, when that is not possible."""
        session, number = self._session, command.proposal
        if number is None or number != session.state.pending_proposal:
            return f"proposal {number} does not wait for a decision"
        try:
            proposal = evidence_of(session, number)
            ranks = None if command.ranks is None else check_ranks(proposal, command.ranks)
            if session.state.step != proposal["step"]:
                return (
                    f"the weights are those of step {session.state.step} by now; "
                    f"the proposal was made at step {proposal['step']}"
                )
            session.recorder.show_phase("measuring")
            session.calibrate()
            occasion = self._occasion(proposal["attempt_step"])
            measured = evidence.complete(
                session.model,
                session.task.val,
                self._config,
                session.timing_batch(),
                occasion,
                proposal,
                ranks,
            )
            proposals.publish_measurement(session.paths, command.id, {"proposal": number, **measured})
        except (ProposalError, ValueError) as error:
            return str(error)
        except OSError as error:
            return f"not written: {error.strerror or error}"
        return None

    def _occasion(self, attempt_step: int) -> Occasion:
        session, state = self._session, self._session.state
        projected = state.train_s / max(state.step, 1) * session.config.training.steps
        return Occasion(
            share=self._config.share if state.policy == PRAGMATIC else None,
            ranks=self.ranks_of(attempt_step) if self._config.ranks_as else None,
            attempts=sum(step <= attempt_step for step in self._steps),
            fresh=lambda: calibrate(
                build_model(session.config, session.task).to(session.device), session.calibration_inputs()
            ),
            earlier=session.earlier_systems(),
            precision=session.config.training.precision,
            limit_s=max(LEAST_MEASURING_S, self._config.measure_share * projected),
        )

    def ranks_of(self, attempt_step: int) -> list[int] | None:
        """Ranks that the run of `ranks_as` gives for this attempt."""
        last = attempt_step == self._steps[-1]
        return self._session.references.ranks_at(attempt_step, last)


def evidence_of(session: Session, number: int) -> Record:
    """The proposal with all that was measured for it. Raises ProposalError when its file is damaged."""
    record = proposals.read_evidence(session.paths, number)
    if record is None:
        raise ProposalError(f"proposal {number} cannot be read any more; its file is damaged or gone")
    return record
