"""Words and figures for people: states, events, numbers with units. Plain functions, no Streamlit.

Whatever comes from files passes through `plain` before it reaches an element that reads Markdown.
"""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any, Literal, TypeGuard
from zoneinfo import ZoneInfo

from hankelboard.storage import figures
from hankelboard.storage.schema import Best
from hankelboard.storage.scores import PRIMARY_METRIC, bits_in_words
from hankelboard.storage.summary import SummaryRow
from hankelboard.storage.vocabulary import (
    POLICY_PREFIX,
    BadgeColor,
    ByRole,
    Cause,
    CommandKind,
    Phase,
    Policy,
    ProposalState,
    Role,
    RunState,
    Verdict,
    Waiting,
)

Color = Literal["red", "orange", "blue", "green", "gray"]
Label = tuple[str, str, Color]
"""Words, icon of Material Symbols, colour of a badge."""

READ_ONLY = "This folder of runs is read-only here: runs can be looked at, but not decided on or started."
NOT_QUEUED: Label = ("not queued", "schedule", "gray")
HELD: Label = ("waits for you", "front_hand", "orange")
NOT_ADOPTED: Label = ("not adopted", "move_to_inbox", "gray")
WORKER_HINT = "No worker is running: start one with `hankelboard worker`."

BY_ROLES: dict[str, str] = {
    ByRole.OWNER: "owner",
    ByRole.OPERATOR: "operator",
    ByRole.ACCOUNT: "command line",
    ByRole.SAID: "unproven",
}
"""What stands behind a name."""

STATES: dict[str, Label] = {
    RunState.QUEUED: ("queued", "schedule", "gray"),
    RunState.STARTING: ("starting", "hourglass_top", "blue"),
    RunState.RUNNING: ("running", "play_arrow", "green"),
    RunState.PAUSED: ("paused", "pause", "orange"),
    RunState.WAITING_FOR_DECISION: ("waiting for you", "gavel", "orange"),
    RunState.STOPPING: ("stopping", "save", "orange"),
    RunState.FINISHED: ("finished", "check_circle", "blue"),
    RunState.STOPPED: ("stopped", "stop_circle", "gray"),
    RunState.FAILED: ("failed", "error", "red"),
    RunState.CANCELLED: ("cancelled", "cancel", "gray"),
    RunState.INTERRUPTED: ("interrupted", "power_off", "orange"),
    RunState.RELEASED: ("released: waits for a decision", "gavel", "orange"),
    RunState.DEAD: ("process gone", "link_off", "red"),
    RunState.STALE: ("no sign of life", "signal_disconnected", "orange"),
    RunState.UNKNOWN: ("unknown", "help", "gray"),
    RunState.UNREADABLE: ("unreadable", "broken_image", "red"),
}
PHASES: dict[str, str] = {
    Phase.TRAINING: "training",
    Phase.EVALUATING: "evaluating on the validation data",
    Phase.MEASURING: "measuring what a cut would do",
    Phase.CHECKPOINTING: "writing a checkpoint",
    Phase.RESTORING: "restoring a checkpoint",
}
OUTCOMES: dict[str, Label] = {  # of a proposal
    ProposalState.PENDING: ("waiting for a decision", "gavel", "orange"),
    ProposalState.APPROVED: ("approved, not applied yet", "hourglass_top", "blue"),
    ProposalState.REJECTED: ("rejected", "block", "gray"),
    ProposalState.APPLIED: ("applied", "content_cut", "green"),
    ProposalState.REFUSED: ("refused by the trainer", "error", "red"),
    ProposalState.EXPIRED: ("expired", "timer_off", "gray"),
    ProposalState.SUPERSEDED: ("superseded", "layers_clear", "gray"),
    ProposalState.ROLLED_BACK: ("rolled back", "undo", "gray"),
}
BADGES: dict[str, Label] = {  # of a proposal, by colour
    BadgeColor.GREEN: ("nothing speaks against it", "check_circle", "green"),
    BadgeColor.AMBER: ("look twice", "warning", "orange"),
    BadgeColor.RED: ("do not cut like this", "dangerous", "red"),
}
CAUSES: dict[str, str] = {  # of a checkpoint
    Cause.START: "start of training",
    Cause.SCHEDULED: "on schedule",
    Cause.BEFORE_REDUCTION: "before a cut",
    Cause.AFTER_REDUCTION: "after a cut",
    Cause.COMMAND: "asked for",
    Cause.STOP: "stop",
    Cause.FINISH: "end of training",
    Cause.BRANCH: "start of a branch",
}
POLICIES: dict[str, str] = {
    Policy.ASK: "ask: a person decides on every proposal",
    Policy.AUTO: "auto: the rule approves every proposal",
    Policy.PRAGMATIC: "pragmatic: a fixed share is cut each time, and undone when validation falls too far",
    Policy.KEEP: "keep: proposals are measured and rejected, nothing is cut",
}
WAITING: dict[str, str] = {Waiting.PAUSE: "training pauses", Waiting.TRAIN: "training goes on"}
VERDICTS: dict[str, str] = {Verdict.APPROVE: "approved", Verdict.REJECT: "rejected"}
COMMANDS: dict[str, str] = {
    CommandKind.PAUSE: "Pause",
    CommandKind.RESUME: "Resume",
    CommandKind.CHECKPOINT: "Checkpoint now",
    CommandKind.STOP: "Stop and save",
    CommandKind.KILL: "Kill without saving",
    CommandKind.POLICY: "Change the policy",
    CommandKind.ROLLBACK: "Roll back",
    CommandKind.MEASURE: "Measure",
}
ROLES: dict[str, str] = {
    Role.BASELINE: "full size, never cut",
    Role.COMPRESSED: "cut while it trains",
    Role.SCRATCH: "small from the start",
    Role.DISTILLED: "small, with a teacher",
    Role.REGULARISED: "a penalty on Σσ, cut at the end",
    Role.POST_TRAINING: "cut when training is over",
    Role.ABLATION: "a cut with one thing made worse on purpose",
}


def state(row: SummaryRow) -> Label:
    """Return words, icon and colour of a run's state. A run that no worker takes is not in the queue."""
    if row["state"] == RunState.QUEUED and not row["queued"]:
        return NOT_QUEUED
    if row["held"]:
        return HELD
    return STATES.get(row["state"], (str(row["state"]), "help", "gray"))


def state_word(state: str) -> str:
    """Return the state of a run in words."""
    return STATES[state][0] if state in STATES else state


def outcome(state: str) -> Label:
    """Return words, icon and colour of what became of a proposal."""
    return OUTCOMES.get(state, (state, "help", "gray"))


def cause(name: str) -> str:
    """Return why a checkpoint was written, in words."""
    return CAUSES.get(name, name)


def who(by: object, by_role: object = "") -> str:
    """Return who acted: a name with what stands behind it, or the policy.

    >>> who("ada", "operator"), who("ada"), who("policy:auto")
    ('ada, operator', 'ada', 'the policy auto')
    """
    name = str(by or "unknown")
    policy = name.removeprefix(POLICY_PREFIX)
    if policy != name:
        return f"the policy {policy}"
    return ", ".join(filter(None, (name, BY_ROLES.get(str(by_role), str(by_role or "")))))


def plain(text: object) -> str:
    r"""Escape text so that Markdown shows it letter by letter.

    Every punctuation mark but the comma is escaped (screen readers would read the sign); a word joiner
    after colons keeps `:red[…]`, `:name:` and bare addresses from meaning anything, line breaks become
    spaces.

    >>> plain("**a** <b>")
    '\\*\\*a\\*\\* \\<b\\>'
    """
    escaped = re.sub(r"([!-+\--/:-@\[-`{-~])", r"\\\1", " ".join(str(text).split()))
    return re.sub(r"(:(?=[^\s\d])|@|www)", "\\1\u2060", escaped)


def dims(values: Sequence[int] | None) -> str:
    """Return state dimensions per layer: 64, 64."""
    return ", ".join(map(str, values)) if values else "–"


def change(before: Sequence[int] | None, after: Sequence[int] | None) -> str:
    """Return "64, 64 → 23, 31"; without an arrow when nothing changed."""
    return (
        dims(after) if not before or list(before) == list(after or []) else f"{dims(before)} → {dims(after)}"
    )


def short_change(before: Sequence[int], after: Sequence[int]) -> str:
    """Return `change` for buttons: with many layers their sums, "768 → 512 states in 12 layers"."""
    if len(before) <= 3:
        return change(before, after)
    return f"{sum(before)} → {sum(after)} states in {len(before)} layers"


def percent(value: object, digits: int = 2) -> str:
    """Return a fraction in percent: 94.12 %; a dash for what is no number."""
    return figures.percent(value, digits) if _is_number(value) else "–"


def accuracy(scores: Mapping[str, Any] | None) -> str:
    """Return the accuracy of what was scored, in percent; a dash where there is none."""
    return percent((scores or {}).get("accuracy"))


def best(record: Best | None) -> str:
    """Return "94.12 %", or of a run that goes by another metric its value and name."""
    if record is None or record["metric"] == PRIMARY_METRIC:
        return percent(record["value"] if record else None)
    return f"{number(record['value'])} {record['metric']}"


def points(value: float) -> str:
    """Return a difference of fractions in percentage points, with its sign: −0.31 points."""
    return f"{figures.points(value)} points"


def interval(ends: object, factor: float = 1, digits: int = 2) -> str:
    """Return the two ends of an interval: −1.9 to +0.5."""
    if not isinstance(ends, list | tuple) or not all(_is_number(end) for end in ends):
        return "–"
    return " to ".join(figures.fixed(end * factor, digits, signed=True) for end in ends)


def number(value: object, digits: int = 4) -> str:
    """Return a few significant digits, thousands separated: 0.1234, 1,234, 1.20e-05."""
    return figures.significant(value, digits) if _is_number(value) else "–"


def count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "–"


def size(value: int) -> str:
    """Return bytes in B, kB, MB, GB or TB, powers of ten."""
    if value < 1e3:
        return f"{value:.0f} B"
    if value < 999.5e3:
        return f"{value / 1e3:.0f} kB"
    for unit, name in ((1e6, "MB"), (1e9, "GB")):
        if value < 999.95 * unit:
            return f"{value / unit:.1f} {name}"
    return f"{value / 1e12:,.1f} TB"


def duration(seconds: object) -> str:
    """Return seconds as 45 s, 3 min 05 s, 2 h 10 min, 3 d 4 h."""
    return figures.duration(seconds) if _is_number(seconds) else "–"


def seconds_per_step(value: object) -> str:
    """Return seconds as 82.7 ms, 1.08 s."""
    if not _is_number(value):
        return "–"
    return f"{number(value, 3)} s" if value >= 0.9995 else f"{number(value * 1000, 3)} ms"


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def moment(t: object, zone: str | None = None) -> str:
    """Return a record's time in the reader's time zone: 16:45:03 today, 23 Nov 16:45, 23 Nov 2025 16:45."""
    parsed = _parse(t)
    if parsed is None:
        return "–"
    here = _moved(parsed, _zone(zone))
    today = datetime.now(_zone(zone)).date()
    if here.date() == today:
        return f"{here:%H:%M:%S}"
    year = "" if here.year == today.year else f" {here.year}"
    return f"{here:%-d %b}{year} {here:%H:%M}"


def _moved(t: datetime, zone: tzinfo) -> datetime:
    """Return the time in another zone; as it is where that would lie outside of all years."""
    try:
        return t.astimezone(zone)
    except OverflowError:
        return t


def age(t: object) -> str:
    """Return how long ago, coarsely."""
    parsed = _parse(t)
    if parsed is None:
        return "–"
    seconds = max(0.0, (datetime.now(UTC) - parsed).total_seconds())
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{int(seconds // 60)} min ago"
    return f"{int(seconds // 3600)} h ago" if seconds < 86400 else f"{int(seconds // 86400)} d ago"


def _parse(t: object) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(str(t))
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _zone(name: str | None) -> tzinfo:
    try:
        return ZoneInfo(name) if name else UTC
    except (KeyError, ValueError, OSError):
        return UTC


def scores(record: Mapping[str, Any] | None) -> str:
    """Return "loss 0.1234, accuracy 94.12 %"; of a text also its bits per character."""
    if not record:
        return "not measured"
    parts = (
        f"loss {number(record.get('loss'))}", f"accuracy {percent(record.get('accuracy'))}",
        bits_in_words(record),
    )  # fmt: skip
    return ", ".join(filter(None, parts))
