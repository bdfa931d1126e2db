"""Words and figures for people: states, events, numbers with units. Plain functions, no Streamlit.

Whatever comes from files passes through `plain` before it reaches an element that reads Markdown.
"""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from hankelboard.storage.records import Record
from hankelboard.storage.scores import bits_in_words

READ_ONLY = "This folder of runs is read-only here: runs can be looked at, but not decided on or started."
NOT_QUEUED = ("not queued", "schedule", "gray")
WORKER_HINT = "No worker is running: start one with `hankelboard worker`."

STATES = {  # state: (words, icon, colour of the badge)
    "queued": ("queued", "schedule", "gray"),
    "starting": ("starting", "hourglass_top", "blue"),
    "running": ("running", "play_arrow", "green"),
    "paused": ("paused", "pause", "orange"),
    "waiting_for_decision": ("waiting for you", "gavel", "orange"),
    "stopping": ("stopping", "save", "orange"),
    "finished": ("finished", "check_circle", "blue"),
    "stopped": ("stopped", "stop_circle", "gray"),
    "failed": ("failed", "error", "red"),
    "cancelled": ("cancelled", "cancel", "gray"),
    "interrupted": ("interrupted", "power_off", "orange"),
    "dead": ("process gone", "link_off", "red"),
    "stale": ("no sign of life", "signal_disconnected", "orange"),
    "unreadable": ("unreadable", "broken_image", "red"),
}
PHASES = {
    "training": "training",
    "evaluating": "evaluating on the validation data",
    "measuring": "measuring what a cut would do",
    "checkpointing": "writing a checkpoint",
    "restoring": "restoring a checkpoint",
}
OUTCOMES = {  # state of a proposal: (words, icon, colour)
    "pending": ("waiting for a decision", "gavel", "orange"),
    "approved": ("approved, not applied yet", "hourglass_top", "blue"),
    "rejected": ("rejected", "block", "gray"),
    "applied": ("applied", "content_cut", "green"),
    "refused": ("refused by the trainer", "error", "red"),
    "expired": ("expired", "timer_off", "gray"),
    "superseded": ("superseded", "layers_clear", "gray"),
    "rolled_back": ("rolled back", "undo", "gray"),
}
BADGES = {  # colour of a proposal's badge: (words, icon, colour)
    "green": ("nothing speaks against it", "check_circle", "green"),
    "amber": ("look twice", "warning", "orange"),
    "red": ("do not cut like this", "dangerous", "red"),
}
CAUSES = {
    "start": "start of training",
    "scheduled": "on schedule",
    "before_reduction": "before a cut",
    "after_reduction": "after a cut",
    "command": "asked for",
    "stop": "stop",
    "finish": "end of training",
    "branch": "start of a branch",
}
POLICIES = {
    "ask": "ask: a person decides on every proposal",
    "auto": "auto: the rule approves every proposal",
    "pragmatic": "pragmatic: a fixed share is cut each time, and undone when validation falls too far",
    "keep": "keep: proposals are measured and rejected, nothing is cut",
}


def state(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """Words, icon and colour of a run's state. A run that no worker takes is not in the queue."""
    if row["state"] == "queued" and not row["queued"]:
        return NOT_QUEUED
    return STATES.get(row["state"], (str(row["state"]), "help", "gray"))


def who(by: object) -> str:
    """Who decided: a name, or the policy auto."""
    told = str(by or "unknown")
    policy = told.removeprefix("policy:")
    return told if policy == told else f"the policy {policy}"


def plain(text: object) -> str:
    r"""Text that Markdown shows letter by letter.

    Every punctuation mark but the comma is escaped (screen readers would read the sign); a word joiner
    after colons keeps `:red[…]`, `:name:` and bare addresses from meaning anything, line breaks become
    spaces.

    >>> plain("**a** <b>")
    '\\*\\*a\\*\\* \\<b\\>'
    """
    escaped = re.sub(r"([!-+\--/:-@\[-`{-~])", r"\\\1", " ".join(str(text).split()))
    return re.sub(r"(:(?=[^\s\d])|@|www)", "\\1\u2060", escaped)


def dims(values: Sequence[int] | None) -> str:
    """State dimensions per layer: 64, 64."""
    return ", ".join(map(str, values)) if values else "–"


def change(before: Sequence[int] | None, after: Sequence[int] | None) -> str:
    """64, 64 → 23, 31; without an arrow when nothing changed."""
    return (
        dims(after) if not before or list(before) == list(after or []) else f"{dims(before)} → {dims(after)}"
    )


def short_change(before: Sequence[int], after: Sequence[int]) -> str:
    """As `change`, for buttons: with many layers their sums, 768 → 512 states in 12 layers."""
    if len(before) <= 3:
        return change(before, after)
    return f"{sum(before)} → {sum(after)} states in {len(before)} layers"


def percent(value: object, digits: int = 2) -> str:
    """A fraction in percent: 94.12 %."""
    return f"{value:.{digits}%}".replace("%", " %") if _is_number(value) else "–"


def points(value: float) -> str:
    """A difference of fractions in percentage points, with its sign: −0.31 points."""
    return f"{value * 100:+.2f} points".replace("-", "−")


def interval(ends: object, factor: float = 1, digits: int = 2) -> str:
    """The two ends of an interval: −1.9 to +0.5."""
    if not isinstance(ends, list | tuple) or not all(_is_number(end) for end in ends):
        return "–"
    return " to ".join(f"{end * factor:+.{digits}f}" for end in ends).replace("-", "−")


def number(value: object, digits: int = 4) -> str:
    """A few significant digits, thousands separated: 0.1234, 1,234, 1.2e-05."""
    if not _is_number(value):
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"
    return f"{value:.2e}"


def count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "–"


def size(value: int) -> str:
    """Bytes in kB, MB or GB, powers of ten."""
    if value >= 1e9:
        return f"{value / 1e9:.1f} GB"
    return f"{value / 1e6:.1f} MB" if value >= 1e6 else f"{value / 1e3:.0f} kB"


def duration(seconds: object) -> str:
    """45 s, 3 min 05 s, 2 h 10 min, 3 d 4 h."""
    if not _is_number(seconds):
        return "–"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{seconds:.1f} s" if 0 < seconds < 9.95 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def seconds_per_step(value: object) -> str:
    """82.7 ms, 1.08 s."""
    if not _is_number(value):
        return "–"
    return f"{value:.3g} s" if value >= 0.9995 else f"{value * 1000:.3g} ms"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def moment(t: object, zone: str | None = None) -> str:
    """A record's time in the reader's time zone: 16:45:03 today, 23 Nov 16:45 before."""
    parsed = _parse(t)
    if parsed is None:
        return "–"
    here = parsed.astimezone(_zone(zone))
    today = datetime.now(_zone(zone)).date()
    return f"{here:%H:%M:%S}" if here.date() == today else f"{here:%-d %b %H:%M}"


def age(t: object) -> str:
    """How long ago, coarsely."""
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


def scores(record: Record | None) -> str:
    """loss 0.1234, accuracy 94.12 %; of a text also its bits per character."""
    if not record:
        return "not measured"
    told = (
        f"loss {number(record.get('loss'))}", f"accuracy {percent(record.get('accuracy'))}",
        bits_in_words(record),
    )  # fmt: skip
    return ", ".join(filter(None, told))
