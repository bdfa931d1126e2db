"""Claim: journals, status, spectra, checkpoints and the look for commands cost under 1 % of training.

A real run of the preset digits-lru (64 states, 32 channels, one thread) at the default cadence: records every
10 steps, a snapshot of the spectrum every 100, a checkpoint every 500. Blocks of 500 steps with all of it and
blocks of bare steps take turns; both validate every 100 steps. First table: processor time and clock of a
block. Below: what the pieces of a full block took, and their shares of it; the rest is steps and validation.
A piece that waits for the disk costs clock and no processor. Heartbeat and look for commands go by the clock,
1 and 5 times a second: on a machine that is busy with other things their share rises.
"""

import contextlib
import io
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.repetitions import REPETITIONS, Spent, alternating, ratio, spent, spread
from hankelboard.storage.vocabulary import Phase, RunState

BLOCK = 500
KEYS: dict[str, Any] = {
    "training": {"steps": 100_000, "threads": 1},
    "reduction": {"policy": "keep", "steps": [99_000]},
    "output": {"tensorboard": False},
}
Row = tuple[str, ...]


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        loop = Loop(Path(folder))
        loop.bare()
        loop.full()  # the first of everything is slow
        with loop.pieces() as pieces:
            found: dict[str, list[Spent]] = alternating(
                {"bare": lambda: spent(loop.bare), "full": lambda: spent(loop.full)}
            )
    table: list[Row] = [("what", "processor, s", "ratio", "clock, s", "ratio")]
    cpu, wall = ({name: [getattr(one, kind) for one in each] for name, each in found.items()}
                 for kind in ("cpu", "wall"))  # fmt: skip
    for name in ("bare", "full"):
        table.append((f"{BLOCK} steps, {name}", spread(cpu[name], digits=2), ratio(cpu[name], cpu["bare"]),
                      spread(wall[name], digits=2), ratio(wall[name], wall["bare"])))  # fmt: skip
    whole = [sum(cpu["full"]), sum(wall["full"])]
    everything = [sum(piece[i] for piece in pieces.values()) for i in (0, 1)]
    for name, piece in [*sorted(pieces.items(), key=lambda item: -item[1][0]), ("all pieces", everything)]:
        shares = (share(piece[i], whole[i]) for i in (0, 1))
        table.append((f"  {name}", *(text for pair in shares for text in pair)))
    return table


def share(seconds: float, whole: float) -> tuple[str, str]:
    """Seconds per block, and the share of all blocks."""
    return f"{seconds / REPETITIONS:.4f}", f"{100 * seconds / whole:.2f} %"


class Loop:
    """The training loop of one run, block by block."""

    def __init__(self, folder: Path):
        from hankelboard.settings.config import parse
        from hankelboard.settings.preset import find_preset
        from hankelboard.settings.toml import merge
        from hankelboard.storage.attempts import Fence
        from hankelboard.storage.history import read_history
        from hankelboard.storage.layout import run_paths
        from hankelboard.storage.runs import create_run
        from hankelboard.trainer.compression.control import Control
        from hankelboard.trainer.compression.offers import Offers
        from hankelboard.trainer.compression.recorder import Recorder
        from hankelboard.trainer.training import loop as train
        from hankelboard.trainer.training.build import open_session
        from hankelboard.trainer.training.resumption import Changes
        from hankelboard.trainer.training.surroundings import surroundings

        config = parse(merge(find_preset("digits-lru").tables, KEYS))
        paths = run_paths(folder, create_run(folder, name="overhead", config=config.as_dict()).id)
        recorder = Recorder(Fence(paths, 0), total_steps=100_000, tensorboard=False, keep_log=True)
        self.threads = contextlib.ExitStack()
        self.threads.enter_context(surroundings(config.training))
        self.train = train
        self.session = open_session(paths, config, read_history(paths), recorder)
        train.begin(self.session, Changes())
        run, monitor = self.session.run, self.session.monitor
        self.offers = Offers(run, monitor, self.session.workload, config.reduction)
        self.control = Control(run, self.offers.measure)

    def full(self) -> None:
        """As `train_loop` does it."""
        for _ in range(BLOCK):
            self.train.hold_at_boundary(self.session.run, self.control, self.offers)
            self.session.run.recorder.show(RunState.RUNNING, Phase.TRAINING)
            self.session.losses.append(self.train.optimizer_step(self.session))
            self.train.record_step(self.session)

    def bare(self) -> None:
        """Steps and validation alone."""
        for _ in range(BLOCK):
            self.train.optimizer_step(self.session)
            if self.session.run.state.step % self.session.config.training.evaluate_every == 0:
                self.session.monitor.evaluate()

    @contextlib.contextmanager
    def pieces(self) -> Iterator[dict[str, list[float]]]:
        """Seconds of processor and clock of what is more than steps, while the block runs."""
        spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        run, monitor, offers = self.session.run, self.session.monitor, self.offers
        timed(spent, "checkpoints", run, "save")
        timed(spent, "spectra", monitor, "record_spectra")
        timed(spent, "systems kept for the analysis", monitor, "record_systems")
        timed(spent, "metrics records", run.recorder, "metrics")
        timed(spent, "status and heartbeat", run.recorder, "show")
        timed(spent, "look for commands", self.control, "obey")
        timed(spent, "look for proposals", offers, "advance")
        yield spent


def timed(spent: dict[str, list[float]], name: str, owner: Any, method: str) -> None:
    """Count the time of a method of one object under a name, without that of reading the clock."""
    work: Callable[..., Any] = getattr(owner, method)
    began = time.process_time()
    for _ in range(1000):
        time.process_time()
    reading = (time.process_time() - began) / 1000

    def counted(*args: Any, **kwargs: Any) -> Any:
        cpu, wall = time.process_time(), time.perf_counter()
        try:
            return work(*args, **kwargs)
        finally:
            spent[name][0] += time.process_time() - cpu - reading
            spent[name][1] += time.perf_counter() - wall

    setattr(owner, method, counted)


if __name__ == "__main__":
    for row in rows():
        print(" | ".join(row), flush=True)
