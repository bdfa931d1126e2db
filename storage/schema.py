"""The records of a run directory as types: a mistyped key is an error of the type checker.

docs/FORMAT.md is the reference. Words of a vocabulary (storage/vocabulary.py) are plain text here, because a
newer writer may use others. A float that was not finite is None. Keys that older records or some families
lack are NotRequired; records from disk become these types in storage/decoding.py alone.
"""

from typing import Any, NotRequired, Required, TypedDict


class Place(TypedDict):
    """Where in its life a run was: of every event, metrics record and spectrum."""

    step: int
    branch: int
    attempt: int


class Scores(TypedDict):
    """What a split of the data gave."""

    loss: float | None
    """Mean cross-entropy, nats."""
    accuracy: float
    bits_per_character: NotRequired[float | None]
    """Of a text."""


class Best(TypedDict):
    """The best validation value on the live path."""

    metric: str
    value: float
    step: int
    bits_per_character: NotRequired[float | None]


class RunRecord(TypedDict):
    """run.json; `hankelboard.storage.runs.Run` says what its keys mean."""

    format_version: int
    t: str
    id: str
    name: str
    created: str
    config: dict[str, Any]
    preset: str
    group: str
    role: str
    series: str
    seed: int
    tags: list[str]
    queued: bool
    by: str
    by_role: NotRequired[str]


class ProcessIdentity(TypedDict):
    """What distinguishes a process from a later one with the same pid."""

    host: str
    pid: int
    process_started_at: str | None
    """Opaque; None where no process has this pid."""


class Status(ProcessIdentity, Place):
    """status.json."""

    t: NotRequired[str]
    beat: int
    """Counts up: a viewer that sees no new one knows nothing of the process."""
    expect_next_s: float
    """Promise of the next beat."""
    state: str
    phase: str
    total_steps: int
    state_dims: list[int]
    steps_per_s: float | None
    eta_s: float | None
    train_s: float
    waiting_s: float
    pending_proposal: int | None
    best: Best | None
    trouble: str | None
    """What cannot be written now."""


class WorkerRecord(ProcessIdentity):
    """.workers/HOST-PID.json."""

    t: str
    beat: int
    expect_next_s: float
    runs: list[str]
    troubles: NotRequired[dict[str, str]]
    """By run: what went wrong when the worker looked at it."""


# Any other scalar of the step stands in the record under its own name, and `state_dim/0`, `state_dim/1`, …
Metrics = TypedDict(
    "Metrics",
    {
        "t": str,
        "step": int,
        "branch": int,
        "attempt": int,
        "elapsed_s": float,
        "train_s": float,
        "train/loss": NotRequired[float | None],
        "val/loss": NotRequired[float | None],
        "val/accuracy": NotRequired[float | None],
        "val/bits_per_character": NotRequired[float | None],
        "lr": NotRequired[float | None],
    },
)


class Spectrum(Place):
    """Importances of the states of one layer at one step."""

    t: NotRequired[str]
    layer: int
    state_dim: int
    importance: str
    hsv: list[float]
    """(N,) descending, six significant digits."""
    snapshot: str


# Events: one type for the keys of all kinds, and one each for what readers take apart.


class Reference(TypedDict):
    """What a run took from another one when it started."""

    key: str
    """The configuration key that names the run."""
    run: str
    state_dims: list[int]
    checkpoint: NotRequired[str]
    train_s: NotRequired[float]
    """Seconds of training that lie behind that checkpoint."""
    cuts: NotRequired[dict[str, list[int]]]
    """Ranks after the cut at each opportunity."""


class Text(TypedDict):
    """Which text a language model reads: token i is character i of the alphabet."""

    alphabet: str
    sha256: str


StateDimsBefore = TypedDict("StateDimsBefore", {"from": list[int]}, total=False)
"""Apart, because `from` is no name of Python."""


class _Fields(StateDimsBefore, total=False):
    # The answer to somebody: what is answered, whose it was, and why not.
    by: str
    by_role: str
    via: str
    reason: str
    command_id: str | None
    command: str
    at_step: int | None
    # Attempts and runs.
    checkpoint: str | None
    state_dims: list[int]
    fault: str
    policy: str
    waiting: str
    device: str
    threads: int
    versions: dict[str, str]
    machine: dict[str, Any]
    references: list[Reference]
    text: Text
    forms: list[str | None]
    best: Best | None
    test: Scores
    train_s: float
    # Checkpoints.
    cause: str
    pinned: bool
    bytes: int
    # Proposals, decisions, cuts.
    proposal: int | None
    attempt_step: int
    ranks: list[int]
    decision_id: str
    verdict: str
    apply_at_step: int
    offered_again: bool
    to: list[int]
    discarded_share: list[float]
    after: Scores
    predicted: Scores | None
    write_back_error: float
    now: float | None
    threshold: float
    kept: bool
    # Branches.
    parent: int | None
    from_step: int
    attempts_consumed: int
    undone: list[int]


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

    t: NotRequired[str]
    kind: Required[str]
    step: Required[int]
    branch: Required[int]
    attempt: Required[int]


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
    full: list[float]
    reduced: list[float]
    error: list[float]


class Stability(TypedDict):
    """What changed since the last snapshot."""

    overlap: float
    """Of the subspace that the cut would keep, 0 to 1."""
    weyl: float
    """Bound on the change of every singular value."""


class LayerFigures(TypedDict, total=False):
    """What the family and the time allowed, at the rank as proposed."""

    gain: float
    error_interval: list[float]
    response: Response
    stability: Stability
    null_ranks: list[int]
    """Ranks that the same rule leaves of untrained layers, one a seed."""


class ProposalLayer(LayerFigures):
    """What every rank of one layer would mean. Lists over r = 0..N unless said otherwise."""

    layer: Required[int]
    name: Required[str]
    state_dim: Required[int]
    """N."""
    importance: Required[str]
    note: NotRequired[str]
    rank: Required[int]
    """As proposed."""
    gated: Required[bool]
    """Not cut: the rule's rank is too close to N."""
    hsv: Required[list[float]]
    """(N,) importances, descending."""
    discarded_share: Required[list[float]]
    error_bound: Required[list[float] | None]
    realisable: Required[list[bool | None]]
    """None: not checked, cannot be chosen."""
    condition: Required[list[float | None]]
    realised_modes: Required[list[int]]
    parameters: Required[list[int]]


class Effects(Scores):
    """What a cut does to validation, measured on a copy. Changes are 95 % intervals."""

    loss_change: NotRequired[list[float]]
    accuracy_change: NotRequired[list[float]]
    kl: NotRequired[float]
    output_error: NotRequired[list[float]]
    """Of each layer, relative."""


class Point(Effects):
    """A cut that was measured."""

    tolerance: float
    ranks: list[int]
    rule: bool
    """The ranks are those proposed."""
    asked: NotRequired[bool]
    """A person asked for them."""
    seconds_per_step: NotRequired[float]
    seconds_per_step_now: NotRequired[float]


class Measured(TypedDict):
    """Validation of copies that were cut."""

    split: str
    samples: int
    seconds: NotRequired[float]
    before: Scores
    points: list[Point]
    left_out: NotRequired[list[str]]
    """What the time did not allow."""


class Badge(TypedDict):
    """Advice on the ranks as proposed."""

    color: str
    reasons: list[str]


class SecondsPerStep(TypedDict):
    now: float
    after: float


class ParameterCounts(TypedDict):
    now: int
    after: int


class Cost(TypedDict):
    """Size and time of a training step, now and at the proposed ranks."""

    seconds_per_step: SecondsPerStep
    parameters: ParameterCounts
    projected_saving_s: NotRequired[float]


class Deadline(TypedDict):
    """When a default decides (0: never), and how."""

    s: float
    steps: int
    default: str


class RankTables(TypedDict):
    """The part of a proposal that sliders read."""

    tolerance: float
    gate: float
    """A layer is cut only to ranks below this share of N."""
    allocation: NotRequired[str]
    """The tolerance of each layer (layer), or of all together (global)."""
    importance: NotRequired[str]
    parameters_elsewhere: int
    layers: list[ProposalLayer]


class Evidence(RankTables):
    """What is measured for a proposal."""

    ranks: list[int]
    measured: Measured
    cost: NotRequired[Cost]
    badge: NotRequired[Badge]


class ProposalFields(Evidence):
    """A proposal before it has a number."""

    branch: int
    attempt: int
    step: int
    attempt_step: NotRequired[int]
    policy: NotRequired[str]
    waiting: NotRequired[str]
    deadline: NotRequired[Deadline | None]


class Proposal(ProposalFields):
    """proposals/N.json."""

    t: str
    proposal: int


class Measurement(TypedDict):
    """What a command measured for a proposal in addition."""

    points: list[Point]
    layers: list[LayerFigures]
    """What is new of each layer."""
    done: list[str]
    """Names that are no longer left out."""


class MeasurementRecord(Measurement):
    """measurements/ID.json."""

    t: NotRequired[str]
    proposal: int


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

    decision_id: str
    proposal: int
    verdict: str
    ranks: list[int] | None
    """Edited ones; None: as proposed."""
    by: str
    by_role: NotRequired[str]
    via: str
    t: str
    reason: str


class CommandRecord(TypedDict):
    """inbox/ID.json; `hankelboard.storage.commands.Command` says what its keys mean."""

    command: str
    by: str
    by_role: NotRequired[str]
    via: str
    t: str
    checkpoint: str | None
    policy: str | None
    waiting: str | None
    at_step: int | None
    reason: str
    proposal: NotRequired[int | None]
    ranks: NotRequired[list[int] | None]


class Note(TypedDict):
    """notes/ID.json."""

    note: str
    value: Any
    """A text, a list of tags, a flag, a checkpoint's name: by kind."""
    by: str
    by_role: NotRequired[str]
    via: str
    t: str


# Checkpoints and analyses.


class FileFacts(TypedDict):
    sha256: str
    bytes: int


class Manifest(Place):
    """checkpoints/X/manifest.json."""

    format_version: int
    t: str
    sequence: int
    cause: str
    pinned: bool
    state_dims: list[int]
    metrics: dict[str, Any]
    """The latest validation before it."""
    reductions: list[int]
    """Numbers of the proposals whose cuts are in these weights."""
    files: dict[str, FileFacts]


class Regret(TypedDict):
    """Of what the final layer carries, the share that the states chosen earlier would miss."""

    tolerance: float
    rank: int
    """That the last spectrum leaves at the tolerance."""
    regret: list[float]
    """At each snapshot."""
    random: list[float]
    """Of states chosen by chance, one value a seed."""


class Between(TypedDict):
    """What changed from one snapshot to the next."""

    since: int
    step: int
    overlap: float
    drift: float
    weyl: float
    order: float | None


class AnalysedLayer(TypedDict):
    layer: int
    state_dim: int
    steps: list[int]
    regret: list[Regret]
    between: list[Between]


class Analysis(TypedDict):
    """analyses/ID.json."""

    t: NotRequired[str]
    until_step: int
    provisional: bool
    left_out_before_cut: int
    branch: int
    layers: list[AnalysedLayer]
