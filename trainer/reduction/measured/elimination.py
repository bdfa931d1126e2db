"""Which states to delete where states do not act on each other: backward elimination by output energy.

The output is a sum over states, y = Σ_n y_n, where y_n is what state n contributes. Deleting the set J leaves
the other states as they are, so the error is known for every choice from one matrix:

    M_ij = Σ y_i y_j   (over time, sequences and channels),     ‖Σ_{n in J} y_n‖² = 1ᵀ M_JJ 1

Used where no change of basis is allowed: the channels of Mamba share indices, each state of GLA has a decay.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hankelboard.trainer.reduction.reducible import FloatArray, RankTable

Order = npt.NDArray[np.intp]
RIDGE = 1e-10
"""Of a state's energy, added to it: states that depend on each other do no harm."""


def eliminate(M: FloatArray) -> Order:
    """Return the order in which states are kept, by backward elimination: the cheapest state goes first.

    Removing j when J is gone adds M_jj + 2 Σ_{i in J} M_ij to the error; kept up to date, O(N²) in all.

    Parameters
    ----------
    M : (N, N) symmetric

    >>> eliminate(np.diag([2.0, 9.0, 1.0])).tolist()
    [1, 0, 2]
    """
    cost = np.diag(M).copy()  # (N,) what the removal of each state adds
    removed: list[int] = []
    for _ in range(len(M)):
        state = int(np.argmin(cost))
        removed.append(state)
        cost = cost + 2.0 * M[:, state]
        cost[removed] = np.inf
    return np.array(removed[::-1], dtype=np.intp)


def order_of(M: FloatArray, method: str, seed: int = 0) -> Order:
    """Return the order in which a method keeps states: energy (`eliminate`), diagonal (by M_nn), random."""
    if method == "diagonal":
        return np.argsort(-np.diag(M), kind="stable")
    if method == "random":
        return np.random.default_rng((seed, len(M))).permutation(len(M))
    return eliminate(M)


def selection_basis(order: Order) -> tuple[FloatArray, FloatArray]:
    """Return V and W (N, N) of a choice that deletes states (samples.py): columns of the identity."""
    kept = np.eye(len(order))[:, order]
    return kept, kept


def positive(P: FloatArray) -> FloatArray:
    """Return second moments with a ridge on the diagonal, so that they can be inverted.

    RIDGE of the diagonal, and where rounding of single precision has made them indefinite, ten times their
    most negative eigenvalue (in units of the diagonal).
    """
    diagonal = np.where(np.diag(P) > 0.0, np.diag(P), 1.0)  # (N,)
    least = float(np.linalg.eigvalsh(P / np.sqrt(np.outer(diagonal, diagonal)))[0])
    lifted: FloatArray = P + np.diag(max(RIDGE, -10.0 * least) * diagonal)
    return lifted


def regression(P: FloatArray, kept: Order, removed: Order) -> FloatArray:
    """Return K (removed, kept) with h_removed ≈ K h_kept in the mean square: P_JI P_II⁻¹, P = E[h hᵀ]."""
    P = positive(P)
    scale = np.sqrt(np.diag(P)[kept])  # (r,)
    inner = P[np.ix_(kept, kept)] / np.outer(scale, scale)  # (r, r)
    solution: FloatArray = np.linalg.solve(inner, P[np.ix_(kept, removed)] / scale[:, None])
    return solution.T / scale


def table_of(
    shares: FloatArray, parameters: Sequence[int], importances: FloatArray | None = None
) -> RankTable:
    """Return the table where every rank is realisable; default importances: sorted steps of the shares."""
    n = len(shares) - 1
    return RankTable(
        hsv=np.sort(-np.diff(shares))[::-1] if importances is None else importances,
        discarded_share=shares.tolist(),
        error_bound=None,
        realisable=[False, *(True for _ in range(n))],
        condition=[None, *(1.0 for _ in range(n))],
        realised_modes=list(range(n + 1)),
        parameters=list(parameters),
    )
