"""What watching costs: the share of training time that spectra and one proposal's evidence take.

Trains two networks for a while on random data of the right shape, with and without snapshots, and gathers one
proposal's evidence. Both shapes of the design: sequential MNIST (H 8, N 256) and a wide layer (H 128, N 256).
"""

import statistics
import time

import torch
from torch import nn

from hankelboard.settings.config import ReductionConfig, parse
from hankelboard.settings.preset import find_preset
from hankelboard.settings.toml import merge
from hankelboard.trainer.compression.evidence import Occasion, gather
from hankelboard.trainer.data.task import Split, Task
from hankelboard.trainer.reduction.surgery import reducible_layers
from hankelboard.trainer.training.model import build_model
from hankelboard.trainer.training.workload import TaskWorkload

CADENCE = 100
STEPS = 12
SHAPES = {
    "sMNIST: H 8, N 256, L 784, batch 50": {
        "width": 8,
        "layers": 1,
        "length": 784,
        "batch": 50,
        "steps": 200_000,
    },
    "wide: H 128, N 256, L 256, batch 16": {
        "width": 128,
        "layers": 1,
        "length": 256,
        "batch": 16,
        "steps": 80_000,
    },
}


def rows() -> list[tuple[str, ...]]:
    head = ("shape", "step, ms", "snapshot, ms", "share at every 100th step", "one proposal, s", "left out")
    return [head, *((name, *row(shape)) for name, shape in SHAPES.items())]


def row(shape: dict[str, int]) -> list[str]:
    torch.manual_seed(0)
    config = parse(
        merge(
            find_preset("digits-lru").tables,
            {
                "model": {"width": shape["width"], "layers": shape["layers"], "state_dim": 256},
                "training": {"batch": shape["batch"]},
            },
        )
    )
    task = random_task(shape)
    model = build_model(config, task)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    batch = Split(task.train.inputs[: shape["batch"]], task.train.labels[: shape["batch"]])
    steps, snapshots = [], []
    for _ in range(STEPS):  # interleaved against noise
        steps.append(timed(lambda: update(model, optimizer, batch)))
        snapshots.append(timed(lambda: snapshot(model)))
    step, spectrum = statistics.median(steps[2:]), statistics.median(snapshots[2:])
    projected = step * shape["steps"]
    occasion = Occasion(fresh=lambda: build_model(config, task), limit_s=max(2.0, 0.02 * projected))
    workload = TaskWorkload(config, task, torch.device("cpu"))
    proposal = gather(model, workload, ReductionConfig(), occasion)
    left_out = ", ".join(proposal["measured"]["left_out"]) or "nothing"
    seconds = proposal["measured"]["seconds"]
    return [
        f"{step * 1e3:.1f}", f"{spectrum * 1e3:.1f}", f"{spectrum / (CADENCE * step):.2%}",
        f"{seconds:.1f} ({seconds / projected:.3%} of {shape['steps']:,} steps)", left_out,
    ]  # fmt: skip


def random_task(shape: dict[str, int]) -> Task:
    def split(count: int) -> Split:
        return Split(torch.randn(count, shape["length"], 1), torch.randint(0, 10, (count,)))

    return Task(split(shape["batch"]), split(512), split(16), 10)


def update(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Split) -> None:
    loss = nn.functional.cross_entropy(model(batch.inputs), batch.labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def snapshot(model: nn.Module) -> None:
    for _, layer in reducible_layers(model):
        layer.spectrum(layer.extract())


def timed(work: object) -> float:
    started = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - started
