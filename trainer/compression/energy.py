"""Energy that training takes, where the machine says it: RAPL of the processors, NVML of the GPU.

Both count what the whole device takes, for all who use it. Often neither can be read: then there is none.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hankelboard.trainer.compression.loop_state import LoopState

POWERCAP = Path("/sys/class/powercap")
Counter = Callable[[], float]
"""Joules since some moment."""


class EnergyMeter:
    """Adds to a loop state what its training took."""

    def __init__(self, counters: Sequence[Counter]):
        self._counters = counters
        self._last: tuple[float, float, list[float]] | None = None

    def note(self, state: LoopState) -> None:
        """Add the energy since the last time, the share of that time in which there was training.

        What cannot be read any more, a counter that began anew and a rollback leave that stretch out.
        """
        if not self._counters:
            return
        try:
            now = time.monotonic(), state.train_s, [counter() for counter in self._counters]
        except (OSError, ValueError):
            self._counters = ()
            return
        if self._last is not None:
            elapsed_s, trained_s = now[0] - self._last[0], now[1] - self._last[1]
            joules = [later - earlier for later, earlier in zip(now[2], self._last[2], strict=True)]
            if elapsed_s > 0 and trained_s > 0 and min(joules) >= 0:
                state.energy_j = (state.energy_j or 0.0) + sum(joules) * min(1.0, trained_s / elapsed_s)
        self._last = now


def counters_of(device: torch.device, powercap: Path = POWERCAP) -> list[Counter]:
    """Return the counters that can be read here: of each processor package, and of the GPU in use."""
    return [*_packages(powercap), *(_gpu(device) if device.type == "cuda" else [])]


def _packages(powercap: Path) -> list[Counter]:
    counters: list[Counter] = []
    for file in sorted(powercap.glob("intel-rapl:[0-9]*/energy_uj")):
        if file.parent.name.count(":") == 1:  # parts of a package are in it
            with contextlib.suppress(OSError, ValueError):
                _joules(file)
                counters.append(partial(_joules, file))
    return counters


def _joules(file: Path) -> float:
    return int(file.read_bytes()) / 1e6


def _gpu(device: torch.device) -> list[Counter]:
    try:
        import pynvml  # where it is installed

        pynvml.nvmlInit()
        handle: Any = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:  # whatever is missing: a package, a driver, a right
        return []
    return [lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3]
