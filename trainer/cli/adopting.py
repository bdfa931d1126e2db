"""The command adopt: let workers of this account start runs that came from elsewhere, or from before."""

import argparse
import sys
from pathlib import Path
from typing import Any

from hankelboard.access import tickets
from hankelboard.access.tickets import NoTicket, Validity
from hankelboard.storage.errors import CommandRefused, DamagedRun, NewerFormat
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.runs import find_run, is_held, list_runs, read_run
from hankelboard.storage.summary import Summary, row_of
from hankelboard.trainer.cli.arguments import add_command, runs_of


def add_commands(commands: Any) -> None:
    parser = add_command(
        commands, "adopt", adopt,
        example="hankelboard adopt RUN",
        more="what their run.json names is started then, so look at runs of other people first",
    )  # fmt: skip
    parser.add_argument("run", metavar="RUN", nargs="*")
    parser.add_argument("--all", action="store_true", help="all runs of the folder")


def adopt(options: argparse.Namespace) -> int:
    """Let workers start the runs that are named, or all; say which cannot be adopted."""
    runs = runs_of(options)
    if bool(options.run) == options.all:
        raise CommandRefused("name the runs, or say --all")
    chosen = list_runs(runs) if options.all else [find_run(runs, name) for name in options.run]
    tickets.prepare(runs)
    adopted = [_adopt(paths) for paths in chosen if not (options.all and tickets.holds(paths))]
    print(f"{sum(adopted)} adopted" + (f", {len(chosen) - len(adopted)} were before" if options.all else ""))
    return 0 if options.all or all(adopted) else 1


def _adopt(paths: RunPaths) -> bool:
    """Issue a ticket, and say so with the code that the run will start; return whether it was issued."""
    from hankelboard.settings.own_code import own_code_named  # reads rows of plugins: only where it is wanted

    try:
        run = read_run(paths)
    except (DamagedRun, NewerFormat) as error:
        print(f"left alone: {error}", file=sys.stderr)
        return False
    if run.copy_of:
        print(f"left alone: {paths.run_id} is a copy of {run.copy_of}; `hankelboard run` trains it on",
              file=sys.stderr)  # fmt: skip
        return False
    tickets.issue(paths)
    code = ", ".join(
        f"{named.name} in {named.folder or 'installed packages'}" for named in own_code_named(run.config)
    )
    print(f"{paths.run_id} adopted" + (f"; it starts {code}" if code else ""))
    return True


def adopt_for_command(paths: RunPaths) -> None:
    """Let workers start a run that is sent to work here; one that was changed is adopted by name only."""
    ticket = tickets.look(paths)
    if ticket.is_valid or is_held(paths):
        return
    why = f"{paths.run_id}: {ticket.reason}; look at it, then: hankelboard adopt {paths.run_id}"
    if ticket.validity == Validity.NONE and not read_run(paths).copy_of:
        try:
            tickets.issue(paths)
            return
        except NoTicket as error:
            why = str(error)
    print(f"no worker starts it: {why}", file=sys.stderr)


def offer(runs: Path) -> None:
    """Say once, of a folder, how many of its runs no worker will start, and what changes that."""
    without = sum(not tickets.holds(paths) for paths in list_runs(runs))
    if without and tickets.is_first_offer(runs):
        print(f"not adopted, from elsewhere or from before: {without} of the runs in {runs}. No worker "
              "starts them; to let workers do so: hankelboard adopt --all", flush=True)  # fmt: skip


def why_not_adopted(paths: RunPaths, summary: Summary) -> str:
    """Return why no worker starts a run that would be its turn; empty where one may, or has nothing to do."""
    return tickets.why_not_started(paths, row_of(summary))
