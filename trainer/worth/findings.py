"""The answer with what it cost and what is at stake: as a record, and in words."""

import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

from hankelboard.storage.figures import fixed, percent, points, seconds, significant
from hankelboard.trainer.worth.search import Search
from hankelboard.trainer.worth.short_runs import divided
from hankelboard.trainer.worth.verdict import Answer, Verdict, Why


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a search found."""

    answer: Answer
    states: dict[int, list[int]]
    """Of each layer, by what they were divided by."""
    step_s: dict[int, float]
    """Median seconds of an update, of each size that was trained."""
    seeds: list[int]
    margin: float
    chance_accuracy: float
    accuracy: float
    """Of the large network at the longest length compared, or trained."""
    total_steps: int
    updates: int
    seconds: float
    """That all took, evaluations included."""
    more: float
    """Budget, in trainings, with which the next longer runs would fit; 0 where there are none."""

    @property
    def training_s(self) -> float:
        """Seconds that the whole training would take, uncut."""
        return self.step_s.get(1, 0.0) * self.total_steps

    @property
    def trainings(self) -> float:
        """Updates of all short runs, in trainings."""
        return self.updates / self.total_steps

    def saved(self, divisor: int) -> float:
        """Return the share of an update's time that a network of that size saves."""
        large, small = self.step_s.get(1, 0.0), self.step_s.get(divisor, 0.0)
        return 1.0 - small / large if large and small else 0.0

    def words(self) -> list[str]:
        """Return the answer, what it rests on, what would help to know more and what it cost, a line each."""
        said = {Verdict.SMALL: _small, Verdict.GAIN: _gain, Verdict.UNKNOWN: _unknown}[self.answer.verdict](
            self
        )
        verdict = self.answer.verdict
        return [f"{verdict[0].upper()}{verdict[1:]}: {said}", *_gaps(self), _cost(self)]

    def record(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        record = asdict(self)
        answer = record.pop("answer")
        return {
            **answer, **record, "training_s": self.training_s, "trainings": self.trainings,
            "words": self.words(),
        }  # fmt: skip


def find(search: Search) -> Findings:
    """Make the short runs of a search and return what they say."""
    started = time.monotonic()
    answer = search.go()
    runs = list(search.runs.values())
    last = answer.steps or max((run.steps for run in runs), default=0)
    large = [float(run.accuracy.mean()) for run in runs if (run.divisor, run.steps) == (1, last)]
    longer = min(2 * last, search.total_steps) if last else 0
    more = 0 if answer.steps == search.total_steps else search.spent + search.cost(search.round_at(longer))
    return Findings(
        answer=answer,
        states={divisor: divided(search.config.state_dims, divisor) for divisor in search.divisors},
        step_s={
            divisor: statistics.median(run.step_s for run in runs if run.divisor == divisor)
            for divisor in search.divisors
            if any(run.divisor == divisor for run in runs)
        },
        seeds=sorted({run.seed for run in runs}),
        margin=search.margin,
        chance_accuracy=search.chance_accuracy,
        accuracy=statistics.fmean(large) if large else 0.0,
        total_steps=search.total_steps,
        updates=search.spent,
        seconds=time.monotonic() - started,
        more=more / search.total_steps,
    )


def _small(found: Findings) -> str:
    divisor = found.answer.divisor
    return (
        f"{_states(found, divisor)} states per layer do as well as {_states(found, 1)}, within "
        f"{_margin(found)}. Starting small loses nothing{_faster(found, divisor)}."
    )


def _faster(found: Findings, divisor: int) -> str:
    saved = found.saved(divisor)
    return f", and an update takes {percent(saved, 0)} less time" if saved > 0.02 else ""


def _gain(found: Findings) -> str:
    divisor = found.answer.divisor
    gap = next(gap for gap in reversed(found.answer.gaps) if gap.divisor == divisor)
    return (
        f"{_states(found, divisor)} states per layer from scratch end {points(gap.accuracy)[1:]} points of "
        f"validation accuracy below {_states(found, 1)}, and twice the updates do not make up for it. "
        f"That is at stake: a network cut to {_states(found, divisor)} may keep it{_faster(found, divisor)}."
    )


def _unknown(found: Findings) -> str:
    reasons = {
        Why.NOTHING_TRAINED: "the budget is too small for a single short run.",
        Why.NOT_BEGUN: "none of them has begun to learn within the budget.",
        Why.TOO_EARLY: "the large network is in the midst of learning, where small ones lag in any case.",
        Why.CLOSING: "the small network is behind, but closes up as runs get longer.",
        Why.GROWING: "the small network is as good so far, but falls behind as runs get longer.",
        Why.UNCERTAIN: "the difference between seeds is larger than that between sizes.",
    }
    assert found.answer.why is not None
    what = "More seeds (--seeds) or longer runs" if found.answer.why == Why.UNCERTAIN else "Longer runs"
    would = f" {what} would say more: --budget {_rounded_up(found.more)}." if found.more else ""
    return reasons[found.answer.why] + would


def _rounded_up(budget: float) -> str:
    return f"{budget * 1.05:.2g}"


def _gaps(found: Findings) -> list[str]:
    """Return the differences at each length, so that it can be seen whether they grow."""
    return [
        f"  after {gap.steps:,} updates, {_states(found, gap.divisor)} states: "
        f"{points(-gap.accuracy)} [{points(-gap.high)}, {points(-gap.low)}] points (90 %, "
        f"{len(gap.by_seed)} seeds), loss {fixed(gap.loss, 3, signed=True)}"
        for gap in found.answer.gaps
    ] + [
        f"  {_states(found, 1)} states: validation {percent(found.accuracy)} (chance "
        f"{percent(found.chance_accuracy)})"
    ]


def _cost(found: Findings) -> str:
    return (
        f"  cost: {found.updates:,} updates, {significant(found.trainings, 2)} times the training's "
        f"{found.total_steps:,}; {seconds(found.seconds)}, the training itself about "
        f"{seconds(found.training_s)}"
    )


def _states(found: Findings, divisor: int) -> str:
    dims = found.states[divisor]
    return str(dims[0]) if len(set(dims)) == 1 else ", ".join(map(str, dims))


def _margin(found: Findings) -> str:
    return f"{significant(100 * found.margin, 2)} points of validation accuracy"
