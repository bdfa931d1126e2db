"""What holds for all tests: they judge results, never the speed of the machine."""

import os

from hypothesis import HealthCheck, settings

# The same examples in every run: what passed here passes elsewhere. HANKELBOARD_EXAMPLES=N draws others.
settings.register_profile(
    "reproducible",
    deadline=None,
    derandomize="HANKELBOARD_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("reproducible")
