"""The records of a run directory as types: a mistyped key is an error of the type checker.

docs/FORMAT.md is the reference. Words of a vocabulary (storage/vocabulary.py) are plain text here, because a
newer writer may use others: the vocabulary is noted on the key, `verify --strict` compares. A float that was
not finite is None. Keys that readers can do without are NotRequired: older records or some families lack
them; SHOULD marks those that a good writer writes. Records from disk become these types in
storage/decoding.py alone, which makes its checks of them (storage/shapes.py): what does not fit is damaged.
"""

from typing import Annotated, Any, NotRequired, Required, TypedDict

from hankelboard.storage.layout import MAX_STEP
from hankelboard.storage.shapes import SHOULD, Range
from hankelboard.storage.vocabulary import (
    BadgeColor,
    Better,
    ByRole,
    Cause,
    CommandKind,
    EventKind,
    Fault,
    NoteKind,
    Phase,
    Policy,
    Role,
    RunState,
    SnapshotCause,
    Verdict,
    Waiting,
)

Step = Annotated[int, Range(0, MAX_STEP)]
"""Updates so far."""
Number = Annotated[int, Range(0, 999_999)]
"""Of a branch or an attempt, from 0."""
Proposed = Annotated[int, Range(0, 999_999_999)]
"""The number of a proposal."""
Count = Annotated[int, Range(0, 1_000_000_000_000)]
States = Annotated[int, Range(0, 1_000_000_000)]
"""State dimension of a layer."""
Seconds = Annotated[float, Range(0, 1_000_000_000_000)]
Time = Annotated[str, SHOULD]
"""UTC, ISO 8601, Z. For people: no reader depends on it."""


class Place(TypedDict):
    """Where in its life a run was: of every event, metrics record and spectrum."""

    step: Step
    branch: Number
    attempt: Number


class Scores(TypedDict):
    """What a split of the data gave."""

    loss: NotRequired[float | None]
    """Mean cross-entropy, nats. It and the accuracy are left out where nothing was scored."""
    accuracy: NotRequired[float]
    bits_per_character: NotRequired[float | None]
    """Of a text."""


class Best(TypedDict):
    """The best validation value on the live path."""

    metric: str
    value: float
    step: Step
    bits_per_character: NotRequired[float | None]


class Primary(TypedDict):
    """What the best step and the best checkpoint of a run go by."""

    metric: str
    """A key of its metrics."""
    better: Annotated[str, Better]


class RunConfig(TypedDict, total=False):
    """Sections of a configuration that readers look into."""

    model: dict[str, Any]
    data: dict[str, Any]
    training: dict[str, Any]
    reduction: dict[str, Any]
    start: dict[str, Any]
    distillation: dict[str, Any]
    regularisation: dict[str, Any]
    output: dict[str, Any]


class RunRecord(TypedDict):
    """run.json; `hankelboard.storage.runs.Run` says what its keys mean."""

    format_version: NotRequired[Annotated[int, Range(1, 1_000_000), SHOULD]]
    t: NotRequired[Time]
    id: NotRequired[Annotated[str, SHOULD]]
    name: NotRequired[Annotated[str, SHOULD]]
    created: NotRequired[Annotated[str, SHOULD]]
    config: dict[str, Any]
    preset: NotRequired[str]
    group: NotRequired[str]
    role: NotRequired[Annotated[str, Role]]
    series: NotRequired[str]
    seed: NotRequired[int]
    tags: NotRequired[list[str]]
    queued: NotRequired[bool]
    by: NotRequired[str]
    by_role: NotRequired[Annotated[str, ByRole]]
    attached: NotRequired[bool]
    """The loop is another program's: no worker starts it."""
    primary: NotRequired[Primary]


class ProcessIdentity(TypedDict):
    """What distinguishes a process from a later one with the same pid."""

    host: NotRequired[Annotated[str | None, SHOULD]]
    pid: NotRequired[Annotated[int | None, Range(0, 2_147_483_647), SHOULD]]
    process_started_at: NotRequired[Annotated[str | None, SHOULD]]
    """Opaque; None where no process has this pid."""
    pid_namespace: NotRequired[int | None]
    """In which pids mean the same; None where there are none."""


class Status(ProcessIdentity):
    """status.json."""

    step: NotRequired[Annotated[Step, SHOULD]]
    branch: NotRequired[Annotated[Number, SHOULD]]
    attempt: NotRequired[Annotated[Number, SHOULD]]
    t: NotRequired[Time]
    beat: Count
    """Counts up: a viewer that sees no new one knows nothing of the process."""
    expect_next_s: NotRequired[Annotated[Seconds, SHOULD]]
    """Promise of the next beat."""
    state: Annotated[str, RunState]
    phase: NotRequired[Annotated[str, Phase, SHOULD]]
    total_steps: NotRequired[Annotated[Step, SHOULD]]
    state_dims: NotRequired[Annotated[list[States], SHOULD]]
    steps_per_s: NotRequired[float | None]
    eta_s: NotRequired[float | None]
    train_s: NotRequired[Annotated[Seconds, SHOULD]]
    waiting_s: NotRequired[Seconds]
    cutting_s: NotRequired[Seconds]
    """Spent on cuts on the live path: evidence, their spectra, checkpoints and validations."""
    energy_j: NotRequired[Annotated[float, Range(0, 1_000_000_000_000_000)] | None]
    """Joules of training on the live path, where the machine says them."""
    pending_proposal: NotRequired[Proposed | None]
    best: NotRequired[Best | None]
    trouble: NotRequired[str | None]
    """What cannot be written now."""


class AttemptRecord(ProcessIdentity):
    """attempts/N.json: which process began attempt N."""

    format_version: NotRequired[Annotated[int, Range(1, 1_000_000), SHOULD]]
    t: NotRequired[Time]
    attempt: Number
    nonce: NotRequired[Annotated[str, SHOULD]]
    """By which the process knows its own claim again."""


class WorkerRecord(ProcessIdentity):
    """.workers/HOST-PID.json."""

    t: NotRequired[Time]
    beat: Count
    expect_next_s: NotRequired[Annotated[Seconds, SHOULD]]
    runs: list[str]
    troubles: NotRequired[dict[str, str]]
    """By run: what went wrong when the worker looked at it."""


# Any other scalar of the step stands in the record under its own name, and `state_dim/0`, `state_dim/1`, …
Metrics = TypedDict(
    "Metrics",
    {
        "t": NotRequired[Time],
        "step": Step,
        "branch": Number,
        "attempt": Number,
        "elapsed_s": NotRequired[Annotated[Seconds, SHOULD]],
        "train_s": NotRequired[Annotated[Seconds, SHOULD]],
        "train/loss": NotRequired[float | None],
        "val/loss": NotRequired[float | None],
        "val/accuracy": NotRequired[float | None],
        "val/bits_per_character": NotRequired[float | None],
        "lr": NotRequired[float | None],
    },
)


class Spectrum(Place):
    """Importances of the states of one layer at one step."""

    t: NotRequired[Time]
    layer: Number
    state_dim: Annotated[int, Range(1, 1_000_000_000)]
    """N."""
    importance: NotRequired[Annotated[str, SHOULD]]
    hsv: list[float | None]
    """(N,) descending, six significant digits."""
    snapshot: NotRequired[Annotated[str, SnapshotCause, SHOULD]]


# Events: one type for the keys of all kinds, and one each for what readers take apart.


class Reference(TypedDict):
    """What a run took from another one when it started."""

    key: str
    """The configuration key that names the run."""
    run: str
    state_dims: list[States]
    checkpoint: NotRequired[str]
    train_s: NotRequired[Seconds]
    """Seconds of training that lie behind that checkpoint."""
    cuts: NotRequired[dict[str, list[States]]]
    """Ranks after the cut at each opportunity."""


class Text(TypedDict):
    """Which text a language model reads: token i is character i of the alphabet."""

    alphabet: str
    sha256: str


class Fingerprints(TypedDict):
    """SHA-256 of what an attempt learned from and of the user's own sources."""

    data: dict[str, str]
    """By split: train, val, test."""
    sources: dict[str, dict[str, str]]
    """By configuration key that names own code, by file."""


class SecondsPerStep(TypedDict):
    """Of training, measured in turns: of a model before a cut and after it."""

    now: float
    after: float


StateDimsBefore = TypedDict("StateDimsBefore", {"from": list[States]}, total=False)
"""Apart, because `from` is no name of Python."""


class _Fields(StateDimsBefore, total=False):
    # The answer to somebody: what is answered, whose it was, and why not.
    by: str
    by_role: Annotated[str, ByRole]
    via: str
    reason: str
    command_id: str | None
    command: Annotated[str, CommandKind]
    at_step: Step | None
    # Attempts and runs.
    checkpoint: str | None
    state_dims: list[States]
    fault: Annotated[str, Fault]
    policy: Annotated[str, Policy]
    waiting: Annotated[str, Waiting]
    device: str
    threads: Count
    versions: dict[str, str]
    machine: dict[str, Any]
    fingerprints: Fingerprints
    data_seed: int
    changes: list[str]
    references: list[Reference]
    text: Text
    forms: list[str | None]
    scan: str
    compiler: str
    best: Best | None
    test: Scores
    train_s: Seconds
    cutting_s: Seconds
    # Checkpoints.
    cause: Annotated[str, Cause]
    pinned: bool
    bytes: Count
    # Proposals, decisions, cuts.
    proposal: Proposed | None
    attempt_step: Step
    ranks: list[States] | None
    decision_id: str
    verdict: Annotated[str, Verdict]
    apply_at_step: Step
    offered_again: bool
    to: list[States]
    discarded_share: list[float]
    after: Scores
    predicted: Scores | None
    write_back_error: float | None
    seconds_per_step: SecondsPerStep
    now: float | None
    threshold: float
    kept: bool
    # Branches.
    parent: Number | None
    from_step: Step
    attempts_consumed: int
    undone: list[Proposed]


class Whose(TypedDict):
    """Who asked for something: a name, and what stands behind it (`ByRole`)."""

    by: str
    by_role: str


class CommandAnswered(Whose):
    """Which command an event answers, and whose it was."""

    command_id: str
    command: str


class EventFields(_Fields, total=False):
    """What a writer adds to kind, time and place."""

    before: Scores | float | None


class Event(_Fields):
    """A line of events.jsonl. Which keys a kind has: docs/FORMAT.md."""

    t: NotRequired[Time]
    kind: Required[Annotated[str, EventKind]]
    step: Required[Step]
    branch: Required[Number]
    attempt: Required[Number]


class UnknownEvent(Place):
    """A line of events.jsonl of a kind that a newer writer knows: what is asked of every event."""

    t: NotRequired[Time]
    kind: str


class ReductionApplied(Event, total=False):
    """A cut: state dimensions `from` and `to`, validation before and right after it."""

    before: Scores


class ReductionJudged(Event, total=False):
    """The end of a trial: validation accuracy before the cut and `now`."""

    before: Required[float | None]


# A proposal.


class Response(TypedDict):
    """Gain of a layer at each frequency: as it is, cut, and of the difference."""

    omega: list[float]
    full: list[float | None]
    reduced: list[float | None]
    error: list[float | None]


class Stability(TypedDict):
    """What changed since the last snapshot."""

    overlap: float | None
    """Of the subspace that the cut would keep, 0 to 1."""
    overlap_random: NotRequired[float]
    """What two subspaces of this dimension drawn by lot would have."""
    weyl: float | None
    """Bound on the change of every singular value."""


class LayerError(TypedDict):
    """Measured relative error of a layer's output, by rank.

    Only this layer is cut, and it is fed what the uncut network gives it.
    """

    split: str
    """Sequences that it was measured on."""
    sequences: Count
    relative_to: str
    """The output (y), or what of it comes from states (y - D*u)."""
    ranks: list[States]
    """Ascending, below N; what is not among them was not measured."""
    errors: list[float | None]
    """None: the states give no output, or the error is not finite."""


class LayerFigures(TypedDict, total=False):
    """What the family and the time allowed, at the rank as proposed."""

    output_error: LayerError

    gain: float | None
    error_interval: list[float | None] | None
    response: Response | None
    stability: Stability | None
    null_ranks: list[States]
    """Ranks that the same rule leaves of untrained layers, one a seed."""


class ProposalLayer(LayerFigures):
    """What every rank of one layer would mean. Lists over r = 0..N unless said otherwise."""

    layer: Required[Number]
    name: Required[str]
    state_dim: Required[Annotated[int, Range(1, 1_000_000_000)]]
    """N."""
    importance: Required[str]
    note: NotRequired[str]
    rank: Required[States]
    """As proposed."""
    allowed_ranks: NotRequired[list[States]]
    """Those that may be chosen; without it all that are realisable."""
    gated: Required[bool]
    """Not cut: the rule's rank is too close to N."""
    hsv: Required[list[float]]
    """(N,) importances, descending."""
    discarded_share: Required[list[float]]
    error_bound: Required[list[float] | None]
    realisable: Required[list[bool | None]]
    """None: not checked, cannot be chosen."""
    condition: Required[list[float | None]]
    realised_modes: Required[list[Count]]
    parameters: Required[list[Count]]


class Effects(Scores):
    """What a cut does to validation, measured on a copy. Changes are 95 % intervals."""

    loss_change: NotRequired[list[float | None]]
    accuracy_change: NotRequired[list[float | None]]
    kl: NotRequired[float | None]
    output_error: NotRequired[list[float | None]]
    """Of each layer at these ranks, measured as `output_error` of the layers."""


class Point(Effects):
    """A cut that was measured."""

    tolerance: float
    ranks: list[States]
    rule: bool
    """The ranks are those proposed."""
    asked: NotRequired[bool]
    """A person asked for them."""
    seconds_per_step: NotRequired[float]
    seconds_per_step_now: NotRequired[float]


class Measured(TypedDict):
    """Validation of copies that were cut."""

    split: str
    samples: Count
    seconds: NotRequired[float]
    before: Scores
    points: list[Point]
    left_out: NotRequired[list[str]]
    """What the time did not allow."""


class Badge(TypedDict):
    """Advice on the ranks as proposed."""

    color: Annotated[str, BadgeColor]
    reasons: list[str]
    amber_from: NotRequired[float]
    """Relative error of a layer's output from which on the colour is amber."""
    red_above: NotRequired[float]
    """The same above which it is red."""


class ParameterCounts(TypedDict):
    now: Count
    after: Count


class Cost(TypedDict):
    """Size and time of a training step, now and at the proposed ranks."""

    seconds_per_step: SecondsPerStep
    parameters: ParameterCounts
    projected_saving_s: NotRequired[float]


class Deadline(TypedDict):
    """When a default decides (0: never), and how."""

    s: Seconds
    steps: Step
    default: Annotated[str, Verdict]


class RankTables(TypedDict):
    """The part of a proposal that sliders read."""

    tolerance: Annotated[float, Range(0, 1)]
    """Below 1."""
    gate: float
    """A layer is cut only to ranks below this share of N."""
    allocation: NotRequired[str]
    """The tolerance of each layer (layer), or of all together (global)."""
    importance: NotRequired[str]
    parameters_elsewhere: Count
    layers: list[ProposalLayer]


class Evidence(RankTables):
    """What is measured for a proposal."""

    ranks: list[States]
    measured: Measured
    cost: NotRequired[Cost]
    badge: NotRequired[Badge]


class ProposalFields(Evidence):
    """A proposal before it has a number."""

    branch: Number
    attempt: Number
    step: Step
    attempt_step: NotRequired[Step]
    policy: NotRequired[Annotated[str, Policy]]
    waiting: NotRequired[Annotated[str, Waiting]]
    deadline: NotRequired[Deadline | None]


class Proposal(ProposalFields):
    """proposals/N.json."""

    t: NotRequired[Time]
    proposal: Proposed


class Waited(TypedDict):
    """proposals/N.waited.json: what a deadline counts, kept while no process does."""

    t: NotRequired[Time]
    proposal: Proposed
    waited_s: Seconds


class Measurement(TypedDict):
    """What a command measured for a proposal in addition."""

    points: list[Point]
    layers: list[LayerFigures]
    """What is new of each layer."""
    done: list[str]
    """Names that are no longer left out."""


class MeasurementRecord(Measurement):
    """measurements/ID.json."""

    t: NotRequired[Time]
    proposal: Proposed


class WhatIf(TypedDict):
    """What a proposal's recorded lists say about some ranks."""

    ranks: list[int]
    discarded_share: list[float]
    error_bound: list[float | None]
    parameters: int
    measured: Point | None
    cuts: bool


# What people write.


class DecisionRecord(TypedDict):
    """decisions/N.json."""

    decision_id: NotRequired[Annotated[str, SHOULD]]
    proposal: NotRequired[Annotated[Proposed, SHOULD]]
    verdict: Annotated[str, Verdict]
    ranks: NotRequired[list[int] | None]
    """Edited ones; None: as proposed."""
    by: NotRequired[Annotated[str, SHOULD]]
    by_role: NotRequired[Annotated[str, ByRole]]
    via: NotRequired[str]
    t: NotRequired[Time]
    reason: NotRequired[str]


class CommandRecord(TypedDict):
    """inbox/ID.json; `hankelboard.storage.commands.Command` says what its keys mean."""

    command: Annotated[str, CommandKind]
    by: NotRequired[Annotated[str, SHOULD]]
    by_role: NotRequired[Annotated[str, ByRole]]
    via: NotRequired[str]
    t: NotRequired[Time]
    checkpoint: NotRequired[str | None]
    policy: NotRequired[Annotated[str | None, Policy]]
    waiting: NotRequired[Annotated[str | None, Waiting]]
    at_step: NotRequired[Step | None]
    reason: NotRequired[str]
    proposal: NotRequired[Proposed | None]
    ranks: NotRequired[list[int] | None]
    accept_changes: NotRequired[bool]


class Note(TypedDict):
    """notes/ID.json."""

    note: Annotated[str, NoteKind]
    value: Any
    """A text, a list of tags, a flag, a checkpoint's name: by kind."""
    by: NotRequired[Annotated[str, SHOULD]]
    by_role: NotRequired[Annotated[str, ByRole]]
    via: NotRequired[str]
    t: NotRequired[Time]


# Checkpoints and analyses.


class FileFacts(TypedDict):
    sha256: str
    bytes: Count


class Manifest(TypedDict):
    """checkpoints/X/manifest.json."""

    step: NotRequired[Annotated[Step, SHOULD]]
    branch: NotRequired[Annotated[Number, SHOULD]]
    attempt: NotRequired[Annotated[Number, SHOULD]]
    format_version: NotRequired[Annotated[int, Range(1, 1_000_000), SHOULD]]
    t: NotRequired[Time]
    sequence: NotRequired[Annotated[Count, SHOULD]]
    cause: NotRequired[Annotated[str, Cause, SHOULD]]
    pinned: NotRequired[bool]
    state_dims: NotRequired[Annotated[list[States], SHOULD]]
    metrics: NotRequired[dict[str, float | None]]
    """The latest validation before it."""
    reductions: NotRequired[list[Proposed]]
    """Numbers of the proposals whose cuts are in these weights."""
    files: dict[str, FileFacts]


class Regret(TypedDict):
    """Of what the final layer carries, the share that the states chosen earlier would miss."""

    tolerance: float
    rank: States
    """That the last spectrum leaves at the tolerance."""
    regret: list[float]
    """Of the subspace chosen at each snapshot: its orthogonal projector."""
    cut_regret: NotRequired[list[float]]
    """Of the cut at each snapshot: its oblique projector V Wᴴ."""
    random: list[float]
    """Of states drawn by lot: the expected value, or one value a seed in older records."""
    knee: NotRequired[Step | None]
    """First snapshot from which on the regret of the cut stays below a tenth of the tolerance."""


class Between(TypedDict):
    """What changed from one snapshot to the next."""

    since: Step
    step: Step
    overlap: float
    overlap_start: NotRequired[float]
    """With the first snapshot instead of the one before."""
    overlap_random: NotRequired[float]
    """Expected of two subspaces drawn by lot."""
    drift: float
    weyl: float
    order: float | None
    order_start: NotRequired[float | None]
    """With the first snapshot instead of the one before; an order drawn by lot has 0."""


class AnalysedLayer(TypedDict):
    layer: Number
    state_dim: States
    steps: list[Step]
    regret: list[Regret]
    between: list[Between]


class Analysis(TypedDict):
    """analyses/ID.json."""

    t: NotRequired[Time]
    until_step: Step
    provisional: bool
    left_out_before_cut: Count
    branch: Number
    layers: list[AnalysedLayer]


EVENT_TYPES: dict[str, Any] = {
    EventKind.REDUCTION_APPLIED: ReductionApplied,
    EventKind.REDUCTION_JUDGED: ReductionJudged,
}
"""Types of those kinds that have one of their own."""
_ANSWER = ("command_id",)
_NAMED = ("command", "by", "by_role")
EVENT_KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    EventKind.ATTEMPT_STARTED: (
        ("state_dims",),
        ("checkpoint", "policy", "device", "threads", "versions", "machine", "fingerprints", "data_seed"),
    ),
    EventKind.ATTEMPT_ENDED: ((), ("reason", "fault", *_ANSWER)),
    EventKind.RUN_STARTED: ((), ("references", "text")),
    EventKind.RUN_FINISHED: ((), ("best", "test", "train_s", "cutting_s")),
    EventKind.RUN_STOPPED: ((), ("reason", *_ANSWER)),
    EventKind.RUN_FAILED: ((), ("reason",)),
    EventKind.RUN_CANCELLED: ((), ("reason", *_ANSWER)),
    EventKind.RUN_RELEASED: ((), ("proposal",)),
    EventKind.STOP_REQUESTED: ((), ("by", "by_role", *_ANSWER)),
    EventKind.PAUSED: ((), ("by", "by_role", *_ANSWER)),
    EventKind.RESUMED: ((), ("by", "by_role", *_ANSWER)),
    EventKind.WAITING_STARTED: ((), ("proposal",)),
    EventKind.WAITING_ENDED: ((), ("proposal",)),
    EventKind.CHECKPOINT_PUBLISHED: (("checkpoint",), ("cause", "pinned")),
    EventKind.CHECKPOINT_PRUNED: (("checkpoint",), ("bytes",)),
    EventKind.PROPOSAL_PUBLISHED: (("proposal",), ("attempt_step", "state_dims", "ranks")),
    EventKind.PROPOSAL_SUPERSEDED: (("proposal",), ("reason",)),
    EventKind.PROPOSAL_EXPIRED: (("proposal",), ("reason",)),
    EventKind.DECISION_ACCEPTED: (
        ("proposal", "verdict", "by"), ("decision_id", "ranks", "by_role", "via", "reason", "apply_at_step"),
    ),
    EventKind.DECISION_REFUSED: (("proposal",), ("decision_id", "reason", "offered_again")),
    EventKind.REDUCTION_APPLIED: (
        ("proposal", "to"),
        ("from", "discarded_share", "before", "after", "predicted", "write_back_error", "checkpoint",
         "seconds_per_step", "train_s"),
    ),
    EventKind.REDUCTION_REFUSED: ((), ("proposal", "attempt_step", "reason", "offered_again")),
    EventKind.REDUCTION_JUDGED: (("proposal", "before"), ("now", "threshold", "kept")),
    EventKind.REDUCTION_ROLLED_BACK: (("proposal",), ("reason",)),
    EventKind.BRANCH_STARTED: (
        ("parent", "from_step", "checkpoint", "policy", "state_dims"),
        ("by", "by_role", "attempts_consumed", "undone", *_ANSWER),
    ),
    EventKind.COMMAND_ACCEPTED: (_ANSWER, (*_NAMED, "at_step")),
    EventKind.COMMAND_APPLIED: (_ANSWER, _NAMED),
    EventKind.COMMAND_REFUSED: (_ANSWER, (*_NAMED, "reason")),
    EventKind.POLICY_CHANGED: (("policy", "waiting"), ("by", "by_role", *_ANSWER)),
    EventKind.KERNEL_CHOSEN: ((), ("forms", "scan", "compiler", "reason")),
    EventKind.LOSS_NOT_FINITE: ((), ()),
    EventKind.RESUME_REFUSED: (("reason",), ()),
    EventKind.CHANGES_ACCEPTED: (("changes",), ("command_id", *_NAMED)),
    EventKind.CHANGES_NOTICED: (("changes",), ()),
    EventKind.TROUBLE_BEGAN: ((), ("reason",)),
    EventKind.TROUBLE_ENDED: ((), ()),
}  # fmt: skip
"""Of each kind: the keys without which an event of it is damaged, and those that it may have beside them."""
