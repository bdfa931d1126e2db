"""Other choices of states than balanced truncation: baselines and ablations, never the default.

    smallest, random    balanced states, but the weakest, or some drawn by a seed
    last                modes as they are, by the square of their H∞ norm, ‖C_i‖² ‖B_i‖² / (1 − |λ_i|)²
    aire                modes as they are, by their energy over all time, ‖C_i‖² ‖B_i‖² / (1 − |λ_i|²)

LAST: Gwak et al. 2024 (arXiv 2411.02824). AIRE-Prune: Padhy et al. 2026 (arXiv 2602.00534). Both compare
modes across layers after dividing each score by the sum of those that are not smaller in its layer.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hankelboard.trainer.reduction.linear.hankel import DiagonalSystem
from hankelboard.trainer.reduction.linear.truncation import Balance, Truncation
from hankelboard.trainer.reduction.reducible import FloatArray, check_rank

MODAL = ("last", "aire")
IMPORTANCE = {"last": "h_infinity_squared", "aire": "energy"}


def reordered(balanced: Balance, method: str, seed: int) -> Balance:
    """Return the same balanced states in the order in which a method keeps them.

    Those whose direction is rounding stay last; `hsv` stays descending, `order` says what is kept first.
    """
    limit = balanced.numerical_rank
    leading = np.arange(limit)
    if method == "smallest":
        leading = leading[::-1]
    elif method == "random":
        leading = np.random.default_rng((seed, limit)).permutation(leading)
    order = np.concatenate([leading, np.arange(limit, len(balanced.hsv))])
    return replace(balanced, order=order)


def mode_scores(system: DiagonalSystem, method: str) -> FloatArray:
    """Return score of every mode, (N,): what LAST and AIRE call the importance of a state."""
    gains = (np.abs(system.C) ** 2).sum(axis=0) * (np.abs(system.B) ** 2).sum(axis=1)  # (N,)
    nu = system.logarithms.real  # (N,) log |λ|: 1 − |λ| keeps its digits
    distance = np.expm1(nu) ** 2 if method == "last" else -np.expm1(2.0 * nu)
    scores: FloatArray = gains / distance
    return scores


def strongest_modes(systems: Sequence[DiagonalSystem], method: str, rank: int) -> npt.NDArray[np.intp]:
    """Return which modes of each system have the largest scores, (systems, r) ascending."""
    scores = np.stack([mode_scores(system, method) for system in systems])  # (S, N)
    return np.sort(np.argsort(-scores, axis=1, kind="stable")[:, :rank], axis=1)


def importances_of_modes(systems: Sequence[DiagonalSystem], method: str) -> FloatArray:
    """Return scores of modes, (N,) descending, summed over systems by their place in each one's order."""
    scores = np.stack([mode_scores(system, method) for system in systems])  # (S, N)
    total: FloatArray = np.sort(scores, axis=1)[:, ::-1].sum(axis=0)
    return total


def keep_modes(system: DiagonalSystem, method: str, rank: int) -> Truncation:
    """Return the `rank` modes with the largest scores, untouched: columns of the identity change the basis.

    Raises
    ------
    ValueError
        If the rank is outside 1..N.
    """
    n = system.state_dim
    check_rank(rank, n)
    scores = mode_scores(system, method)
    kept = strongest_modes([system], method, rank)[0]
    columns: npt.NDArray[np.complex128] = np.eye(n, dtype=np.complex128)[:, kept]  # (N, r)
    eigenvalues, B, C = system.eigenvalues[kept], system.B[kept], system.C[:, kept]
    return Truncation(
        eigenvalues=eigenvalues, B=B, C=C, A_r=np.diag(eigenvalues), B_r=B, C_r=C, V_n=columns, W_n=columns,
        condition=1.0, hsv=np.sort(scores)[::-1],
    )  # fmt: skip


def allocate(scores: Sequence[Sequence[float]], total: int) -> list[int]:
    """Return how many of `total` states each layer keeps: the largest normalised scores win.

    A score is divided by the sum of those that are not smaller in its layer, so the largest of each layer
    is 1 and every layer keeps a state.

    Parameters
    ----------
    scores : per layer, descending
    total : int
        At least one per layer.

    >>> allocate([[4.0, 4.0, 0.1], [9.0, 0.1, 0.1]], total=3)
    [2, 1]
    """
    normalised = [
        (value / before, -index, layer)
        for layer, descending in enumerate(scores)
        for index, (value, before) in enumerate(zip(descending, np.cumsum(descending), strict=True))
        if before > 0.0
    ]
    kept = sorted(normalised, reverse=True)[: max(total, len(scores))]
    return [max(1, sum(layer == index for *_, layer in kept)) for index in range(len(scores))]
