"""The command line. Only the module of the chosen command is imported, and torch by commands that train."""

import argparse
import os
import sys
from collections.abc import Sequence

from hankelboard.storage.errors import ConfigError, HankelboardError
from hankelboard.trainer.cli.listed import LayoutWithExamples, LazyParser, list_commands
from hankelboard.trainer.cli.version import PrintVersion
from hankelboard.trainer.compression.terminal import settle_text

INTERRUPTED = 130
"""Exit code of what Ctrl-C ended, as shells have it."""
EXAMPLES = """\
examples:
  hankelboard demo                                  three runs on embedded data, in the browser
  hankelboard new --preset digits-lru               queue a run
  hankelboard new --preset digits-lru --policy auto --set training.steps=300 --no-queue
  hankelboard run RUN                               train in the foreground; Ctrl-C stops and saves
  hankelboard show RUN --json | jq .state_dims
  hankelboard decide RUN 1 approve --ranks 20,24 --reason "flat tail"
  hankelboard rollback RUN b0-00000500-a0-0003

RUN is a run id, or its beginning or end. Exit code: 0, 1 for a refusal or failure, 2 for wrong usage.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Without arguments it is the process's own command line."""
    if arguments is None:
        settle_text()
    options = build_parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except ConfigError as error:
        print(f"hankelboard: {error}", file=sys.stderr)
        return 2
    except HankelboardError as error:
        print(f"hankelboard: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before a command listens to signals itself
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"hankelboard: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        return 1


def build_parser() -> argparse.ArgumentParser:
    parser = LazyParser(
        prog="hankelboard",
        description="Train state-space models that get smaller while they train; you approve every cut.",
        epilog=EXAMPLES,
        formatter_class=LayoutWithExamples,
    )
    parser.add_argument("--version", action=PrintVersion)
    list_commands(parser)
    return parser
