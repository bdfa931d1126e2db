"""Hours of a run's journals in seconds: what a trainer would have written, by a clock that only counts.

    python -m benchmarks.fast_forward RUNS --hours 8

50 steps a second at the default cadence, two layers that begin with N 256, a cut every hour, a checkpoint
event every 500 steps. Everything goes through the storage's own journals, as a trainer's records do.
"""

import argparse
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np

from hankelboard.storage.journal import Journal
from hankelboard.storage.layout import CheckpointName, RunPaths, run_paths
from hankelboard.storage.runs import create_run
from hankelboard.storage.schema import Status
from hankelboard.storage.status import write_status

STEPS_PER_S = 50
LOG_EVERY, SPECTRA_EVERY, CHECKPOINT_EVERY = 10, 100, 500
LAYERS, STATES = 2, 256
BEGAN = datetime(2026, 11, 26, tzinfo=UTC)
HOUR = 3600 * STEPS_PER_S


@dataclass
class FastForward:
    """One run that is written on and on; every record carries the time of the synthetic clock."""

    paths: RunPaths
    total: int
    step: int = 0
    dims: list[int] = field(default_factory=lambda: [STATES] * LAYERS)
    beat: int = 0
    cuts: int = 0
    best: dict[str, Any] | None = None

    def clock(self) -> float:
        """Seconds since the run began."""
        return self.step / STEPS_PER_S

    def where(self) -> dict[str, Any]:
        t = (BEGAN + timedelta(seconds=self.clock())).isoformat(timespec="milliseconds")
        return {"t": t.replace("+00:00", "Z"), "step": self.step, "branch": 0, "attempt": 0}

    def write(self, until: int) -> None:
        """Everything up to a step, that step included."""
        journals = {
            name: Journal(getattr(self.paths, name), buffer_s=1.0, clock=self.clock)
            for name in ("events", "metrics", "spectra")
        }
        if self.step == 0:
            journals["events"].append(self._event("attempt_started", state_dims=self.dims, policy="auto"))
        while self.step < until:
            self.step += LOG_EVERY
            self._record(journals)
        for journal in journals.values():
            journal.close()
        self.show()

    def _record(self, journals: dict[str, Journal]) -> None:
        journals["metrics"].append(self._metrics())
        if self.step % SPECTRA_EVERY == 0:
            for layer in range(LAYERS):
                journals["spectra"].append(self._spectrum(layer))
        if self.step % CHECKPOINT_EVERY == 0:
            name = CheckpointName(sequence=self.step // CHECKPOINT_EVERY, branch=0, step=self.step, attempt=0)
            journals["events"].append(
                self._event("checkpoint_published", checkpoint=str(name), cause="scheduled", pinned=False)
            )
        if self.step % HOUR == 0:
            self._cut(journals["events"])

    def _metrics(self) -> dict[str, Any]:
        noise = math.sin(self.step * 12.9898) * 0.05
        record = {
            **self.where(), "elapsed_s": self.clock(), "train_s": round(0.98 * self.clock(), 3),
            "train/loss": 0.1 + 2.2 * math.exp(-self.step / 2e5) + noise,
            "lr": 0.004 * 0.5 * (1 + math.cos(math.pi * self.step / self.total)),
            "steps_per_s": STEPS_PER_S + 20 * noise, "memory_mb": 480.0,
            **{f"state_dim/{layer}": dim for layer, dim in enumerate(self.dims)},
        }  # fmt: skip
        if self.step % 100 == 0:
            accuracy = round(0.98 - 0.5 * math.exp(-self.step / 2e5) + noise / 10, 4)
            record |= {"val/loss": 1 - accuracy, "val/accuracy": accuracy}
            if self.best is None or accuracy > self.best["value"]:
                self.best = {"metric": "val/accuracy", "value": accuracy, "step": self.step}
        return record

    def _spectrum(self, layer: int) -> dict[str, Any]:
        rate = 30.0 + 10 * layer + 5 * math.sin(self.step / 1e5)
        hsv = 3.0 * np.exp(-np.arange(self.dims[layer]) / rate)
        return {
            **self.where(), "layer": layer, "state_dim": self.dims[layer], "importance": "hsv",
            "hsv": [float(f"{value:.6g}") for value in hsv], "snapshot": "scheduled",
        }  # fmt: skip

    def _event(self, kind: str, **values: Any) -> dict[str, Any]:
        return {"kind": kind, **self.where(), **values}

    def _cut(self, events: Journal) -> None:
        self.cuts += 1
        after = [max(8, round(0.85 * dim)) for dim in self.dims]
        told = {"proposal": self.cuts, "state_dims": self.dims, "ranks": after}
        events.append(self._event("proposal_published", attempt_step=self.step, **told))
        events.append(self._event("decision_accepted", proposal=self.cuts, verdict="approve", ranks=after,
                                  by="policy:auto", apply_at_step=self.step))  # fmt: skip
        scores = {"loss": 0.12, "accuracy": 0.97}
        events.append(self._event("reduction_applied", proposal=self.cuts, **{"from": self.dims, "to": after},
                                  before=scores, after=scores, predicted=scores))  # fmt: skip
        self.dims = after

    def show(self) -> None:
        """A heartbeat."""
        self.beat += 1
        status = cast("Status", {
            **self.where(), "host": "elsewhere", "pid": 1, "beat": self.beat, "expect_next_s": 3600.0,
            "state": "running", "phase": "training", "total_steps": self.total, "state_dims": self.dims,
            "steps_per_s": STEPS_PER_S, "eta_s": (self.total - self.step) / STEPS_PER_S,
            "train_s": self.clock(), "waiting_s": 0.0, "pending_proposal": None, "best": self.best,
            "trouble": None,
        })  # fmt: skip
        write_status(self.paths, status)


def make(runs: Path, hours: float) -> FastForward:
    """A run that has been training for so long and goes on."""
    total = 2 * max(LOG_EVERY, round(hours * HOUR))
    config = {
        "training": {"steps": total, "seed": 0},
        "data": {"task": "digits"},
        "model": {"family": "lru"},
    }
    run = create_run(runs, name=f"{hours:g} hours", config=config)
    written = FastForward(run_paths(runs, run.id), total)
    written.write(total // 2)
    return written


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", type=Path)
    parser.add_argument("--hours", type=float, default=8.0)
    options = parser.parse_args()
    made = make(options.runs, options.hours)
    print(f"{made.paths.root}: {made.step:,} steps")
