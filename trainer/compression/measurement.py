"""What is measured for a proposal: when it is made, and when a person asks for more."""

from collections.abc import Sequence
from typing import cast

from torch import nn

from hankelboard.settings.config import ReductionConfig
from hankelboard.storage import proposals
from hankelboard.storage.commands import Command
from hankelboard.storage.errors import ProposalError
from hankelboard.storage.figures import percent
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.proposals import check_ranks
from hankelboard.storage.schema import MeasurementRecord, Proposal, ProposalFields
from hankelboard.storage.vocabulary import EventKind, Phase, Policy
from hankelboard.trainer.compression import evidence
from hankelboard.trainer.compression.badge import is_flat
from hankelboard.trainer.compression.calibration import calibrate
from hankelboard.trainer.compression.deadline import deadline_record
from hankelboard.trainer.compression.evidence import Occasion
from hankelboard.trainer.compression.monitor import Monitor
from hankelboard.trainer.compression.run import Run
from hankelboard.trainer.compression.workload import Followed, Workload

LEAST_MEASURING_S = 2.0
"""For one proposal, where a person looks at it: who trains waits for the verdict anyway."""
LEAST_UNWATCHED_S = 0.0
"""The same where a policy cuts by itself: then the share of training is all there is."""
CUTS_BY_ITSELF = (Policy.AUTO, Policy.PRAGMATIC)


class Measurements:
    """Measures the network as it is, for proposals at these opportunities."""

    def __init__(
        self,
        run: Run,
        monitor: Monitor,
        workload: Workload,
        config: ReductionConfig,
        opportunities: Sequence[int],
        followed: Followed | None,
    ):
        """Take as `followed` the run whose ranks are repeated, if any."""
        self._run, self._monitor, self._workload, self._config = run, monitor, workload, config
        self._opportunities, self._followed = opportunities, followed

    def proposal(self, opportunity: int) -> ProposalFields | None:
        """Return the record of a proposal; None, with the reason in an event, where there is none to make."""
        run, state = self._run, self._run.state
        self._monitor.calibrate()
        try:
            measured = evidence.gather(run.model, self._workload, self._config, self._occasion(opportunity))
        except ValueError as error:
            run.event(EventKind.REDUCTION_REFUSED, attempt_step=opportunity, reason=f"no proposal: {error}")
            return None
        if all(layer["rank"] == layer["state_dim"] for layer in measured["layers"]):
            flat = ": the spectrum is flat" if all(map(is_flat, measured["layers"])) else ""
            run.event(
                EventKind.REDUCTION_REFUSED,
                attempt_step=opportunity,
                reason=f"nothing to cut: at tolerance {self._config.tolerance:g} every layer keeps "
                f"{percent(self._config.gate, 0)} or more of its states{flat}",
            )
            return None
        left = run.steps - state.step
        seconds = measured["cost"]["seconds_per_step"]
        measured["cost"]["projected_saving_s"] = left * (seconds["now"] - seconds["after"])
        fields = {
            "branch": state.branch, "attempt": run.recorder.attempt, "step": state.step,
            "attempt_step": opportunity, "policy": state.policy, "waiting": state.waiting,
            "deadline": deadline_record(self._config), **measured,
        }  # fmt: skip
        return cast(ProposalFields, fields)

    def on_demand(self, command: Command) -> str | None:
        """Measure for the pending proposal what a person asks for; return why not when it is not possible."""
        run, number = self._run, command.proposal
        if number is None or number != run.state.pending_proposal:
            return f"proposal {number} does not wait for a decision"
        try:
            proposal = evidence_of(run.paths, number)
            ranks = None if command.ranks is None else check_ranks(proposal, command.ranks)
            if run.state.step != proposal["step"]:
                return (
                    f"the weights are those of step {run.state.step} by now; "
                    f"the proposal was made at step {proposal['step']}"
                )
            run.recorder.show_phase(Phase.MEASURING)
            self._monitor.calibrate()
            occasion = self._occasion(proposal["attempt_step"])
            measured = evidence.complete(run.model, self._workload, self._config, occasion, proposal, ranks)
            record = cast(MeasurementRecord, {"proposal": number, **measured})
            run.recorder.check()
            proposals.publish_measurement(run.paths, command.id, record)
        except (ProposalError, ValueError) as error:
            return str(error)
        except OSError as error:
            return f"not written: {error.strerror or error}"
        return None

    def _occasion(self, opportunity: int) -> Occasion:
        state, config = self._run.state, self._config
        return Occasion(
            share=config.share if state.policy == Policy.PRAGMATIC else None,
            ranks=self.followed_ranks(opportunity),
            opportunities=sum(step <= opportunity for step in self._opportunities),
            fresh=self._untrained,
            position=state.position,
            earlier=self._monitor.earlier_systems(),
            limit_s=self._limit_s(opportunity),
        )

    def _limit_s(self, opportunity: int) -> float:
        """Return after how many seconds a proposal measures nothing more that no decision needs.

        All that cuts took so far and this proposal takes stays within a share of the whole training, of which
        each opportunity has its part; what earlier ones did not use is there for later ones.
        """
        state = self._run.state
        projected = state.train_s / max(state.step, 1) * self._run.steps
        part = sum(step <= opportunity for step in self._opportunities) / max(len(self._opportunities), 1)
        least = LEAST_UNWATCHED_S if state.policy in CUTS_BY_ITSELF else LEAST_MEASURING_S
        return max(least, self._config.measure_share * projected * part - state.cutting_s)

    def _untrained(self) -> nn.Module:
        position = self._run.state.position
        workload = self._workload
        return calibrate(workload.untrained(), workload.calibration_inputs(position), workload.forward)

    def followed_ranks(self, opportunity: int) -> list[int] | None:
        """Return the ranks of the run that is followed, None where it was not cut or there is none."""
        if self._followed is None:
            return None
        return self._followed.ranks_at(opportunity, opportunity == self._opportunities[-1])


def evidence_of(paths: RunPaths, number: int) -> Proposal:
    """Return the proposal with all that was measured for it. Raises ProposalError when it is damaged."""
    record = proposals.read_evidence(paths, number)
    if record is None:
        raise ProposalError(f"proposal {number} cannot be read any more; its file is damaged or gone")
    return record
