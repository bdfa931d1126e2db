"""`hankelboard verify`: is everything in a run directory what it says it is?"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from hankelboard.storage import checkpoints, fingerprints
from hankelboard.storage.conformance import remarks_on
from hankelboard.storage.decoding import (
    Misfit,
    misfit_of_analysis,
    misfit_of_command,
    misfit_of_decision,
    misfit_of_measurement,
    misfit_of_note,
    misfit_of_status,
)
from hankelboard.storage.errors import RunError
from hankelboard.storage.history import History, fold
from hankelboard.storage.journal import JournalReader, events_reader, metrics_reader, spectra_reader
from hankelboard.storage.layout import ULID_JSON, RunPaths
from hankelboard.storage.opening import irregularities, names_if_any, size_of
from hankelboard.storage.proposals import problem_of_proposal, proposal_numbers, read_decision
from hankelboard.storage.records import read_record
from hankelboard.storage.runs import is_held, read_run
from hankelboard.storage.schema import Event
from hankelboard.storage.vocabulary import EventKind, ProposalState


@dataclass(frozen=True)
class Finding:
    """One thing that verification saw; `damage` is False for what is normal after a crash."""

    where: str
    what: str
    damage: bool = True
    missing: bool = False
    """What its writer left out or does otherwise: looked for where `strict` is asked for."""


def verify_run(paths: RunPaths, *, strict: bool = False) -> list[Finding]:
    """Return all that is wrong or worth knowing; a run is sound when no finding is damage."""
    findings = list(_findings(paths))
    with contextlib.suppress(OSError):  # that attempts cannot be listed is among the findings
        remarks = list(remarks_on(paths)) if strict and paths.root.is_dir() else []
        findings += [Finding(where, what, damage=False, missing=True) for where, what in remarks]
    return findings


def _findings(paths: RunPaths) -> Iterator[Finding]:
    try:
        read_run(paths)
    except RunError as error:
        yield Finding(paths.run_json.name, str(error))
        return
    for oddity in irregularities(paths):
        yield Finding(oddity.partition(" ")[0], oddity)
    try:
        first, *others = events_reader(paths), metrics_reader(paths), spectra_reader(paths)
    except OSError:
        return  # attempts cannot be listed: where the journals lie is not known
    events = cast(list[Event], first.read_new())
    for reader in (first, *others):
        for _ in reader.batches():
            pass  # counts what is damaged
        yield from _journal(paths, reader)
    history = fold(events)
    if history.unknown:
        yield Finding(
            paths.events.name, f"{history.unknown} events of unknown or incomplete kind", damage=False
        )
    yield from _status(paths)
    yield from _attempts(paths, events)
    yield from _proposals(paths, history)
    yield from _checkpoints(paths, events)
    yield from _small_files(paths)


def _status(paths: RunPaths) -> Iterator[Finding]:
    if os.path.lexists(paths.status) and (problem := _problem(paths.status, misfit_of_status)):
        yield Finding(paths.status.name, problem)


def _problem(file: Path, misfit: Misfit) -> str:
    """Return what is wrong with a whole file, empty when it is a record of its kind."""
    record = read_record(file)
    return "is no JSON object" if record is None else misfit(record)


def _small_files(paths: RunPaths) -> Iterator[Finding]:
    """Look at what people sent (a note where it is none: it is answered so), and at what was measured."""
    for folder, misfit, damage in (
        (paths.inbox, misfit_of_command, False),
        (paths.notes, misfit_of_note, False),
        (paths.measurements, misfit_of_measurement, True),
        (paths.analyses, misfit_of_analysis, True),
    ):
        for name in sorted(names_if_any(folder)):
            if ULID_JSON.fullmatch(name) and (problem := _problem(folder / name, misfit)):
                yield Finding(f"{folder.name}/{name}", problem, damage)


def _journal(paths: RunPaths, reader: JournalReader) -> Iterator[Finding]:
    if reader.damaged:
        yield Finding(reader.path.name, reader.described)
    torn = size_of(reader.path) - reader.offset
    if torn > 0 and not is_held(paths):
        yield Finding(
            reader.path.name, f"{torn} bytes of a torn record at the end; healed on resume", damage=False
        )


def _attempts(paths: RunPaths, events: list[Event]) -> Iterator[Finding]:
    for attempt, changes in fingerprints.unaccepted(events):
        changed = ", ".join(changes)
        yield Finding(
            paths.events.name, f"attempt {attempt} went on with other {changed}; nobody accepted it"
        )


def _proposals(paths: RunPaths, history: History) -> Iterator[Finding]:
    for number in proposal_numbers(paths):
        if problem := problem_of_proposal(paths, number):
            yield Finding(f"proposals/{number:06d}.json", problem)
        decision = read_decision(paths, number)
        if decision is not None and not decision.verdict:
            problem = _problem(paths.decision(number), misfit_of_decision)
            yield Finding(f"decisions/{number:06d}.json", f"is no decision: {problem}", damage=False)
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
