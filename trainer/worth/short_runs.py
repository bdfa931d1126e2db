"""Short runs of a configuration at several state dimensions: the same data in the same order, by seed."""

import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hankelboard.settings.config import Config
from hankelboard.storage.history import read_history
from hankelboard.storage.layout import run_paths
from hankelboard.storage.runs import RunLock, create_run
from hankelboard.trainer.compression.recorder import Recorder
from hankelboard.trainer.data.task import Task
from hankelboard.trainer.training.build import open_session
from hankelboard.trainer.training.loop import optimizer_step
from hankelboard.trainer.training.session import Session
from hankelboard.trainer.training.surroundings import surroundings
from hankelboard.trainer.worth.verdict import ShortRun

WARMING_UP = 3
"""Updates that are not timed: the first ones allocate and choose."""


def train_short(config: Config, task: Task, *, divisor: int, seed: int, steps: int) -> ShortRun:
    """Train from scratch with the states divided, its schedule compressed to so few updates."""
    short = shortened(config, divisor=divisor, seed=seed, steps=steps)
    with surroundings(short.training), opened(short, task) as session:
        session.run.reshaped()
        times = [_timed_step(session) for _ in range(steps)]
        answers = session.workload.answer(session.run.model, config.reduction.evidence_samples)
    return ShortRun(
        divisor=divisor, seed=seed, steps=steps, loss=answers.loss, accuracy=answers.accuracy,
        step_s=statistics.median(times[WARMING_UP:] or times),
    )  # fmt: skip


def _timed_step(session: Session) -> float:
    started = time.perf_counter()
    optimizer_step(session)
    return time.perf_counter() - started


def shortened(config: Config, *, divisor: int, seed: int, steps: int) -> Config:
    """Return the configuration of a short run: nothing is cut, nothing recorded on the way."""
    return replace(
        config,
        model=replace(config.model, state_dim=divided(config.state_dims, divisor)),
        training=replace(config.training, steps=steps, seed=seed),
        reduction=replace(config.reduction, attempts=0, steps=[]),
        output=replace(config.output, tensorboard=False, systems=False),
    )


def divided(state_dims: list[int], divisor: int) -> list[int]:
    """Return a part of the states of each layer, at least one.

    >>> divided([64, 10], 4), divided([64, 10], 16)
    ([16, 2], [4, 1])
    """
    return [max(1, dim // divisor) for dim in state_dims]


@contextmanager
def opened(config: Config, task: Task) -> Iterator[Session]:
    """Yield a session whose records lie in a folder that is gone afterwards; it prints nothing."""
    with tempfile.TemporaryDirectory(prefix="hankelboard-worth-") as folder:
        run = create_run(Path(folder), name="worth", config=config.as_dict(), queued=False)
        paths = run_paths(Path(folder), run.id)
        with RunLock(paths) as lock, contextlib.redirect_stdout(io.StringIO()):
            steps = config.training.steps
            recorder = Recorder(lock.fence, total_steps=steps, tensorboard=False, keep_log=False)
            try:
                yield open_session(paths, config, read_history(paths), recorder, task=task)
            finally:
                recorder.close()
