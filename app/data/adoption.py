"""Runs that no worker starts since nobody here asked for them, and the click that changes it."""

from hankelboard.access import tickets
from hankelboard.access.roles import Action, demand, may
from hankelboard.app.data import runs
from hankelboard.app.data.run_cache import RunRow
from hankelboard.app.data.visitors import visitor
from hankelboard.settings.config import parse_recorded
from hankelboard.settings.limits import check_allowed_here, of_browser
from hankelboard.settings.own_code import own_code_named
from hankelboard.storage.runs import read_run
from hankelboard.storage.vocabulary import CommandState


def why_not(row: RunRow) -> str:
    """Return why no worker does what is this run's turn, or what was asked of it; empty where one may."""
    if row["not_adopted"] or row["copy_of"] or row["living"] or row["problem"]:
        return row["not_adopted"]
    asked = any(command["state"] == CommandState.REQUESTED for command in runs.commands(row["run"]))
    return tickets.look(runs.paths_of(row["run"])).reason if asked else ""


def is_allowed() -> bool:
    """Return whether this visitor may adopt runs."""
    return may(visitor(), Action.ADOPT)


def code_of(run_id: str) -> list[str]:
    """Return the names of the code that the run would start, Hankelboard's own left out."""
    return [named.name for named in own_code_named(runs.config(run_id))]


def adopt(run_id: str) -> None:
    """Let workers start a run.

    Raises
    ------
    NotAllowed
        If the visitor is not the owner.
    ConfigError
        If the run names code or a path that a browser may not: it is adopted at the command line.
    RunError, NoTicket
        If the run cannot be read, or the ticket not be written.
    """
    demand(visitor(), Action.ADOPT)
    paths, limits = runs.paths_of(run_id), of_browser()
    check_allowed_here(parse_recorded(read_run(paths).config), limits, paths.root.parent)
    tickets.issue(paths, limits)
    runs.index.changed(run_id)
    runs.forget(run_id)
