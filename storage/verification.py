"""`hankelboard verify`: is everything in a run directory what it says it is?"""

from collections.abc import Iterator
from dataclasses import dataclass

from hankelboard.storage import checkpoints
from hankelboard.storage.decoding import decode_events
from hankelboard.storage.errors import RunError
from hankelboard.storage.history import History, fold
from hankelboard.storage.journal import JournalReader
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.opening import irregularities, size_of
from hankelboard.storage.proposals import proposal_numbers, read_decision, read_proposal
from hankelboard.storage.runs import is_held, read_run
from hankelboard.storage.schema import Event
from hankelboard.storage.vocabulary import EventKind, ProposalState


@dataclass(frozen=True)
class Finding:
    """One thing that verification saw; `damage` is False for what is normal after a crash."""

    where: str
    what: str
    damage: bool = True


def verify_run(paths: RunPaths) -> list[Finding]:
    """Return all that is wrong or worth knowing; a run is sound when no finding is damage."""
    return list(_findings(paths))


def _findings(paths: RunPaths) -> Iterator[Finding]:
    try:
        read_run(paths)
    except RunError as error:
        yield Finding(paths.run_json.name, str(error))
        return
    for oddity in irregularities(paths):
        yield Finding(oddity.partition(" ")[0], oddity)
    readers = {name: JournalReader(getattr(paths, name)) for name in ("events", "metrics", "spectra")}
    events = decode_events(readers["events"].read_new())
    for reader in readers.values():
        for _ in reader.batches():
            pass  # counts what is damaged
        yield from _journal(paths, reader)
    history = fold(events)
    if history.unknown:
        yield Finding(
            paths.events.name, f"{history.unknown} events of unknown or incomplete kind", damage=False
        )
    yield from _proposals(paths, history)
    yield from _checkpoints(paths, events)


def _journal(paths: RunPaths, reader: JournalReader) -> Iterator[Finding]:
    if reader.damaged:
        yield Finding(reader.path.name, f"{reader.damaged} lines are no records")
    torn = size_of(reader.path) - reader.offset
    if torn > 0 and not is_held(paths):
        yield Finding(
            reader.path.name, f"{torn} bytes of a torn record at the end; healed on resume", damage=False
        )


def _proposals(paths: RunPaths, history: History) -> Iterator[Finding]:
    for number in proposal_numbers(paths):
        if read_proposal(paths, number) is None:
            yield Finding(f"proposals/{number:06d}.json", "cannot be read")
        decision = read_decision(paths, number)
        if decision is not None and not decision.verdict:
            yield Finding(f"decisions/{number:06d}.json", "is no decision", damage=False)
        outcome = history.proposals.get(number)
        if outcome is None:
            yield Finding(f"proposals/{number:06d}.json", "is not in the journal yet", damage=False)
        elif outcome.state == ProposalState.APPLIED and decision is None:
            yield Finding(f"decisions/{number:06d}.json", "was applied but is missing")


def _checkpoints(paths: RunPaths, events: list[Event]) -> Iterator[Finding]:
    for name in checkpoints.checkpoint_names(paths):
        for problem in checkpoints.problems(paths, name):
            yield Finding(f"checkpoints/{name}", problem)
    there = {str(name) for name in checkpoints.checkpoint_names(paths)}
    pruned = {event.get("checkpoint") for event in events if event.get("kind") == EventKind.CHECKPOINT_PRUNED}
    for event in events:
        published = event.get("checkpoint")
        if event.get("kind") == EventKind.CHECKPOINT_PUBLISHED and published not in there | pruned:
            yield Finding(f"checkpoints/{published}", "was published but is gone")
