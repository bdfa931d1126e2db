"""What a run needs of other runs: keys of its configuration that name one, and whether those are finished."""

from collections.abc import Callable, Mapping
from typing import Any

from hankelboard.storage.errors import RunNotFound
from hankelboard.storage.history import read_history
from hankelboard.storage.layout import RunPaths, run_paths
from hankelboard.storage.vocabulary import RunState

REFERENCES = {
    "model.state_dim_as": "its final state dimensions",
    "start.run": "its weights",
    "reduction.ranks_as": "the ranks of its cuts",
    "distillation.teacher": "its predictions",
}
"""Keys whose value is the id of a run in the same folder, and what is needed of it."""
WAITS = "waits for"
"""How the reason begins."""


def references(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the runs that a configuration names, by key."""
    named = {}
    for key in REFERENCES:
        section, _, name = key.partition(".")
        part = config.get(section)
        run = part.get(name) if isinstance(part, Mapping) else None
        if isinstance(run, str) and run:
            named[key] = run
    return named


def waits_for(config: Mapping[str, Any], state_of: Callable[[str], str | None]) -> str:
    """Return why a run cannot start yet, in words; empty when it can.

    Parameters
    ----------
    config : mapping
        As in run.json.
    state_of : callable
        State of a run by its id; None when there is no such run.
    """
    for key, run in references(config).items():
        state = state_of(run)
        if state != RunState.FINISHED:
            now = "not in this folder" if state is None else state.replace("_", " ")
            return f"{WAITS} {REFERENCES[key].replace('its', 'the', 1)} of {run}, which is {now}"
    return ""


def state_beside(paths: RunPaths) -> Callable[[str], str | None]:
    """Return a function that gives the state of a run in the same folder, by id, from its journal."""

    def state_of(run: str) -> str | None:
        try:
            beside = run_paths(paths.root.parent, run)
            return read_history(beside).state
        except (RunNotFound, OSError):
            return None

    return state_of
