"""Bits per character: the loss of a language model as people read it, beside its accuracy.

Runs on a text record `val/bits_per_character` in their metrics, and `bits_per_character` in what the best
step and the test data gave. Records without it have no words for it.
"""

from collections.abc import Mapping
from typing import Any

from hankelboard.storage.figures import fixed

PRIMARY_METRIC = "val/accuracy"
"""What the best step, the best checkpoint and a comparison go by, where a run names nothing else."""
BITS = "bits_per_character"
BITS_METRIC = f"val/{BITS}"


def bits(record: Mapping[str, Any] | None) -> float | None:
    """Return the bits per character of what was scored; None where it was no text."""
    value = (record or {}).get(BITS)
    return float(value) if isinstance(value, int | float) else None


def bits_in_words(record: Mapping[str, Any] | None) -> str:
    """Return "1.213 bits per character"; empty where it was no text.

    >>> bits_in_words({"accuracy": 0.7, "bits_per_character": 1.2134})
    '1.213 bits per character'
    """
    value = bits(record)
    return "" if value is None else f"{fixed(value, 3)} bits per character"
