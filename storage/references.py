"""What a run needs of other runs: keys of its configuration that name one, and whether those are finished."""

from collections.abc import Callable, Mapping
from typing import Any

from hankelboard.storage.errors import RunNotFound
from hankelboard.storage.history import read_history
from hankelboard.storage.layout import RunPaths, run_paths

REFERENCES = {
    "model.state_dim_as": "its final state dimensions",
    "start.run": "its weights",
    "reduction.ranks_as": "the ranks of its cuts",
    "distillation.teacher": "its predictions",
}
"""Keys whose value is the id of a run in the same folder, and what is needed of it."""


def references(config: Mapping[str, Any]) -> dict[str, str]:
    """The runs that a configuration names, by key."""
    found = {}
    for key in REFERENCES:
        section, _, name = key.partition(".")
        part = config.get(section)
        run = part.get(name) if isinstance(part, Mapping) else None
        if isinstance(run, str) and run:
            found[key] = run
    return found


def waits_for(config: Mapping[str, Any], state_of: Callable[[str], str | None]) -> str:
    """Why a run cannot start yet, in words; empty when it can.

    Parameters
    ----------
    config : mapping
        As in run.json.
    state_of : callable
        State of a run by its id; None when there is no such run.
    """
    for key, run in references(config).items():
        state = state_of(run)
        if state != "finished":
            told = "which is not in this folder" if state is None else f"which is {state.replace('_', ' ')}"
            return f"waits for {REFERENCES[key].replace('its', 'the', 1)} of {run}, {told}"
    return ""


def state_beside(paths: RunPaths) -> Callable[[str], str | None]:
    """States, by id, of the runs in the folder of this one, from their journals."""

    def state_of(run: str) -> str | None:
        try:
            beside = run_paths(paths.root.parent, run)
            return read_history(beside).state
        except (RunNotFound, OSError):
            return None

    return state_of
