"""CPU cores: those that this process may use, and its share of them where several runs train at once."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch


def take_share(jobs: int) -> None:
    """Let PyTorch use the share of the cores of one of several runs.

    What a person set by `OMP_NUM_THREADS` stays, and `training.threads` is set later.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(share(torch.get_num_threads(), jobs))


def share(threads: int, jobs: int, root: Path = Path("/")) -> int:
    """Return the threads of one of several jobs: its part of the cores, at most as many as given."""
    return max(1, min(threads, available_cores(root) // max(1, jobs)))


def available_cores(root: Path = Path("/")) -> int:
    """Return the cores that this process may use: by its affinity, and by the quota of its control groups."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(int(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the limits of the control groups that this process is in, and of those around them, in cores."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / controllers
        place = mount / group.lstrip("/")
        for folder in (place, *place.parents):
            yield from _quota(folder)
            if folder == mount:
                break


def _quota(folder: Path) -> Iterator[float]:
    """Yield the limit of one control group, of version 2 or 1, where it has one."""
    quota, _, period = _text(folder / "cpu.max").partition(" ")
    if not quota:
        quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
    if quota.strip().isdecimal() and period.strip().isdecimal() and int(period):
        yield int(quota) / int(period)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
