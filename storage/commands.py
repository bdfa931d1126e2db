"""What people create beside decisions: commands in the inbox, and notes."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hankelboard.storage import atomic, opening
from hankelboard.storage.decoding import decode_command, decode_note
from hankelboard.storage.errors import CommandRefused
from hankelboard.storage.layout import ULID_JSON, CheckpointName, RunPaths
from hankelboard.storage.records import MAX_NAME, MAX_PERSONS_FILE_BYTES, new_ulid, now, read_record
from hankelboard.storage.runs import refuse_newer
from hankelboard.storage.schema import CommandRecord, Note
from hankelboard.storage.vocabulary import CommandKind, NoteKind, Policy, Waiting, values

KINDS = values(CommandKind)
POLICIES = values(Policy)
WAITING = values(Waiting)
NOTE_KINDS = values(NoteKind)
MAX_TEXT = 2_000


@dataclass(frozen=True)
class Command:
    """What a person asks of a run. stop saves and ends; kill ends without saving."""

    id: str
    kind: CommandKind
    by: str
    via: str
    t: str
    checkpoint: str | None = None
    policy: str | None = None
    """Of the new branch for a rollback, from now on for the command policy."""
    waiting: str | None = None
    """For the command policy: whether training pauses or goes on while a person decides."""
    at_step: int | None = None
    """Carried out at the first step boundary at or after this step; None: at the next one."""
    proposal: int | None = None
    """For the command measure: which proposal."""
    ranks: list[int] | None = None
    """For the command measure: at which ranks; None: what was left out."""
    reason: str = ""
    accept_changes: bool = False
    """For resume and rollback: train on although data, split or the model's code changed."""
    by_role: str = ""
    """What stands behind the name, a word of `ByRole`."""


def send_command(
    paths: RunPaths,
    kind: str,
    *,
    by: str,
    via: str,
    by_role: str = "",
    checkpoint: str | None = None,
    policy: str | None = None,
    waiting: str | None = None,
    at_step: int | None = None,
    proposal: int | None = None,
    ranks: Sequence[int] | None = None,
    reason: str = "",
    accept_changes: bool = False,
) -> str:
    """Put a command into the run's inbox and return its id, by which the trainer will answer.

    Durability: on disk when this returns. Concurrency: any number of senders.

    Raises
    ------
    CommandRefused
        If the command, its checkpoint or its policy cannot be.
    NewerFormat
        If a newer Hankelboard wrote the run.
    """
    refuse_newer(paths)
    if kind not in KINDS:
        raise CommandRefused(f"unknown command {kind!r}; there are {', '.join(KINDS)}")
    if kind == CommandKind.ROLLBACK:
        name = CheckpointName.parse(checkpoint or "")
        if name is None or not opening.is_plain_file(paths.manifest(name)):
            raise CommandRefused(
                f"no checkpoint {checkpoint!r} in {paths.run_id}; `hankelboard checkpoints {paths.run_id}` "
                "lists those that are there"
            )
    _check_choices(kind, policy, waiting)
    if kind == CommandKind.MEASURE and not (
        proposal is not None and opening.is_plain_file(paths.proposal(proposal))
    ):
        raise CommandRefused(f"measure: {paths.run_id} has no proposal {proposal}")
    if at_step is not None and at_step < 0:
        raise CommandRefused(f"at step {at_step}: must be 0 or later")
    record: CommandRecord = {
        "command": kind, "by": by[:MAX_NAME], "by_role": by_role, "via": via, "t": now(),
        "checkpoint": checkpoint, "policy": policy, "waiting": waiting, "at_step": at_step,
        "reason": reason[:MAX_TEXT],
    }  # fmt: skip
    if kind == CommandKind.MEASURE:
        record["proposal"], record["ranks"] = proposal, None if ranks is None else list(ranks)
    if accept_changes:
        record["accept_changes"] = True
    return _create_under_new_id(paths.inbox, record)


def _check_choices(kind: str, policy: str | None, waiting: str | None) -> None:
    if kind == CommandKind.POLICY and policy is None and waiting is None:
        raise CommandRefused("policy: say which policy, or what waiting means, or both")
    if policy is not None and policy not in POLICIES:
        raise CommandRefused(f"unknown policy {policy!r}; there are {', '.join(POLICIES)}")
    if waiting is not None and waiting not in WAITING:
        raise CommandRefused(f"unknown waiting {waiting!r}; there are {', '.join(WAITING)}")


def read_command(paths: RunPaths, command_id: str) -> Command | None:
    """Return the command of that id, or None when the file is no valid command."""
    record = decode_command(read_record(paths.command(command_id), MAX_PERSONS_FILE_BYTES))
    if record is None:
        return None
    return Command(
        id=command_id,
        kind=CommandKind(record["command"]),
        by=record.get("by", "")[:MAX_TEXT] or "unknown",
        via=record.get("via", "")[:MAX_TEXT],
        t=record.get("t", "")[:MAX_TEXT],
        checkpoint=record.get("checkpoint") or None,
        policy=record.get("policy") or None,
        waiting=record.get("waiting") or None,
        at_step=record.get("at_step"),
        proposal=record.get("proposal"),
        ranks=record.get("ranks"),
        reason=record.get("reason", "")[:MAX_TEXT],
        accept_changes=record.get("accept_changes", False),
        by_role=record.get("by_role", "")[:MAX_TEXT],
    )


def command_ids(paths: RunPaths) -> list[str]:
    """Return the ids in the inbox, oldest first; files with other names are none."""
    return _ids_in(paths.inbox)


def add_note(paths: RunPaths, kind: str, value: Any, *, by: str, via: str, by_role: str = "") -> str:
    """Attach something to a run: a text, a new name, a tag, archive, pin. Notes are folded on read.

    Raises CommandRefused for another kind, NewerFormat where a newer Hankelboard wrote the run.
    """
    refuse_newer(paths)
    if kind not in NOTE_KINDS:
        raise CommandRefused(f"unknown note {kind!r}; there are {', '.join(NOTE_KINDS)}")
    value = value[:MAX_TEXT] if isinstance(value, str) else value
    note: Note = {
        "note": kind,
        "value": value,
        "by": by[:MAX_NAME],
        "by_role": by_role,
        "via": via,
        "t": now(),
    }
    return _create_under_new_id(paths.notes, note)


def read_notes(paths: RunPaths) -> list[Note]:
    """Return all valid notes, oldest first."""
    records = (read_record(paths.note(name), MAX_PERSONS_FILE_BYTES) for name in _ids_in(paths.notes))
    return [note for note in map(decode_note, records) if note is not None]


def _create_under_new_id(folder: Path, record: Mapping[str, object]) -> str:
    opening.make_folder(folder)  # another writer may not have made it
    while True:
        new_id = new_ulid()
        with contextlib.suppress(FileExistsError):
            atomic.create(folder / f"{new_id}.json", record, unique=True)
            return new_id


def _ids_in(folder: Path) -> list[str]:
    names = opening.names_if_any(folder)
    return sorted(match[1] for match in map(ULID_JSON.fullmatch, names) if match)
