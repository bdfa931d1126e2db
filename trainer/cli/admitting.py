"""The command `token`: let others in by a token of their own, or nobody any more."""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

from hankelboard.access import tokens
from hankelboard.access.roles import Role
from hankelboard.storage.errors import ConfigError
from hankelboard.trainer.cli.arguments import add_command
from hankelboard.trainer.cli.entering import add_token_file, token_file


def add_commands(commands: Any) -> None:
    parser = add_command(commands, "token", lambda options: options.token_command(options))  # fmt: skip
    kinds = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    create = _add_kind(kinds, "create", create_token, "make a token for somebody; it is shown once")
    create.add_argument("name", metavar="NAME", help="stands in the journal beside what its holder does")
    create.add_argument("--role", required=True, choices=[Role.VIEWER.value, Role.OPERATOR.value])
    create.add_argument("--days", type=int, metavar="N", help="how long it is valid (default: until revoked)")
    _add_kind(kinds, "list", list_tokens, "show who has a token")
    revoke = _add_kind(kinds, "revoke", revoke_token, "let a token open nothing any more, open tabs included")
    revoke.add_argument("name", metavar="NAME")
    add_token_file(
        _add_kind(kinds, "rotate", rotate_token, "put a new owner's token in place of the old one")
    )


def _add_kind(
    kinds: Any, name: str, command: Callable[[argparse.Namespace], int], help: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = kinds.add_parser(
        name, help=help, description=f"{help[0].upper()}{help[1:]}."
    )
    parser.set_defaults(token_command=command)
    return parser


def create_token(options: argparse.Namespace) -> int:
    if options.days is not None and options.days < 1:
        raise ConfigError("--days: must be at least 1")
    print(tokens.create(options.name, Role(options.role), options.days))
    print(f"{options.name} signs in with it as {options.role}; it cannot be shown again", file=sys.stderr)
    return 0


def list_tokens(options: argparse.Namespace) -> int:
    for token in tokens.named():
        end = "until revoked" if token.expires_at is None else f"until {_day(token.expires_at)}"
        print(f"{token.name}  {token.role}  {'expired' if token.is_expired else end}")
    return 0


def _day(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(moment))


def revoke_token(options: argparse.Namespace) -> int:
    tokens.revoke(options.name)
    print(f"the token of {options.name} opens nothing any more")
    return 0


def rotate_token(options: argparse.Namespace) -> int:
    tokens.rotate(token_file(options))
    print("the old token opens nothing any more; `hankelboard open` uses the new one")
    return 0
