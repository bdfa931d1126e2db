"""Claim: forward and backward, the selective scan is at least 4 times faster than mambapy's parallel scan, in
C 20 times, and takes at most an eighth of its memory; after a cut from 128 states to 12 it takes at most a
fifth of the time.

The reference is `mambapy.pscan` with the decays and inputs made for it as mambapy makes them. Batch 8, L 256,
D 128, single precision, in turns; outputs and gradients of both agree to 1e-4. Memory is what the resident
set of a child process grows by at most, arguments not counted. The whole step is that of a network of one
Mamba layer with AdamW, in PyTorch: in C the scan is so little of it that a cut gains about 3 times.
"""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.repetitions import Missing, Spent, alternating, ratio, spent, spread
from hankelboard.trainer.layers.mamba import Mamba
from hankelboard.trainer.layers.network import SequenceModel
from hankelboard.trainer.layers.recurrences.c_kernels import functions as in_c
from hankelboard.trainer.layers.recurrences.c_kernels.library import library
from hankelboard.trainer.layers.recurrences.installed_kernels import OWN
from hankelboard.trainer.layers.recurrences.selective import selective_scan
from hankelboard.trainer.reduction.surgery import reducible_layers

BATCH, LENGTH, CHANNELS = 8, 256, 128
FULL, CUT = 128, 12
ROUNDS = 5


def rows() -> list[tuple[str, ...]]:
    head = ("what", "ours, ms", "against", "its, ms", "its / ours", "of processor time", "at least")
    if find_spec("mambapy") is None:
        raise Missing(
            "mambapy is not installed: run `.venv/bin/python -m pip install -c constraints.txt -e '.[bench]'`"
        )
    full, cut = arguments(FULL), arguments(CUT)
    assert_equal(full)
    scans = {
        "ours": lambda: both_ways(selective_scan, full),
        "mambapy": lambda: both_ways(parallel_scan, full),
        "cut": lambda: both_ways(selective_scan, cut),
        "wide step": training_step(FULL),
        "narrow step": training_step(CUT),
    }
    if not library().reason:
        scans["c"] = lambda: both_ways(in_c.selective_scan, full)
        scans["c cut"] = lambda: both_ways(in_c.selective_scan, cut)
    found = alternating({name: partial(spent, one) for name, one in scans.items()}, ROUNDS + 1)
    return [
        head,
        compared(f"scan, N {FULL}", found["ours"], "mambapy, pscan", found["mambapy"], "4 x"),
        *rows_in_c(found),
        memory_row(),
        compared(f"scan, N {CUT}", found["cut"], f"ours, N {FULL}", found["ours"], "5 x"),
        compared(f"whole step, N {CUT}", found["narrow step"], f"ours, N {FULL}", found["wide step"], "4 x"),
    ]


def rows_in_c(found: dict[str, list[Spent]]) -> list[tuple[str, ...]]:
    """Those of the kernel in C; none without a compiler."""
    if "c" not in found:
        return []
    return [
        compared(f"scan in C, N {FULL}", found["c"], "mambapy, pscan", found["mambapy"], "20 x"),
        compared(f"scan in C, N {CUT}", found["c cut"], f"in C, N {FULL}", found["c"], "5 x"),
    ]


def compared(what: str, ours: list[Spent], against: str, its: list[Spent], least: str) -> tuple[str, ...]:
    """A row of the table, without the first round."""
    wall, its_wall = ([one.wall for one in times[1:]] for times in (ours, its))
    cpu, its_cpu = ([one.cpu for one in times[1:]] for times in (ours, its))
    return (
        what, spread(wall, 1e3), against, spread(its_wall, 1e3), ratio(its_wall, wall), ratio(its_cpu, cpu),
        least,
    )  # fmt: skip


def memory_row() -> tuple[str, ...]:
    ours, its = (measured_in_a_child(name) for name in ("ours", "mambapy"))
    return (
        f"memory, MB, N {FULL}", f"{ours:.0f}", "mambapy, pscan", f"{its:.0f}", f"{its / ours:.3g} x", "",
        "8 x",
    )  # fmt: skip


def arguments(states: int) -> list[Tensor]:
    torch.manual_seed(0)
    x, B, C = (torch.randn(BATCH, LENGTH, size) for size in (CHANNELS, states, states))
    delta = functional.softplus(torch.randn(BATCH, LENGTH, CHANNELS) - 4.0)
    A = -torch.arange(1.0, states + 1.0).repeat(CHANNELS, 1)  # (D, N)
    return [part.requires_grad_() for part in (x, delta, A, B, C)]


def parallel_scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """`selective_scan` by mambapy."""
    from mambapy.pscan import pscan

    decays = torch.exp(delta[..., None] * A)  # (batch, L, D, N)
    driven = delta[..., None] * B[:, :, None] * x[..., None]  # (batch, L, D, N)
    return (pscan(decays, driven) @ C[..., None])[..., 0]


def both_ways(scan: Callable[..., Tensor], parts: list[Tensor]) -> tuple[Tensor, ...]:
    y = scan(*parts)
    return (y, *torch.autograd.grad(y.square().sum(), parts))


def assert_equal(parts: list[Tensor]) -> None:
    for one, other in zip(both_ways(selective_scan, parts), both_ways(parallel_scan, parts), strict=True):
        error = ((one - other).norm() / other.norm()).item()
        assert error < 1e-4, f"the two scans are not the same: they differ by {error:.1e}"


def training_step(states: int) -> Callable[[], None]:
    """One update of a network whose one layer has as many channels as the scan."""
    torch.manual_seed(0)
    width = CHANNELS // 2
    network = SequenceModel(
        input_dim=1, classes=10, width=width, layers=1, mixer=lambda: Mamba(width, states)
    )
    for _, layer in reducible_layers(network):
        layer.form_kept = OWN
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    inputs, labels = torch.randn(BATCH, LENGTH, 1), torch.randint(0, 10, (BATCH,))

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(network(inputs), labels).backward()
        optimizer.step()

    return step


def measured_in_a_child(name: str) -> float:
    """Megabytes that the resident set grows by during one scan both ways."""
    command = [sys.executable, "-m", __spec__.name if __spec__ else "benchmarks.selective", name]
    done = subprocess.run(
        command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def growth(scan: Callable[..., Tensor]) -> float:
    """Megabytes of the peak above what the process holds with everything loaded and its arguments made."""
    warm = [part.detach()[:1, :4] if part.ndim == 3 else part.detach() for part in arguments(FULL)]
    both_ways(scan, [part.requires_grad_() for part in warm])
    parts = arguments(FULL)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins again
    before = resident("VmHWM")
    both_ways(scan, parts)
    return resident("VmHWM") - before


def resident(line: str) -> float:
    """A line of /proc/self/status in megabytes (Linux)."""
    status = Path("/proc/self/status").read_text()
    return float(status.partition(f"{line}:")[2].split()[0]) / 1024


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(growth({"ours": selective_scan, "mambapy": parallel_scan}[sys.argv[1]]))
    else:
        for line in rows():
            print(" | ".join(line))
