"""Claim: Hankel singular values and a truncation of a wide layer are faster than by eig(PQ) and a square root
of P, and the spectrum of a layer takes less time than two training steps at its shape.

The reference is the route of published code in double precision: Gramians in closed form, σ = √eig(PQ), the
balancing transformation from sqrtm(P) and the singular values of √P Q √P, its inverse, and eig of the reduced
A. It resolves σ to about 1e-8 of the largest, ours to 1e-16; both reduced systems have the same response to
1e-6. The second and third row say where ours spends its time: in the singular value decomposition, which
takes as long as about ten complex products of its order.
"""

import numpy as np
import scipy.linalg
import torch
from torch.nn import functional

from benchmarks.repetitions import Spent, alternating, ratio, spent, spread
from hankelboard.trainer.layers.lru import LRU
from hankelboard.trainer.layers.network import SequenceModel
from hankelboard.trainer.reduction.linear.hankel import (
    ComplexArray,
    DiagonalSystem,
    difference,
    factor,
    gramians,
    peak_gain,
)
from hankelboard.trainer.reduction.linear.truncation import balance, truncate
from hankelboard.trainer.reduction.surgery import reducible_layers

WIDE = (256, 384, 96)
"""H, N and the rank of the truncation."""
SMNIST = (50, 784, 8, 256)
"""batch, L, H, N."""
ROUNDS = 5


def rows() -> list[tuple[str, ...]]:
    head = ("what", "ms", "against", "its, ms", "its / this", "of processor time", "at least")
    return [head, *truncation_rows(), spectrum_row()]


def truncation_rows() -> list[tuple[str, ...]]:
    width, state_dim, rank = WIDE
    torch.manual_seed(0)
    layer = LRU(width, state_dim).double()
    system = layer.realisation(layer.extract())
    assert_equal(system, rank)
    P, Q = gramians(system)
    product = factor(Q).conj().T @ factor(P)  # (N, N)
    found = alternating(
        {
            "ours": lambda: spent(lambda: truncate(balance(system), rank)),
            "reference": lambda: spent(lambda: by_square_root(system, rank)),
            "svd": lambda: spent(lambda: np.linalg.svd(product)),
            "product": lambda: spent(lambda: product @ product),
        },
        ROUNDS + 1,
    )
    shape = f"N {state_dim}, H {width}"
    return [
        compared(
            f"σ and truncation to {rank}, {shape}", found, "ours", "eig(PQ), sqrtm", "reference", ">= 8 x"
        ),
        compared("  its singular value decomposition alone", found, "svd", "eig(PQ), sqrtm", "reference", ""),
        compared("  complex product of that order", found, "product", "our decomposition", "svd", ""),
    ]


def spectrum_row() -> tuple[str, ...]:
    batch, length, width, state_dim = SMNIST
    torch.manual_seed(0)
    network = SequenceModel(
        input_dim=1, classes=10, width=width, layers=1, mixer=lambda: LRU(width, state_dim)
    )
    _, layer = reducible_layers(network)[0]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    inputs, labels = torch.randn(batch, length, 1), torch.randint(0, 10, (batch,))

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(network(inputs), labels).backward()
        optimizer.step()

    found = alternating(
        {"spectrum": lambda: spent(lambda: layer.spectrum(layer.extract())), "step": lambda: spent(step)},
        ROUNDS + 1,
    )
    return compared(f"spectrum, N {state_dim}", found, "spectrum", "step of sMNIST", "step", "0.5 x")


def compared(
    what: str, found: dict[str, list[Spent]], this: str, against: str, its: str, bar: str
) -> tuple[str, ...]:
    """A row of the table, without the first round."""
    wall, its_wall = ([one.wall for one in found[name][1:]] for name in (this, its))
    cpu, its_cpu = ([one.cpu for one in found[name][1:]] for name in (this, its))
    return (
        what, spread(wall, 1e3), against, spread(its_wall, 1e3), ratio(its_wall, wall),
        ratio(its_cpu, cpu), bar,
    )  # fmt: skip


def by_square_root(system: DiagonalSystem, rank: int) -> tuple[np.ndarray, DiagonalSystem]:
    """σ and the reduced system by eig(PQ), sqrtm(P) and inverses."""
    A, B, C = system.eigenvalues, system.B, system.C
    weight = 1.0 / (1.0 - A[:, None] * A.conj())  # (N, N)
    P, Q = (B @ B.conj().T) * weight, (C.conj().T @ C) * weight.conj()  # (N, N) each
    hsv = np.sort(np.sqrt(np.linalg.eigvals(P @ Q).real.clip(0.0)))[::-1]  # (N,)
    root = scipy.linalg.sqrtm(P)  # (N, N)
    U, squares, _ = np.linalg.svd(root @ Q @ root)
    T = root @ U / squares**0.25  # (N, N)
    inverse = np.linalg.inv(T)
    return hsv, diagonalised((inverse @ (A[:, None] * T)), inverse @ B, C @ T, rank)


def diagonalised(A: ComplexArray, B: ComplexArray, C: ComplexArray, rank: int) -> DiagonalSystem:
    """The first states of a balanced system, in diagonal form."""
    eigenvalues, E = np.linalg.eig(A[:rank, :rank])
    return DiagonalSystem(eigenvalues, np.linalg.inv(E) @ B[:rank], C[:, :rank] @ E)


def assert_equal(system: DiagonalSystem, rank: int) -> None:
    ours = truncate(balance(system), rank)
    hsv, theirs = by_square_root(system, rank)
    apart = difference(DiagonalSystem(ours.eigenvalues, ours.B, ours.C), theirs)
    assert np.allclose(hsv, ours.hsv, rtol=0.0, atol=1e-6 * ours.hsv[0])
    assert peak_gain(apart) <= 1e-6 * peak_gain(system), "the two routes give different systems"


if __name__ == "__main__":
    for line in rows():
        print(" | ".join(line))
