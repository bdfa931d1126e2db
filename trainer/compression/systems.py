"""Snapshots of the systems (λ, B, C) of all layers: kept while training, read again for an analysis."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from hankelboard.storage import systems
from hankelboard.storage.history import History
from hankelboard.storage.layout import RunPaths, SystemsName
from hankelboard.trainer.reduction.linear.hankel import DiagonalSystem

FRACTIONS = (
    0.0, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0,
)  # fmt: skip
"""Of the run: dense where a cut is decided, sparse where little moves."""


@dataclass(frozen=True)
class Snapshot:
    """The systems of all layers at a step."""

    name: SystemsName
    systems: list[DiagonalSystem]

    @property
    def step(self) -> int:
        return self.name.step


def is_due(step: int, total: int) -> bool:
    """Return whether a snapshot belongs to this step of a run of `total` steps."""
    return any(step == round(fraction * total) for fraction in FRACTIONS)


def encode(layers: Sequence[DiagonalSystem]) -> bytes:
    """Return log λ in double precision, which |λ| -> 1 needs; B and C in single, like their weights."""
    arrays: dict[str, np.ndarray] = {}
    for index, system in enumerate(layers):
        arrays[f"{index}.log_eigenvalues"] = _parts(system.logarithms, np.float64)  # (2, N)
        arrays[f"{index}.B"] = _parts(system.B, np.float32)  # (2, N, H)
        arrays[f"{index}.C"] = _parts(system.C, np.float32)  # (2, M, N)
    return safetensors.numpy.save(arrays)


def decode(content: bytes) -> list[DiagonalSystem]:
    """Return the systems of all layers. Raises ValueError when the content is not what `encode` wrote."""
    try:
        arrays = safetensors.numpy.load(content)
        layers = sorted({int(name.partition(".")[0]) for name in arrays})
        return [_system(arrays, layer) for layer in layers]
    except (SafetensorError, KeyError, IndexError) as error:
        raise ValueError(f"no systems: {error}") from None


def _system(arrays: dict[str, np.ndarray], layer: int) -> DiagonalSystem:
    logarithms, B, C = (_complex(arrays[f"{layer}.{name}"]) for name in ("log_eigenvalues", "B", "C"))
    return DiagonalSystem(np.exp(logarithms), B, C, logarithms)


def _parts(values: np.ndarray, kind: type) -> np.ndarray:
    return np.ascontiguousarray(
        [values.real, values.imag], dtype=kind
    )  # safetensors writes memory as it lies


def _complex(parts: np.ndarray) -> np.ndarray:
    real, imaginary = parts.astype(np.float64)
    return np.asarray(real + 1j * imaginary)


def read_comparable(paths: RunPaths, history: History) -> tuple[list[Snapshot], int]:
    """Return the snapshots of the live path since the last cut, by step: they share a state space.

    And how many lie before it, in other coordinates. What cannot be read is left out.
    """
    names = systems.systems_on_path(paths, history)
    last = [name for name in names if name.reductions == names[-1].reductions]
    snapshots: list[Snapshot] = []
    for name in last:
        content = systems.read_systems(paths, name)
        try:
            layers = decode(content) if content is not None else []
        except ValueError:
            continue
        if layers and (not snapshots or _shapes(layers) == _shapes(snapshots[0].systems)):
            snapshots.append(Snapshot(name, layers))
    return snapshots, len(names) - len(last)


def _shapes(layers: Sequence[DiagonalSystem]) -> list[tuple[int, ...]]:
    return [(*system.B.shape, len(system.C)) for system in layers]
