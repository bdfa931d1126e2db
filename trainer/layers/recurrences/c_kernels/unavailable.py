"""Why there are no kernels in C: never an error of a run."""

from hankelboard.storage.errors import HankelboardError


class Unavailable(HankelboardError):
    """The kernels cannot be had here; the message says why."""
