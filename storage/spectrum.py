"""From importances to discarded shares, and from a tolerance to a rank.

The one place where this is computed: trainer, command line and pages all call it. The importance of a
state is its Hankel singular value (`hsv`), its square (`hsv_squared`), its output energy
(`output_energy`) or its key and query energy (`key_query_energy`), by family; the arithmetic is
the same.
"""

import math
from collections.abc import Sequence

SMALL_REGRET = 0.1
"""Share of the tolerance below which the regret of an early choice is small beside what a cut may discard."""


def discarded_shares(importances: Sequence[float]) -> list[float]:
    """Return the share of the total importance that each rank would discard.

        share[r] = Σ_{i>r} importance_i / Σ importance

    Parameters
    ----------
    importances : (N,) non-negative, finite, descending

    Returns
    -------
    shares : (N+1,) floats in [0, 1], descending; shares[0] = 1 and shares[N] = 0

    Raises
    ------
    ValueError
        If there is no state, a value is negative or not finite, or the total is 0: nothing can be
        said about ranks then, and no cut may be proposed.

    >>> discarded_shares([3.0, 1.0])
    [1.0, 0.25, 0.0]
    """
    tails = tail_sums(importances)
    if tails[0] <= 0.0:
        raise ValueError("the importances sum to 0: the layer passes nothing on, so no rank can be proposed")
    return [tail / tails[0] for tail in tails]


def tail_sums(importances: Sequence[float]) -> list[float]:
    """Return Σ_{i>r} importance_i for r = 0..N, summed from the small end so that tails keep their digits.

    >>> tail_sums([3.0, 1.0])
    [4.0, 1.0, 0.0]
    """
    if len(importances) == 0:
        raise ValueError("no state: the list of importances is empty")
    if not all(math.isfinite(value) and value >= 0.0 for value in importances):
        raise ValueError("importances must be finite and not negative")
    tails = [0.0]
    for value in reversed(importances):
        tails.append(tails[-1] + float(value))
    return tails[::-1]


def evenness(importances: Sequence[float]) -> float:
    """Return how even the importances of N states are: 0 where one state has all, 1 where all are equal.

        (exp(−Σ p_i log p_i) − 1) / (N − 1),   p_i = importance_i / Σ importance

    The exponential of the entropy is an effective number of states (Hill 1973). 0 for a single state.

    Raises
    ------
    ValueError
        As in `discarded_shares`.

    >>> evenness([5.0, 0.0, 0.0])
    0.0
    >>> round(evenness([1.0, 1.0, 1.0]), 12)
    1.0
    """
    total = tail_sums(importances)[0]
    if total <= 0.0:
        raise ValueError("the importances sum to 0: nothing can be said about their shape")
    shares = [value / total for value in importances if value / total > 0.0]
    effective = math.exp(-math.fsum(share * math.log(share) for share in shares))
    return (effective - 1.0) / max(1, len(importances) - 1)


def rank_for_tolerance(shares: Sequence[float], tolerance: float) -> int:
    """Return the smallest rank r ≥ 1 whose discarded share is at most the tolerance.

    Counts instead of searching for a first index, so that an all-false comparison cannot mean rank 1.

    >>> rank_for_tolerance([1.0, 0.25, 0.0], tolerance=0.3)
    1
    >>> rank_for_tolerance([1.0, 0.25, 0.0], tolerance=0.0)
    2
    """
    if not 0.0 <= tolerance < 1.0:
        raise ValueError(f"tolerance = {tolerance}: must be at least 0 and below 1")
    return max(1, sum(share > tolerance for share in shares))
