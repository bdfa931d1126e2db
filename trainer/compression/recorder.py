"""Everything the trainer writes about a run: journals, status with heartbeat, TensorBoard."""

import contextlib
import math
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, Unpack, cast

from hankelboard.storage import opening
from hankelboard.storage.attempts import Fence
from hankelboard.storage.errors import Superseded
from hankelboard.storage.history import History
from hankelboard.storage.journal import Journal
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.log import Log
from hankelboard.storage.records import Record, now
from hankelboard.storage.schema import Best, Event, EventFields, Place, Spectrum, Status
from hankelboard.storage.status import process_identity, write_status
from hankelboard.storage.vocabulary import EventKind, Phase, RunState, SnapshotCause
from hankelboard.trainer.compression import terminal
from hankelboard.trainer.compression.clock import Clock
from hankelboard.trainer.compression.loop_state import LoopState

BEAT_S = 1.0
RETRY_S = 0.5
CALM_S = 5.0
"""How long trouble must be away to have ended: on a disk that is just full it comes and goes."""
QUIET_EVENTS = (
    EventKind.CHECKPOINT_PUBLISHED, EventKind.COMMAND_ACCEPTED, EventKind.WAITING_STARTED,
    EventKind.WAITING_ENDED,
)  # fmt: skip
EXPECT_S = {
    Phase.TRAINING: 5.0, Phase.EVALUATING: 60.0, Phase.MEASURING: 120.0, Phase.CHECKPOINTING: 60.0,
    Phase.RESTORING: 60.0,
}  # fmt: skip
"""Longest silence that a phase may need."""


class Position(Protocol):
    """Where training is: asked for every record, because a restore replaces all of it."""

    @property
    def state(self) -> LoopState:
        """What the loop counts."""

    @property
    def state_dims(self) -> list[int]:
        """State dimension of each layer."""


@dataclass
class StoodAt:
    """The position before an attempt begins: where the run stood before."""

    state: LoopState = field(default_factory=LoopState)
    state_dims: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, history: History, status: Status | None) -> "StoodAt":
        """Return where the journal and the last status leave the run."""
        state = LoopState(step=history.step, branch=history.branch)
        said: Record = {**(status or {})}
        state.train_s, state.waiting_s, state.cutting_s = (
            _number(said.get(key)) for key in ("train_s", "waiting_s", "cutting_s")
        )
        best, pending = said.get("best"), said.get("pending_proposal")
        state.best = cast(Best, best) if isinstance(best, dict) else None
        state.pending_proposal = pending if isinstance(pending, int) else None
        return cls(state, list(history.state_dims))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


class Recorder:
    """The one writer of a run's journals and status, for the lifetime of one attempt."""

    def __init__(self, fence: Fence, *, total_steps: int, tensorboard: bool, keep_log: bool):
        """Open the journals. `keep_log`: write log.txt, where the output of a worker's child goes already."""
        paths = fence.paths
        self.attempt = fence.number
        self.check = fence.check
        """Called before anything is written or published: raises Superseded once a later attempt began."""
        self.trouble: str | None = None
        self.steps_per_s: float | None = None
        self._position: Position = StoodAt()
        self._started = time.monotonic()
        self._paths = paths
        self._total_steps = total_steps
        self._events = Journal(paths.events, guard=self.check)
        self._metrics = Journal(paths.metrics, buffer_s=1.0, guard=self.check)
        self._spectra = Journal(paths.spectra, buffer_s=1.0, guard=self.check)
        self._identity = process_identity()
        self._beat = 0
        self._beat_at = -math.inf
        self._shown = (RunState.STARTING, Phase.RESTORING)
        self._tensorboard = _TensorBoard(paths) if tensorboard else None
        self._in_trouble = False
        self._calm_since = math.inf
        self._log = Log(paths.log) if keep_log else None

    def follow(self, position: Position) -> None:
        """Ask `position` from now on where training is."""
        self._position = position

    def event(self, kind: EventKind, **fields: Unpack[EventFields]) -> Event:
        """Append an event, say it in the log, and return it.

        It is on disk when this returns, unless the disk is full: then it is kept, in order, until there is
        room, and `unwritten` holds.
        """
        record = cast(Event, {"t": now(), "kind": kind, **self._where(), **fields})
        try:
            self._events.append(record, durable=True)
        except OSError as error:
            self.say(f"{kind} not written yet: {error.strerror or error}")
            self._events.append(record)  # waits in memory for room
        if kind not in QUIET_EVENTS:
            said = {key: value for key, value in fields.items() if key != "fingerprints"}
            shown = " ".join(f"{key}={value}" for key, value in said.items() if value not in (None, ""))
            self.say(f"step {record['step']} branch {record['branch']}: {kind} {shown}")
        return record

    def say(self, text: str) -> None:
        """Write a line for people: to the terminal and to log.txt."""
        line = f"{now()} {text}"
        terminal.say(line)
        if self._log is not None:
            self._log.write(f"{line}\n".encode(errors="replace"))

    @property
    def unwritten(self) -> bool:
        """Whether events wait for room on the disk: nothing that follows from them may be done yet."""
        return self._events.trouble is not None

    def metrics(self, values: dict[str, float | int]) -> None:
        """Append a metrics record; waits at most a second in memory."""
        state = self._position.state
        record = {
            **self._where(),
            "elapsed_s": round(time.monotonic() - self._started, 3),
            "train_s": round(state.train_s, 3),
            **values,
            **{f"state_dim/{layer}": dim for layer, dim in enumerate(self._position.state_dims)},
        }
        self._metrics.append(record)
        if self._tensorboard:
            try:
                self._tensorboard.scalars(state, values)
            except ImportError as error:
                self._tensorboard = None
                self.say(f"no TensorBoard events in this attempt: {error}; pip install tensorboard")
            except (OSError, RuntimeError) as error:
                self._tensorboard = None
                self.say(f"no more TensorBoard events in this attempt: {error}")

    def spectrum(self, layer: int, hsv: list[float], *, importance: str, snapshot: SnapshotCause) -> None:
        """Append one layer's spectrum, six significant digits."""
        record: Spectrum = {
            "t": now(), **self._where(), "layer": layer, "state_dim": len(hsv), "importance": importance,
            "hsv": [float(f"{value:.6g}") for value in hsv], "snapshot": snapshot,
        }  # fmt: skip
        self._spectra.append(record)

    def _where(self) -> Place:
        state = self._position.state
        return {"step": state.step, "branch": state.branch, "attempt": self.attempt}

    def show(self, state: RunState, phase: Phase) -> None:
        """Replace status.json when state or phase changed, or a second has passed."""
        if (state, phase) == self._shown and time.monotonic() - self._beat_at < BEAT_S:
            return
        self._shown = (state, phase)
        self._beat += 1
        self._beat_at = time.monotonic()
        for journal in (self._events, self._metrics, self._spectra):
            journal.flush()
        self._note_trouble()
        try:
            self.check()
            write_status(self._paths, self._status(state, phase))
        except OSError as error:
            self.say(f"status.json not written: {error.strerror or error}")

    def show_phase(self, phase: Phase) -> None:
        """Show the same state in another phase, before something slow begins."""
        self.show(self._shown[0], phase)

    def _status(self, state: RunState, phase: Phase) -> Status:
        loop = self._position.state
        left = self._total_steps - loop.step
        return {
            "t": now(),
            **self._identity,
            **self._where(),
            "beat": self._beat,
            "expect_next_s": EXPECT_S[phase],
            "state": state,
            "phase": phase,
            "total_steps": self._total_steps,
            "state_dims": self._position.state_dims,
            "steps_per_s": self.steps_per_s and round(self.steps_per_s, 3),
            "eta_s": self.steps_per_s and round(left / self.steps_per_s, 1),
            "train_s": round(loop.train_s, 3),
            "waiting_s": round(loop.waiting_s, 3),
            "cutting_s": round(loop.cutting_s, 3),
            "energy_j": loop.energy_j and round(loop.energy_j, 1),
            "pending_proposal": loop.pending_proposal,
            "best": loop.best,
            "trouble": self._trouble_now,
        }

    @property
    def _trouble_now(self) -> str | None:
        return self.trouble or self._events.trouble or self._metrics.trouble or self._spectra.trouble

    def _note_trouble(self, calm_s: float | None = None) -> None:
        """Record that trouble began, and that it ended once it has been away for some seconds."""
        now, trouble = time.monotonic(), self._trouble_now
        self._calm_since = math.inf if trouble else min(self._calm_since, now)
        if trouble and not self._in_trouble:
            self._in_trouble = True
            self.event(EventKind.TROUBLE_BEGAN, reason=trouble)
        elif self._in_trouble and now - self._calm_since >= (CALM_S if calm_s is None else calm_s):
            self._in_trouble = False
            self.event(EventKind.TROUBLE_ENDED)

    def settle(self, give_up: Callable[[], bool], clock: Clock = time) -> None:
        """Wait until every event is on disk: what follows is true only then."""
        while self.unwritten and not give_up():
            self.show(*self._shown)
            clock.sleep(RETRY_S)

    def close(self) -> None:
        with contextlib.suppress(Superseded):
            for journal in (self._events, self._metrics, self._spectra):
                journal.flush()
            self._note_trouble(calm_s=0.0)
        self._metrics.close()
        self._spectra.close()
        self._events.close()
        if self._tensorboard:
            self._tensorboard.close()
        if self._log is not None:
            self._log.close()


class _TensorBoard:
    """The same scalars as TensorBoard events, one folder per branch: a rollback overwrites nothing."""

    def __init__(self, paths: RunPaths):
        self._paths = paths
        self._branch: int | None = None
        self._writer: Any = None

    def scalars(self, state: LoopState, values: dict[str, float | int]) -> None:
        if state.branch != self._branch:
            self._open(state)
        for name, value in values.items():
            self._writer.add_scalar(name, value, state.step)

    def _open(self, state: LoopState) -> None:
        from torch.utils.tensorboard import SummaryWriter  # 1.6 s to import: only where it is asked for

        self.close()
        opening.make_folder(self._paths.tensorboard)
        folder = self._paths.tensorboard_of(state.branch)
        opening.make_folder(folder)
        self._writer = SummaryWriter(str(folder), purge_step=state.step)
        self._branch = state.branch

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def memory_mb() -> float:
    """Return the peak memory of this process, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024), 1)
