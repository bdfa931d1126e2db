"""What a list of runs, `hankelboard show` and a page's header need to know of a run."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypedDict, TypeGuard, cast

from hankelboard.storage.commands import read_notes
from hankelboard.storage.errors import RunError
from hankelboard.storage.history import History, read_history
from hankelboard.storage.journal import metrics_reader
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.opening import irregularities
from hankelboard.storage.records import Record
from hankelboard.storage.references import state_beside, waits_for
from hankelboard.storage.runs import Run, read_run
from hankelboard.storage.savings import Savings, savings_of
from hankelboard.storage.schema import Best, Note, Primary, Scores, Status
from hankelboard.storage.status import process_is_gone, read_status
from hankelboard.storage.vocabulary import ENDED, Better, NoteKind, RunState, Waiting


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One run in short. `problem` says why the rest is empty, or what is wrong in its directory."""

    run: str
    name: str
    state: str
    """One of RunState, or what a newer trainer's status says."""
    phase: str = ""
    step: int = 0
    total_steps: int = 0
    branch: int = 0
    attempt: int = 0
    policy: str = ""
    waiting: str = Waiting.PAUSE
    """What training does while a person decides: pause or train."""
    state_dims: list[int]
    initial_state_dims: list[int]
    pending_proposal: int | None = None
    best: Best | None = None
    steps_per_s: float | None = None
    eta_s: float | None = None
    train_s: float | None = None
    waiting_s: float | None = None
    savings: Savings | None = None
    """What its cuts saved; None without a cut that was timed."""
    energy_j: float | None = None
    """Of training; None where the machine does not say it."""
    test: Scores | None = None
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
    """Why the run ended, or what a queued one waits for, or how its last process died."""
    prior_s: float = 0.0
    """Seconds of training of other runs that this one builds on: of its first weights, of its teacher."""
    held: str = ""
    """Why no worker resumes it until a person says so."""
    data: str = ""
    """Stands for the data that it learned from; empty where that was not recorded."""
    problem: str = ""


class SummaryRow(TypedDict):
    """A Summary as plain data, for caches and tables: the same fields (a test compares them)."""

    run: str
    name: str
    state: str
    phase: str
    step: int
    total_steps: int
    branch: int
    attempt: int
    policy: str
    waiting: str
    state_dims: list[int]
    initial_state_dims: list[int]
    pending_proposal: int | None
    best: Best | None
    steps_per_s: float | None
    eta_s: float | None
    train_s: float | None
    waiting_s: float | None
    savings: Savings | None
    energy_j: float | None
    test: Scores | None
    created: str
    preset: str
    group: str
    role: str
    series: str
    seed: int
    tags: list[str]
    queued: bool
    copy_of: str
    archived: bool
    reason: str
    prior_s: float
    held: str
    data: str
    problem: str


def row_of(summary: Summary) -> SummaryRow:
    """Return a summary as plain data; lists in it are shared, not copied."""
    return cast(SummaryRow, {**vars(summary)})


def summarise(paths: RunPaths, history: History | None = None) -> Summary:
    """Return the summary of a run from its directory; a damaged one has a `problem`."""
    try:
        run = read_run(paths)
    except (RunError, OSError) as error:
        return unreadable(paths, str(error))
    try:
        history = history or read_history(paths)
    except OSError as error:
        history = History(state=RunState.UNREADABLE, reason=str(error))
    unknown = history.state == RunState.UNREADABLE
    find_best = (lambda: None) if unknown else None
    combined = combine(run, history, read_status(paths), read_notes(paths), paths, find_best)
    return replace(combined, problem=problem_of(paths))


def problem_of(paths: RunPaths) -> str:
    """Return what lies in the place of a file or folder of the run, in words; nothing where all is well."""
    try:
        oddities = irregularities(paths)
    except OSError as error:
        return f"{paths.run_id} cannot be listed: {error.strerror or error}"
    return f"{'; '.join(oddities)}. Nobody trains the run until that is put right." if oddities else ""


def unreadable(paths: RunPaths, problem: str) -> Summary:
    """Return the summary of a run whose identity cannot be read."""
    return Summary(
        run=paths.run_id, name=paths.run_id, state=RunState.UNREADABLE, problem=problem,
        state_dims=[], initial_state_dims=[], tags=[],
    )  # fmt: skip


def combine(
    run: Run,
    history: History,
    status: Status | None,
    notes: list[Note],
    paths: RunPaths,
    find_best: Callable[[], Best | None] | None = None,
    state_of: Callable[[str], str | None] | None = None,
) -> Summary:
    """Return the summary from parts that were read already.

    The best value is that of status.json; without one that of `find_best`, or of the journal of metrics.
    What a queued run waits for is known from `state_of`, or from the journals of the runs beside it.
    """
    pending, finished = history.pending(), history.finished
    status = _of_latest(history, status)
    said: Record = {**(status or {})}
    ended = history.state in ENDED
    best = said.get("best") or (finished.get("best") if finished else None)
    if best is None:
        best = find_best() if find_best else best_on_path(history, _metrics(paths), run.primary)
    folded = fold_notes(run, notes)
    train_s = _number(said.get("train_s", finished.get("train_s") if finished else None))
    cutting_s = _number(said.get("cutting_s", finished.get("cutting_s") if finished else None))
    step = _whole(said.get("step"), history.step) if not ended else history.step
    total_steps = _whole(run.config.get("training", {}).get("steps"), 0)
    steps_left = 0 if ended else max(0, total_steps - step)
    return Summary(
        run=run.id,
        name=folded["name"],
        state=live_state(history, status),
        phase="" if ended else str(said.get("phase") or ""),
        step=step,
        total_steps=total_steps,
        branch=history.branch,
        attempt=max(history.attempt, 0),
        policy=history.policy or str(run.config.get("reduction", {}).get("policy", "")),
        waiting=history.waiting or str(run.config.get("reduction", {}).get("waiting") or Waiting.PAUSE),
        state_dims=history.state_dims,
        initial_state_dims=history.initial_state_dims,
        pending_proposal=pending.number if pending else None,
        best=best,
        steps_per_s=_number(said.get("steps_per_s")) if not ended else None,
        eta_s=_number(said.get("eta_s")) if not ended else None,
        train_s=train_s,
        waiting_s=_number(said.get("waiting_s")),
        savings=savings_of(
            history, step=step, steps_left=steps_left, train_s=train_s, cutting_s=cutting_s or 0.0
        ),
        energy_j=_number(said.get("energy_j")),
        test=finished.get("test") if finished else None,
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
        if history.state != RunState.QUEUED
        else waits_for(run.config, state_of or state_beside(paths)) or history.reason,
        prior_s=sum(_number(item.get("train_s")) or 0.0 for item in history.references),
        held=history.held,
        data="+".join(history.data),
    )


def _metrics(paths: RunPaths) -> Iterator[Record]:
    return (record for batch in metrics_reader(paths).batches() for record in batch)


def live_state(history: History, status: Status | None) -> str:
    """Return the state now: journals decide how a run ended, the status says what a living one does.

    Without a status it is not known whether a run that began is being trained.
    """
    if history.state in (*ENDED, RunState.RELEASED, RunState.UNREADABLE):
        return history.state
    status = _of_latest(history, status)
    if not status:  # no sign of a process, and none that it ended
        return history.state if history.state == RunState.QUEUED else RunState.UNKNOWN
    if process_is_gone(status):
        return RunState.DEAD
    return status["state"]


def _of_latest(history: History, status: Status | None) -> Status | None:
    """Return the status, None when an attempt wrote it after a later one had begun."""
    attempt = status.get("attempt") if status else None
    return None if isinstance(attempt, int) and attempt < history.attempt else status


def best_on_path(history: History, metrics: Iterable[Record], primary: Primary) -> Best | None:
    """Return the best value of a run's primary metric on the live path, with its step."""
    metric, best = primary["metric"], None
    for record in metrics:
        value = record.get(metric)
        if is_number(value) and history.on_path(record) and (best is None or is_better(value, best, primary)):
            best = Best(metric=metric, value=value, step=record["step"])
    return best


def is_better(value: float, best: Best, primary: Primary) -> bool:
    """Return whether a value of the primary metric is better than the best so far."""
    return value < best["value"] if primary["better"] == Better.LOWER else value > best["value"]


def is_number(value: object) -> TypeGuard[float]:
    """Return whether this is a number: true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


class Attached(TypedDict):
    """What notes make of a run."""

    name: str
    tags: list[str]
    archived: bool


def fold_notes(run: Run, notes: list[Note]) -> Attached:
    """Return name, tags and archived flag after all notes; the newest of each counts."""
    name, tags, archived = run.name, list(run.tags), False
    for note in notes:
        value = note.get("value")
        if note["note"] == NoteKind.RENAME and isinstance(value, str) and value.strip():
            name = value.strip()
        elif note["note"] == NoteKind.TAG and isinstance(value, list):
            tags = [str(tag) for tag in value]
        elif note["note"] == NoteKind.ARCHIVE:
            archived = value is True
    return {"name": name, "tags": tags, "archived": archived}


def _whole(value: object, default: int) -> int:
    return value if isinstance(value, int) else default


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
