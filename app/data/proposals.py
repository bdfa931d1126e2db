"""Proposals as plain data: what became of each, the evidence of one, and how far predictions held."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import TypedDict, cast

from hankelboard.app.data.run_cache import RunCache
from hankelboard.app.data.runs import cache_of, caches_within
from hankelboard.settings.families import importance_of
from hankelboard.settings.importances import Importance
from hankelboard.storage import proposals as proposal_files
from hankelboard.storage.history import ProposalOutcome
from hankelboard.storage.schema import (
    DecisionRecord,
    Event,
    Proposal,
    ReductionApplied,
    ReductionJudged,
    Scores,
    WhatIf,
)

PROPOSALS_LISTED = 200
OUTCOMES_S = 0.3
"""How long a page waits for runs that nobody looked at yet."""


class ProposalRow(TypedDict):
    """A proposal in short."""

    number: int
    state: str
    reason: str
    accepted: Event | None
    """The event decision_accepted."""
    applied: ReductionApplied | None
    judged: ReductionJudged | None
    on_live_branch: bool
    step: int
    branch: int
    state_dims: list[int]
    ranks: list[int]
    """As proposed."""
    decision: DecisionRecord | None
    """As accepted, else as written."""


Outcome = TypedDict(
    "Outcome",
    {
        "run": str, "name": str, "proposal": int | None, "step": int, "from": list[int] | None,
        "to": list[int] | None, "before": float, "predicted": float, "measured": float,
    },
)  # fmt: skip
"""A cut: accuracy before it, and its change, predicted and measured."""


def proposals(run_id: str, limit: int = PROPOSALS_LISTED) -> list[ProposalRow]:
    """Return the newest proposals in short."""
    cache = cache_of(run_id)

    def compute() -> list[ProposalRow]:
        announced = cache.history.proposals
        newest = _proposal_numbers(cache)[-limit:][::-1]
        return [_proposal_row(cache, number, announced.get(number)) for number in newest]

    return cache.derived(f"proposals {limit}", compute, "proposals", "decisions", "events")


def outcomes() -> tuple[list[Outcome], int]:
    """Return the cuts of all runs whose ranks were measured before, and how many runs are not read yet."""
    caches, left_out = caches_within(OUTCOMES_S)
    rows: list[Outcome] = []
    for cache in caches:
        rows += cache.derived("outcomes", partial(_outcomes, cache), "events", "run_json", "notes")
    return rows, left_out


def _outcomes(cache: RunCache) -> list[Outcome]:
    applied = [outcome.applied for outcome in cache.history.proposals.values() if outcome.applied]
    rows = (_outcome(cache, event) for event in applied)
    return [row for row in rows if row is not None]


def _outcome(cache: RunCache, event: ReductionApplied) -> Outcome | None:
    """Return a cut with its change of accuracy; None where one of the figures is missing."""
    before, predicted, after = (
        _accuracy(scores) for scores in (event.get("before"), event.get("predicted"), event.get("after"))
    )
    if before is None or predicted is None or after is None:
        return None
    return {
        "run": cache.paths.run_id, "name": cache.summary()["name"], "proposal": event["proposal"],
        "step": event["step"], "from": event.get("from"), "to": event.get("to"), "before": before,
        "predicted": predicted - before, "measured": after - before,
    }  # fmt: skip


def _accuracy(scores: Scores | None) -> float | None:
    value = scores.get("accuracy") if scores else None
    return value if isinstance(value, int | float) else None


def proposal_row(run_id: str, number: int) -> ProposalRow | None:
    """Return one proposal in short, however old; None when there is none of this number."""
    cache = cache_of(run_id)
    if number not in _proposal_numbers(cache):
        return None
    return _proposal_row(cache, number, cache.history.proposals.get(number))


def proposal_count(run_id: str) -> int:
    return len(_proposal_numbers(cache_of(run_id)))


def _proposal_numbers(cache: RunCache) -> list[int]:
    """Return the numbers that events name and those of files, ascending."""
    compute = lambda: sorted({*cache.history.proposals, *cache.proposal_numbers()})  # noqa: E731
    return cache.derived("proposal numbers", compute, "proposals", "events")


def _proposal_row(cache: RunCache, number: int, outcome: ProposalOutcome | None) -> ProposalRow:
    """Return a row made of events where they have it: only files of undecided proposals are read."""
    outcome = outcome or _unannounced(cache, number)
    decision = cast(DecisionRecord | None, outcome.decision)  # the event repeats the keys of the decision
    if decision is None:
        written = proposal_files.read_decision(cache.paths, number)
        decision = cast(DecisionRecord, asdict(written)) if written else None
    return {
        "number": number,
        "state": outcome.state,
        "reason": outcome.reason,
        "accepted": outcome.decision,
        "applied": outcome.applied,
        "judged": outcome.judged,
        "on_live_branch": outcome.branch == cache.history.branch,
        "step": outcome.step,
        "branch": outcome.branch,
        "state_dims": outcome.state_dims,
        "ranks": outcome.ranks,
        "decision": decision,
    }


def _unannounced(cache: RunCache, number: int) -> ProposalOutcome:
    """Return the outcome of a proposal whose file is there while no event names it yet, or no more."""
    record = proposal_files.read_proposal(cache.paths, number)
    if record is None:
        return ProposalOutcome(number, branch=0, step=0, attempt_step=0)
    step, dims = record["step"], [layer["state_dim"] for layer in record["layers"]]
    return ProposalOutcome(number, record["branch"], step, step, state_dims=dims, ranks=record["ranks"])


def proposal(run_id: str, number: int) -> Proposal | None:
    """Return a proposal with all its evidence, or None when it is absent or damaged."""
    cache = cache_of(run_id)

    compute = lambda: proposal_files.read_evidence(cache.paths, number)  # noqa: E731
    return cache.derived(f"proposal {number}", compute, "proposals", "measurements")


def problem(run_id: str, number: int) -> str:
    """Return what is wrong with the file of a proposal, in words."""
    return proposal_files.problem_of_proposal(cache_of(run_id).paths, number)


def importance(record: Proposal) -> Importance:
    """Return the words for what this proposal's tolerance and discarded shares are shares of."""
    return importance_of(record.get("importance", "hsv"))


def cut_by(run_id: str) -> str | None:
    """Return the importance that cuts of the run go by, of its newest proposal; None before there is one."""
    cache = cache_of(run_id)

    def compute() -> str | None:
        for number in reversed(_proposal_numbers(cache)):
            record = proposal_files.read_proposal(cache.paths, number)
            if record is not None:
                return str(record.get("importance", "hsv"))
        return None

    return cache.derived("cut by", compute, "proposals", "events")


def what_if(record: Proposal, ranks: Sequence[int]) -> WhatIf:
    """Return what the recorded arrays say about these ranks (hankelboard.storage.proposals.what_if)."""
    return proposal_files.what_if(record, ranks)
