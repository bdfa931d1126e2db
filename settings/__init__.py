"""What a run is configured by: keys and their limits, presets, suites. No torch, no NumPy; storage only."""

from hankelboard.settings.plugins import import_plugins

import_plugins()
