"""Commands that wait for an answer."""

from collections.abc import Iterator

from hankelboard.storage import commands
from hankelboard.storage.commands import Command
from hankelboard.storage.history import History
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.schema import CommandAnswered, Whose
from hankelboard.storage.vocabulary import CommandState


def unanswered(paths: RunPaths, history: History) -> Iterator[Command]:
    """Yield the valid commands in the inbox that no trainer has applied or refused."""
    for command_id in commands.command_ids(paths):
        outcome = history.commands.get(command_id)
        if outcome is None or outcome.state == CommandState.ACCEPTED:
            command = commands.read_command(paths, command_id)
            if command is not None:
                yield command


def whose(command: Command) -> Whose:
    """Return who asked, as events say it."""
    return {"by": command.by, "by_role": command.by_role}


def naming(command: Command) -> CommandAnswered:
    """Return what an event that answers a command says of it."""
    return {"command_id": command.id, "command": command.kind, **whose(command)}
