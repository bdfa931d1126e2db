"""Processes of runs that ended without a word: whose fault it was, and what follows from that.

A process that ends by itself (an exit code, a crash of its code) does so again: after MAX_DEATHS in a row
without progress the run has failed. What a signal from outside ends (no memory left, a machine that is taken
away) is no fault of the run: it is tried again for ever, after growing waits.
"""

import signal
from dataclasses import dataclass

from hankelboard.storage.history import History
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.status import BeatWatch
from hankelboard.storage.vocabulary import EventKind, Fault
from hankelboard.trainer.compression.failure import answering, append

MAX_DEATHS = 3
FIRST_REST_S, LONGEST_REST_S = 10.0, 600.0
CRASHES = frozenset(
    getattr(signal, name)
    for name in ("SIGSEGV", "SIGABRT", "SIGFPE", "SIGILL", "SIGBUS", "SIGTRAP", "SIGSYS")
)
"""Signals that the code of a process brings on itself."""


@dataclass(frozen=True)
class Death:
    """How a process ended that recorded no end."""

    fault: Fault
    words: str


def death_of(code: int) -> Death:
    """Return what an exit code of subprocess says.

    >>> death_of(-9)
    Death(fault=<Fault.OUTSIDE: 'outside'>, words='the process was killed from outside (SIGKILL)')
    """
    if code >= 0:
        return Death(Fault.OWN, f"the process ended with exit code {code} and recorded nothing")
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if -code in CRASHES:
        return Death(Fault.OWN, f"the process crashed ({name})")
    return Death(Fault.OUTSIDE, f"the process was killed from outside ({name})")


def record(paths: RunPaths, death: Death, watch: BeatWatch | None = None) -> History:
    """Record a death in the journal, and return the history with it. Takes run.lock.

    Raises RunHeld when another process trains the run: then it was not this run's trainer that died.
    """
    with answering(paths, watch) as (journal, history, attempt):
        reason = death.words
        if death.fault == Fault.OUTSIDE and (seconds := rest_s(history.kills + 1)):
            reason += f", {history.kills + 1} times in a row: it is tried again after {seconds:g} s"
        append(journal, history, attempt, EventKind.ATTEMPT_ENDED, reason=reason, fault=death.fault)
        return history


def rest_s(kills: int) -> float:
    """Return how long a run rests after several kills from outside in a row: not at all after the first.

    >>> [rest_s(kills) for kills in (0, 1, 2, 3, 9)]
    [0.0, 0.0, 10.0, 20.0, 600.0]
    """
    return 0.0 if kills < 2 else min(LONGEST_REST_S, FIRST_REST_S * 2.0 ** min(kills - 2, 20))
