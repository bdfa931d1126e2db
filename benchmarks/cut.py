"""Claim: a cut makes the whole training step cheaper, at sequential MNIST 1.6 times from 256 states to 24.

Batch to AdamW of a network of one LRU layer (dropout 0.1, one thread), in turns in one process; ratios of
processor time, medians and in brackets the second smallest and second largest. What a cut gains, each rank in
the form chosen for it, and what that form gains over the other two; last what the order of a layer's output
gains: in that of its indices, against a transposed view of the same numbers.
"""

import statistics
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.repetitions import alternating, spent
from hankelboard.trainer.layers.lru import LRU
from hankelboard.trainer.layers.network import SequenceModel
from hankelboard.trainer.layers.recurrences.diagonal_forms import FORMS, choose_form
from hankelboard.trainer.layers.s4d import S4D

Shape = tuple[int, int, int]
CUTS: tuple[tuple[str, Shape, int, int, str], ...] = (  # batch, L, H; N before and after; at least
    ("sMNIST", (50, 784, 8), 256, 24, "1.6 x"),
    ("sMNIST", (50, 784, 8), 256, 12, ""),
    ("three channels", (50, 784, 3), 256, 12, ""),
    ("narrow", (16, 1024, 16), 256, 32, ""),
    ("long", (16, 2048, 16), 256, 32, ""),
    ("wider", (8, 1024, 64), 256, 32, ""),
)
ORDERS: dict[str, tuple[Shape, Callable[[], nn.Module]]] = {
    "sMNIST, N 256, kernel": ((50, 784, 8), lambda: LRU(8, 256, form="kernel")),
    "sMNIST, N 24, kernel": ((50, 784, 8), lambda: LRU(8, 24, form="kernel")),
    "S4D, digits, N 32": ((64, 64, 32), lambda: S4D(32, 32)),
}
CLASSES = 10
ROUNDS = 12
"""The first warms up."""


class Transposed(torch.autograd.Function):
    """The same numbers, channels first in memory: their layout before outputs were contiguous."""

    @staticmethod
    def forward(ctx: object, y: Tensor) -> Tensor:
        return y.transpose(1, 2).contiguous().transpose(1, 2)

    @staticmethod
    def backward(ctx: object, g: Tensor) -> Tensor:
        return g


class OutOfOrder(nn.Module):
    """A layer with a transposed output."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, u: Tensor) -> Tensor:
        y: Tensor = Transposed.apply(self.layer(u))
        return y


def rows() -> list[tuple[str, ...]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        head = ("what", "step, ms", "against", "its step, ms", "its / this", "at least")
        cuts = [row for case in CUTS for row in cut_rows(*case)]
        return [head, *cuts, *(order_row(name, *case) for name, case in ORDERS.items())]
    finally:
        torch.set_num_threads(threads)


def cut_rows(name: str, shape: Shape, full: int, rank: int, least: str) -> list[tuple[str, ...]]:
    """Of a network cut to the rank: against the full one, and in the other forms."""
    width = shape[2]
    forms = {states: choose_form(*shape, states) for states in (full, rank)}
    steps = {"full": training_step(shape, lambda: LRU(width, full, form=forms[full]))}
    for form in FORMS:
        steps[form] = training_step(shape, partial(LRU, width, rank, form=form))
    found = measured(steps)
    chosen, where = found[forms[rank]], f"{name} {shape[0]}×{shape[1]}, H {width}"
    others = [form for form in FORMS if form != forms[rank]]
    what = f"{where}, N {rank}, {forms[rank]}"
    return [
        compared(what, chosen, f"N {full}, {forms[full]}", found["full"], least),
        *(compared("", chosen, f"N {rank}, {form}", found[form]) for form in others),
    ]


def order_row(name: str, shape: Shape, layer: Callable[[], nn.Module]) -> tuple[str, ...]:
    ours, its = training_step(shape, layer), training_step(shape, lambda: OutOfOrder(layer()))
    found = measured({"ours": ours, "its": its})
    return compared(name, found["ours"], "output transposed", found["its"])


def measured(steps: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    """Return seconds of the processor of each step, without the first round."""
    found = alternating({name: partial(spent, step) for name, step in steps.items()}, ROUNDS + 1)
    return {name: [one.cpu for one in times[1:]] for name, times in found.items()}


def compared(
    what: str, ours: Sequence[float], against: str, its: Sequence[float], least: str = ""
) -> tuple[str, ...]:
    ratios = sorted(b / a for a, b in zip(ours, its, strict=True))
    shown = f"{statistics.median(ratios):.2f} x ({ratios[1]:.2f}-{ratios[-2]:.2f})"
    return what, milliseconds(ours), against, milliseconds(its), shown, least


def milliseconds(seconds: Sequence[float]) -> str:
    return f"{1e3 * statistics.median(seconds):.1f}"


def training_step(shape: Shape, layer: Callable[[], nn.Module]) -> Callable[[], None]:
    """One update of a network of one layer; all networks begin with the same numbers."""
    torch.manual_seed(0)
    batch, length, width = shape
    network = SequenceModel(input_dim=1, classes=CLASSES, width=width, layers=1, mixer=layer, dropout=0.1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    inputs, labels = torch.randn(batch, length, 1), torch.randint(0, CLASSES, (batch,))

    def step() -> None:
        loss = functional.cross_entropy(network(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    for line in rows():
        print(" | ".join(line), flush=True)
