"""What a worker's child may start: a run with a ticket, and of one that came from a browser what was allowed.

`hankelboard run` by hand is consent for that call: nothing is asked then.
"""

import os
from typing import Any

from torch import nn

from hankelboard.access import tickets
from hankelboard.access.tickets import Limits, NoTicket
from hankelboard.settings.config import parse_recorded
from hankelboard.settings.imports import import_object
from hankelboard.settings.limits import check_paths
from hankelboard.settings.own_code import check_allowed, check_object, own_code_named
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.lifeline import CHILD_MARK
from hankelboard.storage.runs import Run


def demand(paths: RunPaths, run: Run) -> None:
    """Look again, in the process that would run the code, at what the worker looked at.

    Raises
    ------
    NoTicket
        If there is no ticket for the run as it was read.
    ConfigError
        If it came from a browser and names code or a path that is not allowed. Nothing was called then.
    """
    if CHILD_MARK not in os.environ:
        return
    ticket, config = tickets.look_inside(paths)
    if not ticket.is_valid:
        raise NoTicket(f"{paths.run_id} is not adopted: {ticket.reason}")
    if config != run.config:
        raise NoTicket(f"{paths.run_id} is not adopted: {tickets.CHANGED_SINCE}")
    if ticket.limits is not None:
        check_within(parse_recorded(run.config).as_dict(), ticket.limits, paths)


def demand_for_code(paths: RunPaths, run: Run) -> None:
    """Look at another run, of which weights are read, where its configuration names code, too."""
    if own_code_named(run.config):
        demand(paths, run)


def check_within(config: dict[str, Any], limits: Limits, paths: RunPaths) -> None:
    """Raise ConfigError for code or a path that the limits of a ticket leave out."""
    check_paths(config, limits, paths.root.parent)
    for named in own_code_named(config):
        check_allowed(named, limits.code)
        check_object(named, import_object(named.name, key=named.key, folder=named.folder), nn.Module)
