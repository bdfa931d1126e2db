"""Waiting for facts. How long a machine takes for anything is not known here."""

import time

PATIENCE_S = 300.0
"""When a test gives up: long enough for a slow machine that stalls. What succeeds never waits so long."""


def until(condition, every_s=0.02):
    """Wait until `condition()` is true; returns what it gave."""
    ends = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < ends, f"still not so after {PATIENCE_S:g} s"
        time.sleep(every_s)
    return found
