"""`hankelboard analyse`: was the choice that an early cut would have made still a good one at the end?

From the systems that a run kept: regret of the selection at each snapshot, beside the selection at
initialisation and a random one; and from one snapshot to the next overlap, drift against Weyl's bound, and
the order of the directions. docs/NUMERICS.md, section 4.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from hankelboard.settings.families import FAMILIES
from hankelboard.storage.errors import HankelboardError
from hankelboard.storage.history import read_history
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.records import Record
from hankelboard.storage.runs import read_run
from hankelboard.storage.spectrum import discarded_shares, rank_for_tolerance
from hankelboard.storage.summary import ENDED
from hankelboard.trainer.compression.systems import Snapshot, read_comparable
from hankelboard.trainer.reduction.linear.hankel import DiagonalSystem, difference, monitoring_spectrum
from hankelboard.trainer.reduction.linear.subspaces import (
    kept_subspace,
    order_stability,
    overlap,
    random_regret,
    selection_regret,
)
from hankelboard.trainer.reduction.linear.truncation import Balance, balance

TOLERANCES = (0.01, 0.02, 0.05, 0.1, 0.2)
OVERLAP_TOLERANCE = 0.05
RANDOM_SEEDS = 5
Progress = Callable[[int, int], None]


class AnalysisRefused(HankelboardError):
    """There is too little to analyse; the message says what is missing."""


def analyse(paths: RunPaths, progress: Progress = lambda done, total: None) -> Record:
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


def _layer(snapshots: Sequence[Snapshot], layer: int, progress: Callable[[int], None]) -> Record:
    final = balance(snapshots[-1].systems[layer])
    ranks = [_rank(final, tolerance) for tolerance in TOLERANCES]
    regrets: list[list[float]] = []
    between: list[Record] = []
    then: tuple[int, DiagonalSystem, Balance] | None = None
    for done, snapshot in enumerate(snapshots, 1):
        system = snapshot.systems[layer]
        balanced = final if snapshot is snapshots[-1] else balance(system)
        regrets.append([selection_regret(final, kept_subspace(balanced, rank)) for rank in ranks])
        if then is not None:
            between.append(_between(then, (snapshot.step, system, balanced)))
        then = (snapshot.step, system, balanced)
        progress(done)
    return {
        "layer": layer,
        "state_dim": final.system.state_dim,
        "steps": [snapshot.step for snapshot in snapshots],
        "regret": [
            {
                "tolerance": tolerance,
                "rank": rank,
                "regret": list(by_step),
                "random": [random_regret(final, rank, seed) for seed in range(RANDOM_SEEDS)],
            }
            for tolerance, rank, by_step in zip(TOLERANCES, ranks, zip(*regrets, strict=True), strict=True)
        ],
        "between": between,
    }


def _rank(balanced: Balance, tolerance: float) -> int:
    return rank_for_tolerance(discarded_shares(balanced.hsv.tolist()), tolerance)


def _between(then: tuple[int, DiagonalSystem, Balance], now: tuple[int, DiagonalSystem, Balance]) -> Record:
    """Return what changed from one snapshot to the next."""
    (since, system_then, before), (step, system_now, after) = then, now
    rank = _rank(after, OVERLAP_TOLERANCE)
    weyl = monitoring_spectrum(difference(system_now, system_then))[0]
    return {
        "since": since,
        "step": step,
        "overlap": overlap(kept_subspace(before, rank), kept_subspace(after, rank)),
        "drift": float(np.abs(after.hsv - before.hsv).max()),
        "weyl": float(weyl),
        "order": order_stability(before, after, _rank(before, TOLERANCES[0])),
    }
