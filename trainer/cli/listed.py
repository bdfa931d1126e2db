"""Every command: the module that has it, and what it does in a few words. Only the chosen one is imported."""

import argparse
import os
from importlib import import_module

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("serving", "queue three runs on embedded data and start everything"),
    "up": ("serving", "start the dashboard and a worker"),
    "web": ("serving", "start the dashboard alone"),
    "run": ("serving", "train one run in the foreground; Ctrl-C stops and saves"),
    "worker": ("serving", "train queued runs, one child process each"),
    "open": ("entering", "open the dashboard in a browser, signed in"),
    "token": ("admitting", "let others in, or nobody any more"),
    "new": ("acting", "create a run and queue it"),
    "worth": ("worth", "is cutting worth it, or does a small network do as well?"),
    "decide": ("acting", "approve or reject a proposal"),
    "send": ("acting", "pause, resume, checkpoint, stop or kill"),
    "policy": ("acting", "change what decides on proposals"),
    "measure": ("acting", "measure more for a proposal that waits"),
    "rollback": ("acting", "go back to a checkpoint"),
    "analyse": ("acting", "was an early choice of states good?"),
    "suite": ("suites", "queue the runs of a suite that are not there yet"),
    "adopt": ("adopting", "let workers start runs that came from elsewhere"),
    "compare": ("comparing", "compare runs or suites"),
    "export": ("exporting", "take a model or a run's figures away"),
    "data": ("exporting", "download a public data set"),
    "presets": ("reading", "list the presets"),
    "runs": ("reading", "list the runs"),
    "show": ("reading", "show one run"),
    "proposals": ("inspecting", "list a run's proposals and what became of them"),
    "checkpoints": ("inspecting", "list a run's checkpoints"),
    "verify": ("inspecting", "check journals, proposals and the hashes of all checkpoints"),
}
"""By name, in the order of `--help`: a module of trainer/cli/ whose `add_commands` adds its arguments."""


class LazyParser(argparse.ArgumentParser):
    """The parser of a command: what it takes is added when it has something to parse."""

    command = ""
    """Its name, until its arguments were added."""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        name, self.command = self.command, ""
        if name:
            self.add_argument("-h", "--help", action="help", help="show this help message and exit")
            module = import_module(f"hankelboard.trainer.cli.{COMMANDS[name][0]}")
            module.add_commands(Chosen(name, self))
        return super().parse_known_args(args, namespace)


class Chosen:
    """Stands for the commands of a module where one was chosen; what is added to the others is lost."""

    def __init__(self, name: str, parser: argparse.ArgumentParser):
        self._name, self._parser = name, parser

    def parser_of(self, name: str) -> argparse.ArgumentParser:
        return self._parser if name == self._name else argparse.ArgumentParser(formatter_class=Layout)


class Layout(argparse.HelpFormatter):
    """Help as wide as the terminal: as by default, without importing what else knows its width."""

    def __init__(self, prog: str):
        super().__init__(prog, width=_columns() - 2)


class LayoutWithExamples(Layout, argparse.RawDescriptionHelpFormatter):
    """The same with an epilog of several lines."""


def _columns() -> int:
    try:
        return int(os.environ.get("COLUMNS", 0)) or os.get_terminal_size(1).columns or 80
    except (ValueError, OSError):
        return 80


def list_commands(parser: LazyParser) -> None:
    """Add all commands; the module of the one that is chosen is imported then."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (_, help) in COMMANDS.items():
        command = commands.add_parser(name, help=help, add_help=False, formatter_class=Layout)
        command.command = name
