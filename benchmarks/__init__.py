"""One script per claim of speed. `make bench` runs them all and writes README.md here."""

import hankelboard.trainer  # noqa: F401  (says how threads wait, before torch is loaded)
