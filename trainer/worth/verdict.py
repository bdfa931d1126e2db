"""What follows from short runs: train the small one, cutting may gain, or nothing yet. Pure functions.

Accuracies are compared by seed, with 90 % intervals: each bound holds at 95 %, which is what a claim that
something is, or is not, worse than a margin needs. A short run sees the beginning of learning only. So
nothing is claimed before the large network has learned half of what there is, and a small one that is behind
counts as worse only if twice the updates do not make up for it.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from scipy import special

from hankelboard.trainer.compression.what_if import paired_interval
from hankelboard.trainer.reduction.reducible import FloatArray

DIVISORS = (1, 4, 16)
"""What the states of the large network are divided by."""
ENOUGH_SEEDS = 3
"""Seeds from which on an interval is given, as in comparisons."""
HALF = 0.5
"""Share of chance's loss that the large network must have lost before a difference means something."""
BEGUN = 0.1
"""The same share from which on it has begun to learn."""
LEVEL = 0.95
"""Of each bound by itself."""


class Verdict(StrEnum):
    """The three answers."""

    SMALL = "train the small one"
    GAIN = "cutting may gain"
    UNKNOWN = "cannot tell"


class Why(StrEnum):
    """Why nothing is claimed."""

    NOTHING_TRAINED = "nothing trained"
    NOT_BEGUN = "not begun"
    TOO_EARLY = "too early"
    CLOSING = "closing"
    GROWING = "growing"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, kw_only=True)
class ShortRun:
    """One short run, and how good it was on validation data at its end."""

    divisor: int
    """By which the states of each layer were divided."""
    seed: int
    steps: int
    loss: FloatArray
    """(samples,) of each validation sample, nats."""
    accuracy: FloatArray
    """(samples,) share of right predictions in each."""
    step_s: float
    """Median seconds of an update."""


@dataclass(frozen=True, kw_only=True)
class Gap:
    """How much better the large network is than a smaller one; paired by seed and sample."""

    divisor: int
    steps: int
    """Updates of both."""
    accuracy: float
    low: float
    high: float
    """Between them 90 %, over seeds and validation samples."""
    loss: float
    """Nats by which the loss of the small one is higher."""
    by_seed: list[float]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer, and what it rests on."""

    verdict: Verdict
    why: Why | None = None
    """Of `cannot tell`."""
    divisor: int = 0
    """Of the smallest network that does as well; of one that does not, 4; 0 where nothing is claimed."""
    steps: int = 0
    """Updates of the longest runs that were compared."""
    learned: float = 0.0
    """Share of chance's loss that the large network had lost by then."""
    gaps: list[Gap] = field(default_factory=list)
    """At every length, the shortest first."""


def verdict(runs: Sequence[ShortRun], *, chance_loss: float, margin: float, total_steps: int) -> Answer:
    """Return what the runs say about a training of `total_steps` updates.

    Parameters
    ----------
    chance_loss : float
        Loss of guessing by how frequent each label is, nats.
    margin : float
        Difference in accuracy that does not matter.
    """
    gaps = all_gaps(runs)
    steps = max((gap.steps for gap in gaps), default=max((run.steps for run in runs), default=0))
    learned = learned_by(runs, steps, chance_loss)
    if not gaps:
        why = _too_early(runs, steps, chance_loss) if runs else Why.NOTHING_TRAINED
        return Answer(verdict=Verdict.UNKNOWN, why=why, learned=learned)
    if steps < total_steps and learned < HALF:
        why = _too_early(runs, steps, chance_loss)
        return Answer(verdict=Verdict.UNKNOWN, why=why, steps=steps, learned=learned, gaps=gaps)
    judged = {
        gap.divisor: _judge(gap, _shorter(gap, gaps), runs, margin, total_steps)
        for gap in gaps
        if gap.steps == steps
    }
    return Answer(steps=steps, learned=learned, gaps=gaps, **_together(judged))


def _shorter(gap: Gap, gaps: Sequence[Gap]) -> Gap | None:
    """Return the gap of the same size at the length before; None if there is none."""
    same = [one for one in gaps if one.divisor == gap.divisor and one.steps < gap.steps]
    return same[-1] if same else None


def _together(judged: Mapping[int, Verdict | Why]) -> dict[str, Any]:
    """Return the answer from what was found of each size: the smallest that does as well counts."""
    as_good = [divisor for divisor, found in judged.items() if found == Verdict.SMALL]
    if as_good:
        return {"verdict": Verdict.SMALL, "divisor": max(as_good)}
    first = min(judged)
    if isinstance(judged[first], Verdict):
        return {"verdict": judged[first], "divisor": first}
    return {"verdict": Verdict.UNKNOWN, "why": judged[first]}


def _judge(
    gap: Gap, shorter: Gap | None, runs: Sequence[ShortRun], margin: float, total_steps: int
) -> Verdict | Why:
    """Return what the longest runs of one size say, given the gap of shorter ones."""
    to_come = gap.steps < total_steps
    change = gap.accuracy - shorter.accuracy if shorter else 0.0
    if gap.high <= margin:
        return Why.GROWING if to_come and change > margin else Verdict.SMALL
    if gap.low <= margin:
        return Why.CLOSING if change < 0 and gap.accuracy > margin else Why.UNCERTAIN
    if not to_come:
        return Verdict.GAIN
    if shorter is None:
        return Why.TOO_EARLY
    behind = behind_with_more(runs, gap.divisor, shorter.steps, gap.steps)
    return Verdict.GAIN if behind > 0 and _left_at(gap, shorter, total_steps) > margin else Why.CLOSING


def _left_at(gap: Gap, earlier: Gap, total_steps: int) -> float:
    """Return the lower bound of a gap at the end of the training, if it goes on closing as it did.

    One that grew is not taken to grow further.
    """
    closing = min(1.0, gap.accuracy / earlier.accuracy) if earlier.accuracy > 0 else 1.0
    per_doubling = closing ** (1.0 / math.log2(gap.steps / earlier.steps))
    return float(gap.low * per_doubling ** math.log2(total_steps / gap.steps))


def behind_with_more(runs: Sequence[ShortRun], divisor: int, sooner: int, later: int) -> float:
    """Return how far the small network after `later` updates is behind the large one after `sooner`."""
    large, small = _by_seed(runs, 1, sooner), _by_seed(runs, divisor, later)
    seeds = large.keys() & small.keys()
    return statistics.fmean(
        float(large[seed].accuracy.mean() - small[seed].accuracy.mean()) for seed in seeds
    )


def all_gaps(runs: Sequence[ShortRun]) -> list[Gap]:
    """Return the gap of each smaller size at each length with enough seeds of both, the shortest first."""
    pairs = sorted({(run.steps, run.divisor) for run in runs if run.divisor > 1})
    both = [(_by_seed(runs, 1, steps), _by_seed(runs, divisor, steps)) for steps, divisor in pairs]
    return [_gap(large, small) for large, small in both if len(large.keys() & small.keys()) >= ENOUGH_SEEDS]


def _by_seed(runs: Sequence[ShortRun], divisor: int, steps: int) -> dict[int, ShortRun]:
    return {run.seed: run for run in runs if (run.divisor, run.steps) == (divisor, steps)}


def _gap(large: Mapping[int, ShortRun], small: Mapping[int, ShortRun]) -> Gap:
    seeds = sorted(large.keys() & small.keys())
    accuracy = np.stack([large[seed].accuracy - small[seed].accuracy for seed in seeds])  # (seeds, samples)
    by_seed = [float(value) for value in accuracy.mean(axis=1)]
    mean, half = statistics.fmean(by_seed), _half(accuracy)
    loss = statistics.fmean(float((small[seed].loss - large[seed].loss).mean()) for seed in seeds)
    one = small[seeds[0]]
    return Gap(
        divisor=one.divisor, steps=one.steps, accuracy=mean, low=mean - half, high=mean + half, loss=loss,
        by_seed=by_seed,
    )  # fmt: skip


def _half(differences: FloatArray) -> float:
    """Return half of the interval of the mean: over seeds by Student's t, over samples by a paired bootstrap.

    Samples are the same for all seeds, so that seeds alone do not show what is due to these samples. What is
    of one seed and sample only is in both, and counted once.

    Parameters
    ----------
    differences : (seeds, samples)
    """
    seeds, samples = differences.shape
    of_seeds, of_samples = differences.mean(axis=1), differences.mean(axis=0)
    spread = statistics.stdev(float(value) for value in of_seeds) / math.sqrt(seeds)
    low, high = (value or 0.0 for value in paired_interval(of_samples))
    rest = differences - of_seeds[:, None] - of_samples + differences.mean()
    both = float((rest**2).sum()) / max(1, (seeds - 1) * (samples - 1)) / differences.size
    shared = max(0.0, ((high - low) / 2 / float(special.ndtri(0.975))) ** 2 - both)
    return math.hypot(_student(seeds) * spread, float(special.ndtri(LEVEL)) * math.sqrt(shared))


def _student(seeds: int) -> float:
    return float(special.stdtrit(seeds - 1, LEVEL))


def learned_by(runs: Sequence[ShortRun], steps: int, chance_loss: float, divisor: int = 1) -> float:
    """Return the share of chance's loss that a network, by default the large one, has lost by then."""
    losses = [float(run.loss.mean()) for run in runs if (run.divisor, run.steps) == (divisor, steps)]
    learned = 1.0 - statistics.fmean(losses) / chance_loss if losses and chance_loss > 0 else 0.0
    return learned if math.isfinite(learned) else 0.0


def _too_early(runs: Sequence[ShortRun], steps: int, chance_loss: float) -> Why:
    """Return how much too early it is at a length: whether any network has begun to learn."""
    most = max(learned_by(runs, steps, chance_loss, divisor) for divisor in DIVISORS)
    return Why.NOT_BEGUN if most < BEGUN else Why.TOO_EARLY
