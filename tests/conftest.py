"""What holds for all tests: they judge results, never the speed of the machine, and touch nobody's tokens."""

import atexit
import os
import shutil
import tempfile

from hypothesis import HealthCheck, settings

# The same examples in every run: what passed here passes elsewhere. HANKELBOARD_EXAMPLES=N draws others.
settings.register_profile(
    "reproducible",
    deadline=None,
    derandomize="HANKELBOARD_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("reproducible")

# Tokens, sessions and tickets of tests: never those of the person who runs them. Child processes inherit it.
os.environ["HANKELBOARD_STATE"] = tempfile.mkdtemp(prefix="hankelboard-state-")
atexit.register(shutil.rmtree, os.environ["HANKELBOARD_STATE"], ignore_errors=True)

# Equal bits everywhere: recurrences in PyTorch. Tests of kernels take this away for themselves.
os.environ["HANKELBOARD_KERNELS"] = "own"
