"""State is a fold of the journals: what happened to a run, from its events alone."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from hankelboard.storage import fingerprints
from hankelboard.storage.journal import read_events
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.schema import Event, Fingerprints, ReductionApplied, ReductionJudged, Reference
from hankelboard.storage.vocabulary import (
    ENDED,
    INTERVENTIONS,
    CommandState,
    EventKind,
    Fault,
    ProposalState,
    RunState,
    Verdict,
    values,
)

ENDINGS: dict[str, RunState] = {
    EventKind.RUN_FINISHED: RunState.FINISHED,
    EventKind.RUN_STOPPED: RunState.STOPPED,
    EventKind.RUN_FAILED: RunState.FAILED,
    EventKind.RUN_CANCELLED: RunState.CANCELLED,
    EventKind.ATTEMPT_ENDED: RunState.INTERRUPTED,
}
TIMEOUT = "policy:timeout"
"""The decider named when no person decided before the deadline or the end of training."""
KINDS = frozenset(values(EventKind))
OPEN = (ProposalState.PENDING, ProposalState.APPROVED)
"""States of proposals that a rollback supersedes."""


@dataclass
class Branch:
    """One path of weights. Branch 0 is the start; a rollback begins a new one."""

    number: int
    parent: int | None = None
    from_step: int = 0
    checkpoint: str | None = None
    state_dims: list[int] = field(default_factory=list)
    """State dimensions where the branch began."""
    attempts: list[tuple[int, int]] = field(default_factory=list)
    """(attempt, step it began at): a later attempt replaces what earlier ones recorded beyond that step.

    The step is -1 where an attempt began without a checkpoint: then it records step 0 again.
    """
    attempts_consumed: int = -1
    """Opportunities up to and including this step are not taken again on this branch."""

    @property
    def begins(self) -> int:
        """Return the last step that it takes from its parent.

        That is where it branched off, or further back when the checkpoint there was damaged and an attempt
        had to begin from an older one.
        """
        return min([self.from_step, *(step for _, step in self.attempts)])


@dataclass
class ProposalOutcome:
    """What became of a proposal."""

    number: int
    branch: int
    step: int
    attempt_step: int
    """The step of its opportunity; with the branch the key by which a replay finds the proposal."""
    state_dims: list[int] = field(default_factory=list)
    """States of each layer when it was made."""
    ranks: list[int] = field(default_factory=list)
    """As proposed."""
    state: ProposalState = ProposalState.PENDING
    decision: Event | None = None
    """The decision_accepted event: verdict, ranks, by, apply_at_step."""
    applied: ReductionApplied | None = None
    """The reduction_applied event: state dimensions and validation before and after."""
    offered_again: bool = False
    """Refused, but the opportunity is not over: a new proposal takes its place."""
    judged: ReductionJudged | None = None
    """The reduction_judged event of a trial: validation at its end, and whether the cut was kept."""
    reason: str = ""


@dataclass
class CommandOutcome:
    """The trainer's answer to a command."""

    state: CommandState
    step: int
    reason: str = ""
    at_step: int | None = None
    """Step at which it is to be carried out, when one was named."""


@dataclass
class History:
    """The fold. Feed it events in the order of the journal with `apply`; read its fields at any time."""

    state: RunState = RunState.QUEUED
    reason: str = ""
    step: int = 0
    attempt: int = -1
    branch: int = 0
    policy: str = ""
    waiting: str = ""
    """pause or train while a person decides, where somebody changed it; else the configuration says."""
    paused: bool = False
    state_dims: list[int] = field(default_factory=list)
    initial_state_dims: list[int] = field(default_factory=list)
    branches: dict[int, Branch] = field(default_factory=lambda: {0: Branch(0)})
    proposals: dict[int, ProposalOutcome] = field(default_factory=dict)
    commands: dict[str, CommandOutcome] = field(default_factory=dict)
    interventions: list[Event] = field(default_factory=list)
    finished: Event | None = None
    """The run_finished event, with the test metrics; None again once that end was left by a rollback."""
    references: list[Reference] = field(default_factory=list)
    """Of run_started: what the run took from others, each with key, run, and train_s where that counts."""
    text: Mapping[str, Any] = field(default_factory=dict)
    """Of run_started of a text: alphabet and sha256."""
    deaths: int = 0
    """Processes in a row that ended by their own fault and came no further than the one before."""
    kills: int = 0
    """The same of processes that something outside ended: no fault of the run."""
    fingerprints: Fingerprints = field(default_factory=fingerprints.no_fingerprints)
    """Of the latest attempt that recorded any."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the latest attempt."""
    data_seed: int | None = None
    """Of all generators while attempts made their data; None where an older program recorded none."""
    data: list[str] = field(default_factory=list)
    """Each different data that attempts learned from, by `fingerprints.digest`, oldest first."""
    held: str = ""
    """Why a worker does not resume the run until a person says so."""
    noticed: list[str] = field(default_factory=list)
    """What the latest attempt found changed and went on with."""
    unknown: int = 0
    outdated: int = 0
    """Events that an attempt wrote after a later one had begun: they do not count."""
    _furthest: int = -1
    """Step of the checkpoint since which deaths are counted."""
    _paths: dict[int, dict[int, int | None]] = field(default_factory=dict, repr=False, compare=False)
    """Paths of branches, computed once per event."""
    _turns: dict[int, dict[tuple[int, int], list[int]]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def apply(self, event: Event) -> bool:
        """Fold one event in; return False for one that does not count, because a later attempt had begun.

        Unknown kinds are counted, and what does not follow from events before.
        """
        attempt = event.get("attempt")
        if isinstance(attempt, int) and attempt < self.attempt:
            self.outdated += 1
            return False
        self._fold(event)
        return True

    def _fold(self, event: Event) -> None:
        self._paths.clear()
        self._turns.clear()
        kind = event.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            self.unknown += 1
            return
        try:
            handler = _HANDLERS.get(kind)
            if handler is not None:
                handler(self, event)
        except (KeyError, TypeError, ValueError):
            self.unknown += 1
            return
        if kind in INTERVENTIONS:
            self.interventions.append(event)
        if isinstance(event.get("step"), int):
            self.step = event["step"]

    def pending(self) -> ProposalOutcome | None:
        """Return the proposal of the live branch that waits for a decision, if any."""
        for outcome in reversed(self.proposals.values()):
            if outcome.state == ProposalState.PENDING and outcome.branch == self.branch:
                return outcome
        return None

    def segments(self, branch: int | None = None) -> dict[int, int | None]:
        """Return the path of a branch: the last step that counts of each branch on it (None: to its end)."""
        number = self.branch if branch is None else branch
        if number not in self._paths:
            self._paths[number] = self._path_of(number)
        return self._paths[number]

    def _path_of(self, branch: int) -> dict[int, int | None]:
        path: dict[int, int | None] = {}
        limit: int | None = None
        current = self.branches.get(branch)
        while current is not None and current.number not in path:
            path[current.number] = limit
            if current.parent is None:
                break
            limit = current.begins if limit is None else min(limit, current.begins)
            current = self.branches.get(current.parent)
        return path

    def on_path(self, record: Mapping[str, Any], branch: int | None = None) -> bool:
        """Return whether a record of some place lies on the path of a branch (default: the live one)."""
        number = record.get("branch", 0)
        path = self.segments(branch)
        if number not in path:
            return False
        end = path[number]
        before = end is None or record.get("step", 0) <= end
        return before and not self.is_replaced(record) and not self.is_left_at_turn(record, branch)

    def is_left_at_turn(self, record: Mapping[str, Any], branch: int | None = None) -> bool:
        """Return whether a record of the very step that a rollback went back to is of the weights it left.

        A checkpoint before a cut and what the cut left have the same step: their state dimensions differ.
        Of records that name none it is not known.
        """
        dims = self.turns(branch).get((record.get("branch", 0), record.get("step", 0)))
        if dims is None:
            return False
        layer = record.get("layer")
        if isinstance(layer, int) and "state_dim" in record:
            return layer < len(dims) and record["state_dim"] != dims[layer]
        recorded = record.get("to") or record.get("state_dims")
        return recorded is not None and recorded != dims

    def turns(self, branch: int | None = None) -> dict[tuple[int, int], list[int]]:
        """Return the state dimensions where the path of a branch leaves its parents, by (parent, step)."""
        number = self.branch if branch is None else branch
        if number not in self._turns:
            path = [self.branches[each] for each in self.segments(number)]
            self._turns[number] = {
                (each.parent, each.from_step): each.state_dims for each in path if each.parent is not None
            }
        return self._turns[number]

    def reach(self, branch: int, attempt: int) -> float:
        """Return the step up to which records of this attempt lie on the live path; -1 where none does.

        This is `on_path` for many records at once, except those of the step of a rollback
        (`is_left_at_turn`).
        """
        path = self.segments()
        if branch not in path:
            return -1
        end = path[branch]
        attempts = self.branches[branch].attempts
        return min([inf if end is None else end, *(start for later, start in attempts if later > attempt)])

    def is_replaced(self, record: Mapping[str, Any]) -> bool:
        """Return whether a later attempt on the same branch trained this step again (after a crash)."""
        branch = self.branches.get(record.get("branch", 0))
        if branch is None or not branch.attempts:
            return False
        step, attempt = record.get("step", 0), record.get("attempt", 0)
        return any(later > attempt and start < step for later, start in branch.attempts)

    # One method per kind of event that changes the state.

    def _attempt_started(self, event: Event) -> None:
        self.attempt = event["attempt"]
        self.branch = event["branch"]
        begins = event["step"] if event.get("checkpoint") else -1  # without one it starts afresh
        self.branches.setdefault(self.branch, Branch(self.branch)).attempts.append((self.attempt, begins))
        self.policy = event.get("policy", self.policy)
        self.state_dims = list(event["state_dims"])
        if not self.initial_state_dims:
            self.initial_state_dims = list(event["state_dims"])
        self.state, self.reason = RunState.RUNNING, ""
        self.held, self.noticed = "", []
        self._note_fingerprints(event)

    def _note_fingerprints(self, event: Event) -> None:
        found = fingerprints.fingerprints_of(event)
        self.versions = event.get("versions", {})
        self.data_seed = event.get("data_seed", self.data_seed)
        if found["data"] or found["sources"]:
            self.fingerprints = found
        if (data := fingerprints.digest(found["data"])) and data not in self.data:
            self.data.append(data)

    def _resume_refused(self, event: Event) -> None:
        """Wait for a person. A run that had ended stays so; one that was to go on is interrupted."""
        self.held = event["reason"]
        if self.state not in ENDED or self.state == RunState.INTERRUPTED:
            self.state, self.reason = RunState.INTERRUPTED, self.held

    def _changes_noticed(self, event: Event) -> None:
        self.noticed = event["changes"]

    def _run_started(self, event: Event) -> None:
        self.references = event.get("references", [])
        self.text = event.get("text", {})

    def _attempt_ended(self, event: Event) -> None:
        fault = event.get("fault")
        self.deaths += fault == Fault.OWN
        self.kills += fault == Fault.OUTSIDE
        if fault and self.attempt < 0:  # it died before it began, and is as queued as it was
            self.reason = event.get("reason", "")
        else:
            self._terminal(event)

    def _ended(self, event: Event) -> None:
        self.deaths = self.kills = 0
        self._terminal(event)

    def _terminal(self, event: Event) -> None:
        self.state = ENDINGS[event["kind"]]
        self.reason = event.get("reason", "")
        self.held = ""
        self.finished = event if event["kind"] == EventKind.RUN_FINISHED else None
        if command_id := event.get("command_id"):
            self.commands[command_id] = CommandOutcome(CommandState.APPLIED, event["step"])

    def _released(self, event: Event) -> None:
        self.state = RunState.RELEASED

    def _paused(self, event: Event) -> None:
        self.paused, self.state = True, RunState.PAUSED

    def _resumed(self, event: Event) -> None:
        self.paused = False
        self.state = RunState.RUNNING

    def _waiting_started(self, event: Event) -> None:
        self.state = RunState.WAITING_FOR_DECISION

    def _waiting_ended(self, event: Event) -> None:
        self.state = RunState.PAUSED if self.paused else RunState.RUNNING

    def _checkpoint_published(self, event: Event) -> None:
        if event["step"] > self._furthest:
            self._furthest = event["step"]
            self.deaths = self.kills = 0

    def _proposal_published(self, event: Event) -> None:
        number = _number(event)
        self.proposals[number] = ProposalOutcome(
            number,
            event["branch"],
            event["step"],
            event["attempt_step"] if "attempt_step" in event else event["step"],
            state_dims=event.get("state_dims", []),
            ranks=event.get("ranks") or [],
        )

    def _proposal_superseded(self, event: Event) -> None:
        self._close(event, ProposalState.SUPERSEDED)

    def _proposal_expired(self, event: Event) -> None:
        self._close(event, ProposalState.EXPIRED)

    def _decision_accepted(self, event: Event) -> None:
        outcome = self.proposals[_number(event)]
        outcome.decision = event
        if event["verdict"] == Verdict.APPROVE:
            outcome.state = ProposalState.APPROVED
        elif event["by"] == TIMEOUT and not event.get("by_role"):  # a person may be called anything
            outcome.state, outcome.reason = ProposalState.EXPIRED, event.get("reason", "")
        else:
            outcome.state = ProposalState.REJECTED

    def _decision_refused(self, event: Event) -> None:
        self._close(event, ProposalState.REFUSED)

    def _reduction_applied(self, event: ReductionApplied) -> None:
        outcome = self.proposals[_number(event)]
        outcome.state, outcome.applied = ProposalState.APPLIED, event
        self.state_dims = list(event["to"])

    def _reduction_judged(self, event: ReductionJudged) -> None:
        self.proposals[_number(event)].judged = event

    def _reduction_refused(self, event: Event) -> None:
        self._close(event, ProposalState.REFUSED)

    def _reduction_rolled_back(self, event: Event) -> None:
        self._close(event, ProposalState.ROLLED_BACK)

    def _close(self, event: Event, state: ProposalState) -> None:
        if event.get("proposal") is None:  # an attempt that came to no proposal
            return
        outcome = self.proposals[_number(event)]
        outcome.state, outcome.reason = state, event.get("reason", "")
        outcome.offered_again = event.get("offered_again") is True

    def _branch_started(self, event: Event) -> None:
        self.branch = event["branch"]
        self.state_dims = list(event["state_dims"])
        self.policy = event["policy"]
        self.finished = None  # its test figures are of weights that were left
        self.branches[self.branch] = Branch(
            number=self.branch,
            parent=event["parent"],
            from_step=event["from_step"],
            checkpoint=event["checkpoint"],
            state_dims=list(event["state_dims"]),
            attempts=[(event["attempt"], event["from_step"])],
            attempts_consumed=event.get("attempts_consumed", -1),
        )
        if command_id := event.get("command_id"):
            self.commands[command_id] = CommandOutcome(CommandState.APPLIED, event["step"])
        for number in event.get("undone", []):
            outcome = self.proposals[number]
            who = f" by {event['by']}" if event.get("by") else ""
            outcome.state, outcome.reason = ProposalState.ROLLED_BACK, f"to {event['checkpoint']}{who}"
        for outcome in self.proposals.values():
            if outcome.branch != self.branch and outcome.state in OPEN:
                outcome.state = ProposalState.SUPERSEDED
                outcome.reason = f"rolled back to {event['checkpoint']}"
        self.deaths, self.kills, self._furthest = 0, 0, event["from_step"]

    def _command(self, event: Event) -> None:
        command_id, state = event["command_id"], CommandState(event["kind"].removeprefix("command_"))
        if command_id is not None:
            self.commands[command_id] = CommandOutcome(
                state, event["step"], event.get("reason", ""), event.get("at_step")
            )

    def _policy_changed(self, event: Event) -> None:
        self.policy = event["policy"]
        self.waiting = event["waiting"]


_HANDLERS: dict[str, Callable[[History, Any], None]] = {
    EventKind.ATTEMPT_STARTED: History._attempt_started,
    EventKind.RUN_STARTED: History._run_started,
    **dict.fromkeys(ENDINGS, History._ended),
    EventKind.ATTEMPT_ENDED: History._attempt_ended,
    EventKind.RUN_RELEASED: History._released,
    EventKind.PAUSED: History._paused,
    EventKind.RESUMED: History._resumed,
    EventKind.WAITING_STARTED: History._waiting_started,
    EventKind.WAITING_ENDED: History._waiting_ended,
    EventKind.CHECKPOINT_PUBLISHED: History._checkpoint_published,
    EventKind.PROPOSAL_PUBLISHED: History._proposal_published,
    EventKind.PROPOSAL_SUPERSEDED: History._proposal_superseded,
    EventKind.PROPOSAL_EXPIRED: History._proposal_expired,
    EventKind.DECISION_ACCEPTED: History._decision_accepted,
    EventKind.DECISION_REFUSED: History._decision_refused,
    EventKind.REDUCTION_APPLIED: History._reduction_applied,
    EventKind.REDUCTION_JUDGED: History._reduction_judged,
    EventKind.REDUCTION_REFUSED: History._reduction_refused,
    EventKind.REDUCTION_ROLLED_BACK: History._reduction_rolled_back,
    EventKind.BRANCH_STARTED: History._branch_started,
    EventKind.COMMAND_ACCEPTED: History._command,
    EventKind.COMMAND_APPLIED: History._command,
    EventKind.COMMAND_REFUSED: History._command,
    EventKind.POLICY_CHANGED: History._policy_changed,
    EventKind.RESUME_REFUSED: History._resume_refused,
    EventKind.CHANGES_NOTICED: History._changes_noticed,
}


def fold(events: Iterable[Event]) -> History:
    """Return the history that these events make."""
    history = History()
    for event in events:
        history.apply(event)
    return history


def read_history(paths: RunPaths) -> History:
    """Return the history of a run as its events.jsonl has it now."""
    return fold(read_events(paths))


def _number(event: Event) -> int:
    """Return the number of the proposal that an event is about."""
    number = event["proposal"]
    if number is None:
        raise KeyError("proposal")
    return number
