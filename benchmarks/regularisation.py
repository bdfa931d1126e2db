"""What the Hankel nuclear norm costs per training step: none, by the majoriser, and naively.

Forward and backward of a network on random data of the right shape, and of either term, interleaved; the
majoriser is refreshed every 100th step, which is in its figure at that share. Single-threaded.
"""

import statistics
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from benchmarks.evidence import random_task, timed
from hankelboard.settings.config import RegularisationConfig, parse
from hankelboard.settings.preset import find_preset
from hankelboard.settings.toml import merge
from hankelboard.trainer.training.model import build_model
from hankelboard.trainer.training.objective.regularisation import HankelRegulariser

ROUNDS = 25
REFRESH = 100
SHAPES = {
    "tones: 1 × N 64, H 8, L 128, batch 64": ({"width": 8, "layers": 1, "state_dim": 64}, 128, 64),
    "digits: 2 × N 64, H 32, L 64, batch 64": ({"width": 32, "layers": 2, "state_dim": 64}, 64, 64),
    "sMNIST: 1 × N 256, H 8, L 784, batch 50": ({"width": 8, "layers": 1, "state_dim": 256}, 784, 50),
}


def rows() -> list[tuple[str, ...]]:
    head = ("shape", "step, ms", "majoriser, ms", "naive, ms", "step with majoriser / without",
            "step with naive / without", "naive / majoriser")  # fmt: skip
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [head, *((name, *row(*shape)) for name, shape in SHAPES.items())]
    finally:
        torch.set_num_threads(threads)


def row(model: dict[str, int], length: int, batch_size: int) -> list[str]:
    torch.manual_seed(0)
    config = parse(merge(find_preset("digits-lru").tables, {"model": model}))
    task = random_task({"length": length, "batch": batch_size})
    network = build_model(config, task)
    terms = {form: regulariser(form, network) for form in ("majoriser", "naive")}
    refresh = timed(lambda: terms["majoriser"].loss(0))
    work: dict[str, Callable[[], object]] = {
        "step": lambda: functional.cross_entropy(network(task.train.inputs), task.train.labels).backward(),
        **{form: partial(_loss_and_gradients, term) for form, term in terms.items()},
    }
    seconds: dict[str, list[float]] = {kind: [] for kind in work}
    for _ in range(ROUNDS + 2):  # interleaved against noise; the first rounds warm up
        for kind, one in work.items():
            seconds[kind].append(timed(one))
    step, fair, naive = (statistics.median(seconds[kind][2:]) for kind in ("step", "majoriser", "naive"))
    fair += refresh / REFRESH
    return [
        f"{step * 1e3:.1f}", f"{fair * 1e3:.1f}", f"{naive * 1e3:.1f}", f"{1 + fair / step:.2f}",
        f"{1 + naive / step:.2f}", f"{naive / fair:.1f}",
    ]  # fmt: skip


def _loss_and_gradients(term: HankelRegulariser) -> None:
    term.loss(1).backward()


def regulariser(form: str, network: nn.Module) -> HankelRegulariser:
    return HankelRegulariser(RegularisationConfig(hankel_nuclear=1e-4, form=form, refresh=10**9), network)


if __name__ == "__main__":
    for line in rows():
        print(" | ".join(line))
