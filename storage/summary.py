"""What a list of runs, `hankelboard show` and a page's header need to know of a run."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hankelboard.storage.commands import read_notes
from hankelboard.storage.errors import RunError
from hankelboard.storage.history import History, read_history
from hankelboard.storage.journal import JournalReader
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.records import Record
from hankelboard.storage.references import state_beside, waits_for
from hankelboard.storage.runs import Run, read_run
from hankelboard.storage.status import process_is_gone, read_status

PRIMARY_METRIC = "val/accuracy"
ENDED = ("finished", "stopped", "failed", "cancelled", "interrupted")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One run in short. `problem` says why the rest is empty."""

    run: str
    name: str
    state: str
    """queued, starting, running, paused, waiting_for_decision, stopping, finished, stopped, failed,
    cancelled, interrupted, dead, or unreadable."""
    phase: str = ""
    step: int = 0
    total_steps: int = 0
    branch: int = 0
    attempt: int = 0
    policy: str = ""
    waiting: str = "pause"
    """What training does while a person decides: pause or train."""
    state_dims: list[int]
    initial_state_dims: list[int]
    pending_proposal: int | None = None
    best: Record | None = None
    steps_per_s: float | None = None
    eta_s: float | None = None
    train_s: float | None = None
    waiting_s: float | None = None
    test: Record | None = None
    created: str = ""
    preset: str = ""
    group: str = ""
    role: str = ""
    series: str = ""
    seed: int = 0
    tags: list[str]
    queued: bool = True
    copy_of: str = ""
    archived: bool = False
    reason: str = ""
    """Why the run ended, or what a queued one waits for."""
    prior_s: float = 0.0
    """Seconds of training of other runs that this one builds on: of its first weights, of its teacher."""
    problem: str = ""


def summarise(paths: RunPaths, history: History | None = None) -> Summary:
    """The summary of a run from its directory; never fails on a damaged one."""
    try:
        run = read_run(paths)
    except (RunError, OSError) as error:
        return unreadable(paths, str(error))
    try:
        history = history or read_history(paths)
    except OSError as error:
        history = History(state="unreadable", reason=str(error))
    return combine(run, history, read_status(paths), read_notes(paths), paths)


def unreadable(paths: RunPaths, problem: str) -> Summary:
    """The summary of a run whose identity cannot be read."""
    return Summary(
        run=paths.run_id, name=paths.run_id, state="unreadable", problem=problem,
        state_dims=[], initial_state_dims=[], tags=[],
    )  # fmt: skip


def combine(
    run: Run,
    history: History,
    status: Record | None,
    notes: list[Record],
    paths: RunPaths,
    find_best: Callable[[], Record | None] | None = None,
    state_of: Callable[[str], str | None] | None = None,
) -> Summary:
    """The summary from parts that were read already.

    The best value is what status.json says; without that what `find_best` finds, or the journal of metrics.
    What a queued run waits for is told by `state_of`, or by the journals of the runs beside it.
    """
    pending = history.pending()
    status = status or {}
    ended = history.state in ENDED
    best = status.get("best") or (history.finished or {}).get("best")
    if best is None:
        best = find_best() if find_best else best_on_path(history, _records(paths.metrics))
    folded = fold_notes(run, notes)
    return Summary(
        run=run.id,
        name=folded["name"],
        state=live_state(history, status),
        phase="" if ended else str(status.get("phase") or ""),
        step=_whole(status.get("step"), history.step) if not ended else history.step,
        total_steps=_whole(run.config.get("training", {}).get("steps"), 0),
        branch=history.branch,
        attempt=max(history.attempt, 0),
        policy=history.policy or str(run.config.get("reduction", {}).get("policy", "")),
        waiting=history.waiting or str(run.config.get("reduction", {}).get("waiting") or "pause"),
        state_dims=history.state_dims,
        initial_state_dims=history.initial_state_dims,
        pending_proposal=pending.number if pending else None,
        best=best,
        steps_per_s=_number(status.get("steps_per_s")) if not ended else None,
        eta_s=_number(status.get("eta_s")) if not ended else None,
        train_s=_number(status.get("train_s", (history.finished or {}).get("train_s"))),
        waiting_s=_number(status.get("waiting_s")),
        test=(history.finished or {}).get("test"),
        created=run.created,
        preset=run.preset,
        group=run.group,
        role=run.role,
        series=run.series,
        seed=run.seed,
        tags=folded["tags"],
        queued=run.queued,
        copy_of=run.copy_of,
        archived=folded["archived"],
        reason=history.reason
        if history.state != "queued"
        else waits_for(run.config, state_of or state_beside(paths)),
        prior_s=sum(_number(item.get("train_s")) or 0.0 for item in history.references),
    )


def _records(journal: Path) -> Iterator[Record]:
    return (record for batch in JournalReader(journal).batches() for record in batch)


def live_state(history: History, status: Record) -> str:
    """The state now: journals decide how a run ended, the status says what a living one does."""
    if history.state in ENDED or history.state == "unreadable":
        return history.state
    if not status:
        return history.state
    if process_is_gone(status):
        return "dead"
    state = status.get("state")
    return state if isinstance(state, str) else history.state


def best_on_path(history: History, metrics: Iterable[Record], metric: str = PRIMARY_METRIC) -> Record | None:
    """Best validation value on the live path, with its step."""
    best: Record | None = None
    for record in metrics:
        value = record.get(metric)
        if isinstance(value, int | float) and history.on_path(record) and (not best or value > best["value"]):
            best = {"metric": metric, "value": value, "step": record.get("step")}
    return best


def fold_notes(run: Run, notes: list[Record]) -> dict[str, Any]:
    """Name, tags and archived flag after all notes; the last word counts."""
    name, tags, archived = run.name, list(run.tags), False
    for note in notes:
        value = note.get("value")
        if note["note"] == "rename" and isinstance(value, str) and value.strip():
            name = value.strip()
        elif note["note"] == "tag" and isinstance(value, list):
            tags = [str(tag) for tag in value]
        elif note["note"] == "archive":
            archived = value is True
    return {"name": name, "tags": tags, "archived": archived}


def _whole(value: object, default: int) -> int:
    return value if isinstance(value, int) else default


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
