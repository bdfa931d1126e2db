"""State is a fold of the journals: what happened to a run, from its events alone."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf

from hankelboard.storage.journal import read_journal
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.records import Record

ENDINGS = {
    "run_finished": "finished",
    "run_stopped": "stopped",
    "run_failed": "failed",
    "run_cancelled": "cancelled",
    "attempt_ended": "interrupted",
}
TIMEOUT = "policy:timeout"
"""Who decides when nobody did before the deadline or the end of training."""
INTERVENTIONS = {
    "proposal_published", "reduction_applied", "reduction_refused", "branch_started", "paused", "resumed",
    "decision_accepted", "loss_not_finite", "reduction_judged", "policy_changed",
}  # fmt: skip


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
    """Attempts of a reduction up to and including this step are not made again on this branch."""

    @property
    def begins(self) -> int:
        """The last step that it takes from its parent: where it branched off, or further back when the
        checkpoint there was damaged and an attempt had to begin from an older one."""
        return min([self.from_step, *(step for _, step in self.attempts)])


@dataclass
class ProposalOutcome:
    """What became of a proposal."""

    number: int
    branch: int
    step: int
    attempt_step: int
    """The scheduled step of this attempt; with the branch the key by which a replay finds the proposal."""
    state_dims: list[int] = field(default_factory=list)
    """States of each layer when it was made."""
    ranks: list[int] = field(default_factory=list)
    """As proposed."""
    state: str = "pending"
    """pending, approved, rejected, applied, refused, expired, superseded or rolled_back."""
    decision: Record | None = None
    """The decision_accepted event: verdict, ranks, by, apply_at_step."""
    applied: Record | None = None
    """The reduction_applied event: state dimensions and validation before and after."""
    offered_again: bool = False
    """Refused, but the attempt is not over: a new proposal takes its place."""
    judged: Record | None = None
    """The reduction_judged event of a trial: validation at its end, and whether the cut was kept."""
    reason: str = ""


@dataclass
class CommandOutcome:
    """The trainer's answer to a command."""

    state: str
    """accepted, applied or refused."""
    step: int
    reason: str = ""
    at_step: int | None = None
    """Step it was scheduled for, when it was."""


@dataclass
class History:
    """The fold. Feed it events in the order of the journal with `apply`; read its fields at any time."""

    state: str = "queued"
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
    interventions: list[Record] = field(default_factory=list)
    finished: Record | None = None
    """The run_finished event, with the test metrics; None again once that end was left by a rollback."""
    references: list[Record] = field(default_factory=list)
    """Of run_started: what the run took from others, each with key, run, and train_s where that counts."""
    text: Record = field(default_factory=dict)
    """Of run_started of a text: alphabet and sha256."""
    attempts_without_checkpoint: int = 0
    unknown: int = 0
    _paths: dict[int, dict[int, int | None]] = field(default_factory=dict, repr=False, compare=False)
    """Paths of branches, computed once per event."""
    _turns: dict[int, dict[tuple[int, int], list[int]]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def apply(self, event: Record) -> None:
        """Fold one event in. Unknown kinds are counted, malformed ones too; neither is an error."""
        self._paths.clear()
        self._turns.clear()
        kind = event.get("kind")
        handler = _HANDLERS.get(kind) if isinstance(kind, str) else None
        if handler is None:
            self.unknown += 1
            return
        try:
            handler(self, event)
        except (KeyError, TypeError, ValueError):
            self.unknown += 1
            return
        if kind in INTERVENTIONS:
            self.interventions.append(event)
        if isinstance(event.get("step"), int):
            self.step = event["step"]

    def pending(self) -> ProposalOutcome | None:
        """The proposal of the live branch that waits for a decision, if any."""
        for outcome in reversed(self.proposals.values()):
            if outcome.state == "pending" and outcome.branch == self.branch:
                return outcome
        return None

    def segments(self, branch: int | None = None) -> dict[int, int | None]:
        """The path of a branch: for each branch on it the last step that counts (None = to its end)."""
        wanted = self.branch if branch is None else branch
        if wanted not in self._paths:
            self._paths[wanted] = self._path_of(wanted)
        return self._paths[wanted]

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

    def on_path(self, record: Record, branch: int | None = None) -> bool:
        """Whether a metrics or spectra record lies on the path of a branch (default: the live one)."""
        number = record.get("branch", 0)
        path = self.segments(branch)
        if number not in path:
            return False
        end = path[number]
        before = end is None or record.get("step", 0) <= end
        return before and not self.is_replaced(record) and not self.is_left_at_turn(record, branch)

    def is_left_at_turn(self, record: Record, branch: int | None = None) -> bool:
        """Whether a record of the very step that a rollback went back to is of the weights that it left.

        A checkpoint before a cut and what the cut left have the same step: their state dimensions tell them
        apart. Of records that name none it is not known.
        """
        dims = self.turns(branch).get((record.get("branch", 0), record.get("step", 0)))
        if dims is None:
            return False
        layer = record.get("layer")
        if isinstance(layer, int) and "state_dim" in record:
            return layer < len(dims) and record["state_dim"] != dims[layer]
        told = record.get("to") or record.get("state_dims")
        return told is not None and told != dims

    def turns(self, branch: int | None = None) -> dict[tuple[int, int], list[int]]:
        """Where the path of a branch leaves its parents: state dimensions there, by (parent, step)."""
        wanted = self.branch if branch is None else branch
        if wanted not in self._turns:
            ways = [self.branches[number] for number in self.segments(wanted)]
            self._turns[wanted] = {
                (way.parent, way.from_step): way.state_dims for way in ways if way.parent is not None
            }
        return self._turns[wanted]

    def reach(self, branch: int, attempt: int) -> float:
        """The step up to which records of this attempt lie on the live path; -1 where none does.

        It is `on_path` for many records at once, but for those of the step of a rollback
        (`is_left_at_turn`).
        """
        path = self.segments()
        if branch not in path:
            return -1
        end = path[branch]
        attempts = self.branches[branch].attempts
        return min([inf if end is None else end, *(start for later, start in attempts if later > attempt)])

    def is_replaced(self, record: Record) -> bool:
        """Whether a later attempt on the same branch trained this step again (after a crash)."""
        branch = self.branches.get(record.get("branch", 0))
        if branch is None or not branch.attempts:
            return False
        step, attempt = record.get("step", 0), record.get("attempt", 0)
        return any(later > attempt and start < step for later, start in branch.attempts)

    # One method per kind of event.

    def _attempt_started(self, event: Record) -> None:
        self.attempt = event["attempt"]
        self.branch = event["branch"]
        begins = event["step"] if event.get("checkpoint") else -1  # without one it starts afresh
        self.branches.setdefault(self.branch, Branch(self.branch)).attempts.append((self.attempt, begins))
        self.policy = event.get("policy", self.policy)
        self.state_dims = list(event["state_dims"])
        if not self.initial_state_dims:
            self.initial_state_dims = list(event["state_dims"])
        self.state, self.reason = "running", ""
        self.attempts_without_checkpoint += 1

    def _run_started(self, event: Record) -> None:
        given = event.get("references")
        given = given if isinstance(given, list) else []
        self.references = [item for item in given if isinstance(item, dict)]
        text = event.get("text")
        self.text = text if isinstance(text, dict) else {}

    def _terminal(self, event: Record) -> None:
        self.state = ENDINGS[event["kind"]]
        self.reason = event.get("reason", "")
        self.finished = event if event["kind"] == "run_finished" else None
        if event.get("command_id"):
            self.commands[event["command_id"]] = CommandOutcome("applied", event["step"])

    def _paused(self, event: Record) -> None:
        self.paused, self.state = True, "paused"

    def _resumed(self, event: Record) -> None:
        self.paused = False
        self.state = "running"

    def _waiting_started(self, event: Record) -> None:
        self.state = "waiting_for_decision"

    def _waiting_ended(self, event: Record) -> None:
        self.state = "paused" if self.paused else "running"

    def _checkpoint_published(self, event: Record) -> None:
        self.attempts_without_checkpoint = 0

    def _proposal_published(self, event: Record) -> None:
        number = event["proposal"]
        self.proposals[number] = ProposalOutcome(
            number,
            event["branch"],
            event["step"],
            event["attempt_step"] if "attempt_step" in event else event["step"],
            state_dims=_whole_numbers(event.get("state_dims")),
            ranks=_whole_numbers(event.get("ranks")),
        )

    def _proposal_superseded(self, event: Record) -> None:
        self._close(event, "superseded")

    def _proposal_expired(self, event: Record) -> None:
        self._close(event, "expired")

    def _decision_accepted(self, event: Record) -> None:
        outcome = self.proposals[event["proposal"]]
        outcome.decision = event
        outcome.state = "approved" if event["verdict"] == "approve" else "rejected"
        if outcome.state == "rejected" and event["by"] == TIMEOUT:
            outcome.state, outcome.reason = "expired", event.get("reason", "")

    def _decision_refused(self, event: Record) -> None:
        self._close(event, "refused")

    def _reduction_applied(self, event: Record) -> None:
        outcome = self.proposals[event["proposal"]]
        outcome.state, outcome.applied = "applied", event
        self.state_dims = list(event["to"])

    def _reduction_judged(self, event: Record) -> None:
        self.proposals[event["proposal"]].judged = event

    def _reduction_refused(self, event: Record) -> None:
        self._close(event, "refused")

    def _reduction_rolled_back(self, event: Record) -> None:
        self._close(event, "rolled_back")

    def _close(self, event: Record, state: str) -> None:
        if event.get("proposal") is None:  # an attempt that came to no proposal
            return
        outcome = self.proposals[event["proposal"]]
        outcome.state, outcome.reason = state, event.get("reason", "")
        outcome.offered_again = event.get("offered_again") is True

    def _branch_started(self, event: Record) -> None:
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
        if event.get("command_id"):
            self.commands[event["command_id"]] = CommandOutcome("applied", event["step"])
        for number in event.get("undone", []):
            outcome = self.proposals[number]
            who = f" by {event['by']}" if event.get("by") else ""
            outcome.state, outcome.reason = "rolled_back", f"to {event['checkpoint']}{who}"
        for outcome in self.proposals.values():
            if outcome.branch != self.branch and outcome.state in ("pending", "approved"):
                outcome.state, outcome.reason = "superseded", f"rolled back to {event['checkpoint']}"
        self.attempts_without_checkpoint = 0

    def _command(self, event: Record) -> None:
        state = event["kind"].removeprefix("command_")
        self.commands[event["command_id"]] = CommandOutcome(
            state, event["step"], event.get("reason", ""), event.get("at_step")
        )

    def _policy_changed(self, event: Record) -> None:
        self.policy = event["policy"]
        self.waiting = event["waiting"]

    def _nothing(self, event: Record) -> None:
        """Known, and changes nothing here."""


_HANDLERS: dict[str, Callable[[History, Record], None]] = {
    "attempt_started": History._attempt_started,
    "run_started": History._run_started,
    **dict.fromkeys(ENDINGS, History._terminal),
    "paused": History._paused,
    "resumed": History._resumed,
    "waiting_started": History._waiting_started,
    "waiting_ended": History._waiting_ended,
    "checkpoint_published": History._checkpoint_published,
    "proposal_published": History._proposal_published,
    "proposal_superseded": History._proposal_superseded,
    "proposal_expired": History._proposal_expired,
    "decision_accepted": History._decision_accepted,
    "decision_refused": History._decision_refused,
    "reduction_applied": History._reduction_applied,
    "reduction_judged": History._reduction_judged,
    "reduction_refused": History._reduction_refused,
    "reduction_rolled_back": History._reduction_rolled_back,
    "branch_started": History._branch_started,
    "command_accepted": History._command,
    "command_applied": History._command,
    "command_refused": History._command,
    "policy_changed": History._policy_changed,
    **dict.fromkeys(
        ("stop_requested", "kernel_chosen", "checkpoint_pruned", "loss_not_finite"),
        History._nothing,
    ),
}


def fold(events: Iterable[Record]) -> History:
    """The history that these events tell."""
    history = History()
    for event in events:
        history.apply(event)
    return history


def read_history(paths: RunPaths) -> History:
    """The history of a run as its events.jsonl tells it now."""
    return fold(read_journal(paths.events)[0])


def _whole_numbers(values: object) -> list[int]:
    return [value for value in values if isinstance(value, int)] if isinstance(values, list) else []
