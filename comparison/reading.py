"""Runs read from disk for a comparison: final figures, curves, and where they were computed."""

import csv
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict

from hankelboard.comparison.cells import csv_rows
from hankelboard.comparison.curves import METRICS, Curve, read_curve
from hankelboard.comparison.series import Final, final_of
from hankelboard.storage.commands import read_notes
from hankelboard.storage.errors import ConfigError, RunError
from hankelboard.storage.given_files import MAX_TABLE_BYTES, read_given_text
from hankelboard.storage.journal import read_events
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.runs import list_runs, read_run
from hankelboard.storage.schema import Event
from hankelboard.storage.scores import PRIMARY_METRIC
from hankelboard.storage.summary import fold_notes, row_of, summarise
from hankelboard.storage.vocabulary import EventKind, RunState


class Origin(TypedDict):
    """What runs were computed by."""

    versions: dict[str, str] | None
    machine: dict[str, Any] | None
    device: str | None
    threads: int | None


def batch_of(config: Mapping[str, Any]) -> int:
    """Return the samples per step; 1 where the configuration does not say."""
    training = config.get("training")
    batch = training.get("batch") if isinstance(training, dict) else None
    return batch if isinstance(batch, int) else 1


def groups_of(runs: Path) -> dict[str, tuple[list[RunPaths], list[RunPaths]]]:
    """Return runs by group, oldest first: those that a comparison takes, and archived ones.

    Runs without a group and damaged ones are in none.
    """
    groups: dict[str, tuple[list[RunPaths], list[RunPaths]]] = {}
    for paths in reversed(list_runs(runs)):
        try:
            run, notes = read_run(paths), read_notes(paths)
        except (RunError, OSError):
            continue
        if run.group:
            taken, archived = groups.setdefault(run.group, ([], []))
            (archived if fold_notes(run, notes)["archived"] else taken).append(paths)
    return groups


ARCHIVED = "{}: archived"
"""The note on an archived run that is left out."""


def read_finals(listed: Iterable[RunPaths]) -> tuple[list[Final], list[str]]:
    """Return final figures of the runs that can be read, and a message for each that cannot."""
    finals, problems = [], []
    for paths in listed:
        summary = summarise(paths)
        if summary.problem:
            problems.append(summary.problem)
        if summary.state == RunState.UNREADABLE:
            continue
        config = read_run(paths).config
        last = read_curve(paths, PRIMARY_METRIC, batch_of(config)).last
        finals.append(final_of(row_of(summary), config, last))
    return finals, problems


def read_curves(listed: Iterable[RunPaths], metric: str = PRIMARY_METRIC) -> dict[str, Curve]:
    """Return the curve of each run that has one, by run id."""
    assert metric in METRICS
    read = {
        paths.run_id: read_curve(paths, metric, batch_of(read_run(paths).config)).after(
            summarise(paths).prior_s
        )
        for paths in listed
    }
    return {run: curve for run, curve in read.items() if len(curve.value)}


def read_csv(file: Path) -> list[Final]:
    """Return final figures from a table that `tables.run_rows` made; the runs are not needed.

    Raises
    ------
    ConfigError
        If the file cannot be read or is no such table.
    """
    try:
        return [_final_of_row(row) for row in csv_rows(read_given_text(file, MAX_TABLE_BYTES))]
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{file}: is no table of runs as compare --csv writes ({error})") from None


def _final_of_row(row: Mapping[str, str]) -> Final:
    def number(key: str) -> float | None:
        value = float(row[key]) if row[key] else math.nan
        return value if math.isfinite(value) else None

    texts = {key: row[key] for key in ("run", "name", "role", "group", "preset", "state", "series")}
    best_step = number("best_step")
    return Final(
        **texts, seed=int(row["seed"]), step=int(row["step"]), total_steps=int(row["total_steps"]),
        state_dims=[int(part) for part in row["state_dims"].split()], best=number("best"),
        best_step=None if best_step is None else int(best_step), last=number("last"), test=number("test"),
        train_s=number("train_s"), prior_s=number("prior_s") or 0.0, waiting_s=number("waiting_s"), config={},
        bits=number("bits") if "bits" in row else None, data=row.get("data") or "",
        family=row.get("family") or "", task=row.get("task") or "",
    )  # fmt: skip


def origin_of(events: Iterable[Event]) -> Origin:
    """Return what the last attempt of a run was computed by."""
    last: Event | None = None
    for event in events:
        if event.get("kind") == EventKind.ATTEMPT_STARTED:
            last = event
    if last is None:
        return {"versions": None, "machine": None, "device": None, "threads": None}
    return {
        "versions": last.get("versions"), "machine": last.get("machine"), "device": last.get("device"),
        "threads": last.get("threads"),
    }  # fmt: skip


def read_origins(listed: Iterable[RunPaths]) -> list[tuple[Origin, int]]:
    """Return the different origins of runs, and how many runs each has."""
    return count_origins(origin_of(read_events(paths)) for paths in listed)


def count_origins(origins: Iterable[Origin]) -> list[tuple[Origin, int]]:
    """Return each origin once with its number of runs, most frequent first."""
    counted = Counter(json.dumps(origin, sort_keys=True) for origin in origins)
    return [(json.loads(text), count) for text, count in counted.most_common()]
