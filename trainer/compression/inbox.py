"""Commands that wait for an answer."""

from collections.abc import Iterator

from hankelboard.storage import commands
from hankelboard.storage.commands import Command
from hankelboard.storage.history import History
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.schema import CommandAnswered
from hankelboard.storage.vocabulary import CommandState


def unanswered(paths: RunPaths, history: History) -> Iterator[Command]:
    """Yield the valid commands in the inbox that no trainer has applied or refused."""
    for command_id in commands.command_ids(paths):
        outcome = history.commands.get(command_id)
        if outcome is None or outcome.state == CommandState.ACCEPTED:
            command = commands.read_command(paths, command_id)
            if command is not None:
                yield command


def naming(command: Command) -> CommandAnswered:
    """Return what an event that answers a command says of it."""
    return {"command_id": command.id, "command": command.kind, "by": command.by}
