"""What compressing costs besides steps, as a share of a preset's training: evidence, spectra, checkpoints.

Processor time of single pieces, medians in turns of a model that has trained for some steps, times how often
the preset has them. Required is what a decision and a cut cannot do without: the proposal's figures and its
spectrum, validation before and after, and the two checkpoints of a cut.
"""

import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import nn

from hankelboard.settings.config import parse
from hankelboard.settings.preset import find_preset
from hankelboard.settings.toml import merge
from hankelboard.storage.attempts import Fence
from hankelboard.storage.history import read_history
from hankelboard.storage.layout import run_paths
from hankelboard.storage.runs import create_run
from hankelboard.storage.vocabulary import Cause, SnapshotCause
from hankelboard.trainer.compression import evidence
from hankelboard.trainer.compression.calibration import calibrate
from hankelboard.trainer.compression.evidence import Occasion
from hankelboard.trainer.compression.opportunities import opportunity_steps
from hankelboard.trainer.compression.recorder import Recorder
from hankelboard.trainer.training import loop
from hankelboard.trainer.training.build import open_session
from hankelboard.trainer.training.resumption import Changes
from hankelboard.trainer.training.surroundings import surroundings

PRESETS = ("digits-lru", "tones-lru", "text-mamba")
WARM, ROUNDS = 12, 3
KEYS: dict[str, Any] = {"training": {"threads": 1}, "output": {"tensorboard": False}}
Row = tuple[str, ...]


def rows() -> list[Row]:
    return list(found())


def found() -> Iterator[Row]:
    yield ("preset", "steps", "step, ms", "spectra", "checkpoints", "required", "optional, all of it")
    yield from map(row, PRESETS)


def row(preset: str) -> Row:
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        return measured(preset, Path(folder))


def measured(preset: str, folder: Path) -> Row:
    config = parse(merge(find_preset(preset).tables, KEYS))
    paths = run_paths(folder, create_run(folder, name=preset, config=config.as_dict()).id)
    training, reduction = config.training, config.reduction
    recorder = Recorder(Fence(paths, 0), total_steps=training.steps, tensorboard=False, keep_log=True)
    with surroundings(training):
        session = open_session(paths, config, read_history(paths), recorder)
        loop.begin(session, Changes())
        for _ in range(WARM):
            loop.optimizer_step(session)
        run, monitor, workload = session.run, session.monitor, session.workload

        def untrained() -> nn.Module:
            return calibrate(workload.untrained(), workload.calibration_inputs(run.state.position))

        def gathered(limit_s: float) -> object:
            occasion = Occasion(limit_s=limit_s, fresh=untrained, opportunities=1)
            monitor.calibrate()
            return evidence.gather(run.model, workload, reduction, occasion)

        def saved() -> object:
            run.state.position += 1  # what is the same is not written twice
            run._saved = None
            return run.save(Cause.COMMAND)

        def spectrum() -> None:
            monitor._calibrated = None
            monitor.record_spectra(SnapshotCause.PROPOSAL)

        pieces: dict[str, Callable[[], object]] = {
            "step": lambda: loop.optimizer_step(session), "spectrum": spectrum, "save": saved,
            "validation": monitor.measure, "required": lambda: gathered(0.0),
            "all": lambda: gathered(1e9),
        }  # fmt: skip
        spent: dict[str, list[float]] = {name: [] for name in pieces}
        for _ in range(ROUNDS):
            for name, work in pieces.items():
                spent[name].append(cpu_s(work))
        recorder.close()
    one = {name: statistics.median(times) for name, times in spent.items()}
    whole = training.steps * one["step"]
    cuts = len(opportunity_steps(
        training.steps, count=reduction.attempts, window=reduction.window, explicit=reduction.steps
    ))  # fmt: skip
    required = one["required"] + 2 * (one["spectrum"] + one["validation"] + one["save"])
    return (
        preset, f"{training.steps:,}", f"{1e3 * one['step']:.1f}",
        share(training.steps / (training.spectra_every or 1e12) * one["spectrum"], whole),
        share(training.steps / (training.checkpoint_every or 1e12) * one["save"], whole),
        f"{share(cuts * required, whole)} ({cuts} x {required:.2f} s)",
        f"{share(cuts * (one['all'] - one['required']), whole)} ({one['all'] - one['required']:.2f} s each)",
    )  # fmt: skip


def share(seconds: float, whole: float) -> str:
    return f"{100 * seconds / whole:.1f} %"


def cpu_s(work: Callable[[], object]) -> float:
    """Seconds of processor."""
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    for line in found():
        print(" | ".join(line), flush=True)
