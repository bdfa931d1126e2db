"""`hankelboard analyse`: was the choice that an early cut would have made still a good one at the end?

From the systems that a run kept, their modes in canonical scale: regret of the selection at each snapshot
and of the cut made with it, beside the selection at the start and one by lot; the step from which on it is
small; and from one snapshot to the next overlap, drift against Weyl's bound, and the order of the directions.
docs/NUMERICS.md, section 4.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from hankelboard.settings.families import FAMILIES
from hankelboard.storage.errors import HankelboardError
from hankelboard.storage.history import read_history
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.runs import read_run
from hankelboard.storage.schema import AnalysedLayer, Analysis, Between, Regret
from hankelboard.storage.spectrum import SMALL_REGRET, discarded_shares, rank_for_tolerance
from hankelboard.storage.vocabulary import ENDED
from hankelboard.trainer.compression.systems import Snapshot, read_comparable
from hankelboard.trainer.reduction.linear.hankel import DiagonalSystem, difference, monitoring_spectrum
from hankelboard.trainer.reduction.linear.subspaces import (
    balanced_in_canonical_scale,
    cut_regret,
    kept_bases,
    order_stability,
    overlap,
    random_overlap,
    random_regret,
    subspace_regret,
)
from hankelboard.trainer.reduction.linear.truncation import Balance

TOLERANCES = (0.01, 0.02, 0.05, 0.1, 0.2)
OVERLAP_TOLERANCE = 0.05
Progress = Callable[[int, int], None]


class AnalysisRefused(HankelboardError):
    """There is too little to analyse; the message says what is missing."""


def analyse(paths: RunPaths, progress: Progress = lambda done, total: None) -> Analysis:
    """Return the analysis of a run up to its newest snapshot; `progress(done, total)` is called meanwhile.

    Raises
    ------
    AnalysisRefused
        If the run kept fewer than two snapshots since its last cut: its layers have no λ, B and C, or it
        was configured not to, or is too young.
    """
    history = read_history(paths)
    snapshots, before_cut = read_comparable(paths, history)
    if len(snapshots) < 2:
        raise AnalysisRefused(f"{paths.run_id}: {_why_too_few(paths, len(snapshots))}")
    count = len(snapshots[0].systems)

    def advance(layer: int, done: int) -> None:
        progress(layer * len(snapshots) + done, count * len(snapshots))

    layers = [_layer(snapshots, layer, partial(advance, layer)) for layer in range(count)]
    return {
        "until_step": snapshots[-1].step,
        "provisional": history.state not in ENDED,
        "left_out_before_cut": before_cut,
        "branch": history.branch,
        "layers": layers,
    }


def _why_too_few(paths: RunPaths, kept: int) -> str:
    config = read_run(paths).config
    family = FAMILIES.get(config.get("model", {}).get("family"))
    if family is not None and not family.systems:
        others = ", ".join(each.name for each in FAMILIES.values() if each.systems)
        return (
            f"only linear time-invariant layers ({others}) keep their systems; in a run of "
            f"family {family.name} there is nothing to analyse"
        )
    if not config.get("output", {}).get("systems", True):
        return "output.systems = false: it keeps no systems, so there is nothing to analyse"
    return f"{kept} snapshots of its systems since the last cut, at least 2 are needed"


def _layer(snapshots: Sequence[Snapshot], layer: int, progress: Callable[[int], None]) -> AnalysedLayer:
    final = balanced_in_canonical_scale(snapshots[-1].systems[layer])
    ranks = [_rank(final, tolerance) for tolerance in TOLERANCES]
    regrets: list[list[tuple[float, float]]] = []
    between: list[Between] = []
    start: Balance | None = None
    then: _Moment | None = None
    for done, snapshot in enumerate(snapshots, 1):
        system = snapshot.systems[layer]
        balanced = final if snapshot is snapshots[-1] else balanced_in_canonical_scale(system)
        now = _Moment(snapshot.step, system, balanced)
        start = start or balanced
        regrets.append([_regrets(balanced, rank, final) for rank in ranks])
        if then is not None:
            between.append(_between(start, then, now))
        then = now
        progress(done)
    steps = [snapshot.step for snapshot in snapshots]
    return {
        "layer": layer,
        "state_dim": final.system.state_dim,
        "steps": steps,
        "regret": [
            _row(final, steps, tolerance, rank, by_step)
            for tolerance, rank, by_step in zip(TOLERANCES, ranks, zip(*regrets, strict=True), strict=True)
        ],
        "between": between,
    }


@dataclass(frozen=True)
class _Moment:
    """A layer at a snapshot."""

    step: int
    system: DiagonalSystem
    balanced: Balance
    """In canonical scale."""


def _rank(balanced: Balance, tolerance: float) -> int:
    return rank_for_tolerance(discarded_shares(balanced.hsv.tolist()), tolerance)


def _regrets(then: Balance, rank: int, final: Balance) -> tuple[float, float]:
    """Return the regret of the subspace that is kept then, and of the cut."""
    V, W = kept_bases(then, rank, final)
    return subspace_regret(final, V), cut_regret(final, V, W)


def _row(
    final: Balance, steps: Sequence[int], tolerance: float, rank: int, by_step: Sequence[tuple[float, float]]
) -> Regret:
    of_subspace, of_cut = (list(values) for values in zip(*by_step, strict=True))
    return {
        "tolerance": tolerance,
        "rank": rank,
        "regret": of_subspace,
        "cut_regret": of_cut,
        "random": [random_regret(final, rank)],
        "knee": knee(steps, of_cut, tolerance),
    }


def knee(steps: Sequence[int], regret: Sequence[float], tolerance: float) -> int | None:
    """Return the first step from which on regret stays below a tenth of the tolerance.

    At the last snapshot regret is 0 by definition: None where it is small only there.

    >>> knee([0, 10, 20, 30, 40], [0.5, 0.004, 0.03, 0.004, 0.0], 0.05)
    30
    >>> knee([0, 10, 20], [0.5, 0.2, 0.0], 0.05) is None
    True
    """
    late = [place for place, value in enumerate(regret) if value >= SMALL_REGRET * tolerance]
    place = late[-1] + 1 if late else 0
    return steps[place] if place < len(steps) - 1 else None


def _between(start: Balance, then: _Moment, now: _Moment) -> Between:
    """Return what changed from one snapshot to the next, and since the first."""
    rank, strongest = _rank(now.balanced, OVERLAP_TOLERANCE), _rank(then.balanced, TOLERANCES[0])
    weyl = monitoring_spectrum(difference(now.system, then.system))[0]
    return {
        "since": then.step,
        "step": now.step,
        "overlap": overlap(then.balanced, now.balanced, rank),
        "overlap_start": overlap(start, now.balanced, rank),
        "overlap_random": random_overlap(rank, now.system.state_dim),
        "drift": float(np.abs(now.balanced.hsv - then.balanced.hsv).max()),
        "weyl": float(weyl),
        "order": order_stability(then.balanced, now.balanced, strongest),
        "order_start": order_stability(start, now.balanced, _rank(start, TOLERANCES[0])),
    }
