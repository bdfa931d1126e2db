"""Where and by what a run was computed: goes into attempt_started."""

import contextlib
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hankelboard.trainer.compression.own_version import version_and_commit
from hankelboard.trainer.layers.recurrences.installed_kernels import kernel_versions


def machine(device: torch.device) -> dict[str, Any]:
    """Return where it was computed: system, processor and graphics card."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpu": gpu,
    }


def _processor() -> str:
    """Return the processor's name as Linux gives it, else as Python does."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def versions() -> dict[str, str]:
    """Return the versions of Hankelboard, of Python and of the packages that round."""
    ours = {"hankelboard": version_and_commit()}
    theirs = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    return {**ours, **theirs, **kernel_versions()}
