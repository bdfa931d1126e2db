"""The clock by which a trainer and a worker wait."""

from typing import Protocol


class Clock(Protocol):
    """What the module `time` offers; tests pass a clock that they set themselves."""

    def monotonic(self) -> float:
        """Return seconds since some moment; never fewer than before."""

    def sleep(self, seconds: float, /) -> None:
        """Wait for a number of seconds."""
