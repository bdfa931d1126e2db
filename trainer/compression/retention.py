"""Which checkpoints may go: none that a rollback, a resume or a person may need."""

from collections import defaultdict

from hankelboard.storage import checkpoints, commands
from hankelboard.storage.checkpoints import Checkpoint
from hankelboard.storage.history import History
from hankelboard.storage.layout import CheckpointName, RunPaths
from hankelboard.storage.scores import PRIMARY_METRIC
from hankelboard.storage.vocabulary import Cause, NoteKind
from hankelboard.trainer.compression.inbox import unanswered

PRUNABLE = (Cause.SCHEDULED, Cause.STOP, Cause.BRANCH)


def superfluous(paths: RunPaths, history: History, *, keep: int) -> list[Checkpoint]:
    """Return the checkpoints that retention does not keep, oldest first.

    Kept are: on each branch the last `keep` unpinned ones and the best; everything pinned (by the trainer
    around a cut, or by a person); where a branch began; where a rollback that is not answered yet leads.
    Nothing goes before a newer checkpoint of the live path has been verified. `keep` = 0 keeps all.
    """
    if keep == 0:
        return []
    there, _ = checkpoints.list_checkpoints(paths)
    needed = _needed(paths, history)
    by_branch: defaultdict[int, list[Checkpoint]] = defaultdict(list)
    for checkpoint in there:
        if checkpoint.cause in PRUNABLE and not checkpoint.pinned:
            by_branch[checkpoint.name.branch].append(checkpoint)
    candidates = [
        checkpoint
        for unpinned in by_branch.values()
        for checkpoint in unpinned[:-keep]
        if str(checkpoint.name) not in needed and checkpoint is not max(unpinned, key=_quality)
    ]
    if not candidates or not _newer_one_is_sound(paths, history, candidates[-1].name, there):
        return []
    return candidates


def _needed(paths: RunPaths, history: History) -> set[str]:
    """Return the names that branches, people's pins and unanswered rollbacks refer to."""
    names = {branch.checkpoint for branch in history.branches.values() if branch.checkpoint}
    for note in commands.read_notes(paths):
        if note["note"] == NoteKind.PIN and isinstance(note.get("value"), str):
            names.add(note["value"])
    return names | {each.checkpoint for each in unanswered(paths, history) if each.checkpoint}


def _quality(checkpoint: Checkpoint) -> tuple[float, int]:
    value = checkpoint.metrics.get(PRIMARY_METRIC)
    return (value if isinstance(value, int | float) else -1.0, -checkpoint.name.sequence)


def _newer_one_is_sound(
    paths: RunPaths, history: History, oldest_gone: CheckpointName, there: list[Checkpoint]
) -> bool:
    path = history.segments()
    newer = [
        c.name
        for c in there
        if c.name.sequence > oldest_gone.sequence and c.name.branch in path
        if not history.is_replaced(vars(c.name))
    ]
    return any(not list(checkpoints.problems(paths, name)) for name in reversed(newer))
