"""Threads of torch sleep while they wait, so that runs side by side do not take each other's processor."""

import os
import subprocess
import sys


def wait_policy(**given):
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    script = "import hankelboard.trainer.training.loop, os; print(os.environ['OMP_WAIT_POLICY'])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**environment, "OMP_DISPLAY_ENV": "true", **given},
        capture_output=True,
        text=True,
        check=True,
    )
    said = [line for line in done.stderr.splitlines() if "OMP_WAIT_POLICY" in line]
    return done.stdout.strip(), said


def test_waiting_is_passive_before_torch_is_loaded():
    asked, said = wait_policy()
    assert asked == "passive"
    assert all("PASSIVE" in line for line in said)  # what the library itself read, where it tells


def test_another_policy_may_be_asked_for():
    asked, said = wait_policy(OMP_WAIT_POLICY="active")
    assert asked == "active" and all("ACTIVE" in line for line in said)
