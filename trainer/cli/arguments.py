"""Arguments that commands share."""

import argparse
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hankelboard.access.account import account_name
from hankelboard.storage.errors import ConfigError
from hankelboard.storage.layout import RunPaths, runs_directory
from hankelboard.storage.records import MAX_NAME, whole_characters
from hankelboard.storage.runs import find_run, refuse_newer
from hankelboard.storage.schema import Whose
from hankelboard.storage.vocabulary import POLICY_PREFIX, ByRole
from hankelboard.trainer.cli.listed import COMMANDS

Command = Callable[[argparse.Namespace], int]


def add_command(
    commands: Any, name: str, command: Command, *, example: str = "", more: str = "", json: bool = False
) -> argparse.ArgumentParser:
    """Add what a command of listed.py takes, with --runs-dir and, where it prints data, --json."""
    parser: argparse.ArgumentParser = commands.parser_of(name)
    help = COMMANDS[name][1]
    parser.description = f"{help[0].upper()}{help[1:]}{'; ' if more else ''}{more}."
    parser.epilog = f"example: {example}" if example else None
    parser.add_argument(
        "--runs-dir", metavar="DIR", help="folder of the runs (default: $HANKELBOARD_RUNS, else ./runs)"
    )
    if json:
        parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(command=command)
    return parser


def runs_of(options: argparse.Namespace) -> Path:
    return runs_directory(options.runs_dir)


def run_of(options: argparse.Namespace) -> RunPaths:
    """Return the run that a command is about. Raises NewerFormat for one that it cannot understand."""
    paths = find_run(runs_of(options), options.run)
    refuse_newer(paths)
    return paths


def whole_numbers(text: str, what: str) -> list[int]:
    """Return comma-separated integers of an argument; the error says `what` they should be.

    >>> whole_numbers("20, 24", "one per layer")
    [20, 24]
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: must be whole numbers, {what}") from None


def need(purpose: str, *packages: str, install: str) -> None:
    """Raise ConfigError with what to install where a package is missing."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ConfigError(f"{purpose} needs {', '.join(missing)}: pip install {install}")


def add_by(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--by", metavar="NAME",
        help="who acts, recorded as said (default: $HANKELBOARD_USER, else the login name)",
    )  # fmt: skip


def whose(options: argparse.Namespace) -> Whose:
    """Return who acts: the name that was said, which nothing proves, else that of the account."""
    said = getattr(options, "by", None) or os.environ.get("HANKELBOARD_USER")
    if said:
        return {"by": _checked_name(whole_characters(said)), "by_role": ByRole.SAID}
    return {"by": account_name(), "by_role": ByRole.ACCOUNT}


def _checked_name(name: str) -> str:
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise ConfigError(f"--by {name[:40]!r}: must be a name of 1 to {MAX_NAME} characters, on one line")
    if name.startswith(POLICY_PREFIX):
        raise ConfigError(f"--by {name!r}: names that begin with {POLICY_PREFIX} are those of policies")
    return name
