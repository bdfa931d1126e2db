"""The words of the format: every value that a key of a record may hold where only some are allowed.

A member is the plain text that stands on disk (`RunState.FAILED == "failed"`), and is written as such.
Records from disk hold plain text: a newer writer may use a word that is not here, so readers compare and
never convert. docs/FORMAT.md lists them; people read those of app/words.
"""

from enum import StrEnum


def values(vocabulary: type[StrEnum]) -> tuple[str, ...]:
    """Return the values of a vocabulary as plain text, in order.

    >>> values(Verdict)
    ('approve', 'reject')
    """
    return tuple(word.value for word in vocabulary)


class RunState(StrEnum):
    """What a run does. The last four are a viewer's judgement and never on disk."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    WAITING_FOR_DECISION = "waiting_for_decision"
    STOPPING = "stopping"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    RELEASED = "released"
    DEAD = "dead"
    STALE = "stale"
    UNKNOWN = "unknown"
    UNREADABLE = "unreadable"


ENDED = (RunState.FINISHED, RunState.STOPPED, RunState.FAILED, RunState.CANCELLED, RunState.INTERRUPTED)
"""States in which no process is expected to train."""


class Phase(StrEnum):
    """What a trainer is busy with: how long it may be silent."""

    TRAINING = "training"
    EVALUATING = "evaluating"
    MEASURING = "measuring"
    CHECKPOINTING = "checkpointing"
    RESTORING = "restoring"


class EventKind(StrEnum):
    """What happened to a run. A kind that `History` has no method for is known and changes no state.

    A new kind is a member here, its words in app/words/events.py and a line in docs/FORMAT.md; one that
    charts mark belongs into INTERVENTIONS and into app/data/interventions.py, too.
    """

    ATTEMPT_STARTED = "attempt_started"
    ATTEMPT_ENDED = "attempt_ended"
    RUN_STARTED = "run_started"
    RUN_FINISHED = "run_finished"
    RUN_STOPPED = "run_stopped"
    RUN_FAILED = "run_failed"
    RUN_CANCELLED = "run_cancelled"
    STOP_REQUESTED = "stop_requested"
    PAUSED = "paused"
    RESUMED = "resumed"
    WAITING_STARTED = "waiting_started"
    WAITING_ENDED = "waiting_ended"
    CHECKPOINT_PUBLISHED = "checkpoint_published"
    CHECKPOINT_PRUNED = "checkpoint_pruned"
    PROPOSAL_PUBLISHED = "proposal_published"
    PROPOSAL_SUPERSEDED = "proposal_superseded"
    PROPOSAL_EXPIRED = "proposal_expired"
    DECISION_ACCEPTED = "decision_accepted"
    DECISION_REFUSED = "decision_refused"
    REDUCTION_APPLIED = "reduction_applied"
    REDUCTION_REFUSED = "reduction_refused"
    REDUCTION_JUDGED = "reduction_judged"
    REDUCTION_ROLLED_BACK = "reduction_rolled_back"
    BRANCH_STARTED = "branch_started"
    COMMAND_ACCEPTED = "command_accepted"
    COMMAND_APPLIED = "command_applied"
    COMMAND_REFUSED = "command_refused"
    POLICY_CHANGED = "policy_changed"
    KERNEL_CHOSEN = "kernel_chosen"
    LOSS_NOT_FINITE = "loss_not_finite"
    RUN_RELEASED = "run_released"
    RESUME_REFUSED = "resume_refused"
    CHANGES_ACCEPTED = "changes_accepted"
    CHANGES_NOTICED = "changes_noticed"
    TROUBLE_BEGAN = "trouble_began"
    TROUBLE_ENDED = "trouble_ended"


INTERVENTIONS = frozenset({
    EventKind.PROPOSAL_PUBLISHED, EventKind.DECISION_ACCEPTED, EventKind.REDUCTION_APPLIED,
    EventKind.REDUCTION_REFUSED, EventKind.REDUCTION_JUDGED, EventKind.BRANCH_STARTED, EventKind.PAUSED,
    EventKind.RESUMED, EventKind.POLICY_CHANGED, EventKind.LOSS_NOT_FINITE,
})  # fmt: skip
"""Kinds that charts mark on the step axis."""


class ProposalState(StrEnum):
    """What became of a proposal."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    APPLIED = "applied"
    REFUSED = "refused"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    ROLLED_BACK = "rolled_back"


class Verdict(StrEnum):
    """What somebody decides on a proposal."""

    APPROVE = "approve"
    REJECT = "reject"


class Policy(StrEnum):
    """Who decides on proposals: a person, the rule, a trial of a fixed share, or nobody."""

    ASK = "ask"
    AUTO = "auto"
    PRAGMATIC = "pragmatic"
    KEEP = "keep"


class Waiting(StrEnum):
    """What training does while a person decides."""

    PAUSE = "pause"
    TRAIN = "train"


class BadgeColor(StrEnum):
    """What a proposal's badge advises."""

    GREEN = "green"
    AMBER = "amber"
    RED = "red"


class CommandKind(StrEnum):
    """What people ask of a run. `stop` saves and ends; `kill` ends without saving."""

    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    KILL = "kill"
    CHECKPOINT = "checkpoint"
    ROLLBACK = "rollback"
    POLICY = "policy"
    MEASURE = "measure"


class CommandState(StrEnum):
    """What became of a command. `requested`: no event answers it yet."""

    REQUESTED = "requested"
    ACCEPTED = "accepted"
    APPLIED = "applied"
    REFUSED = "refused"


class NoteKind(StrEnum):
    """What people attach to a run."""

    TEXT = "text"
    RENAME = "rename"
    TAG = "tag"
    ARCHIVE = "archive"
    PIN = "pin"
    BASELINE = "baseline"


POLICY_PREFIX = "policy:"
"""How `by` begins where a policy decided."""


class ByRole(StrEnum):
    """What stands behind the name in `by`: the key `by_role`. Empty: a policy, or a record from before."""

    OWNER = "owner"
    """The owner's token of the dashboard."""
    OPERATOR = "operator"
    """A token that the owner made, of this name."""
    ACCOUNT = "account"
    """The command line, by the login name of the account that ran it."""
    SAID = "said"
    """The command line, by a name that was given to it: nothing proves it."""


class Cause(StrEnum):
    """Why a checkpoint was written."""

    START = "start"
    SCHEDULED = "scheduled"
    BEFORE_REDUCTION = "before_reduction"
    AFTER_REDUCTION = "after_reduction"
    COMMAND = "command"
    STOP = "stop"
    FINISH = "finish"
    BRANCH = "branch"


class Fault(StrEnum):
    """Whose fault it was that a process ended without a word: the key `fault` of attempt_ended."""

    OWN = "own"
    OUTSIDE = "outside"


class SnapshotCause(StrEnum):
    """Why a spectrum was recorded: the key `snapshot`."""

    SCHEDULED = "scheduled"
    PROPOSAL = "proposal"
    AFTER_REDUCTION = "after_reduction"


class Better(StrEnum):
    """Which values of a run's primary metric are better."""

    HIGHER = "higher"
    LOWER = "lower"


class Role(StrEnum):
    """What a run is for in its group."""

    BASELINE = "baseline"
    COMPRESSED = "compressed"
    SCRATCH = "scratch"
    DISTILLED = "distilled"
    REGULARISED = "regularised"
    POST_TRAINING = "post-training"
    ABLATION = "ablation"
