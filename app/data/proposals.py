"""Proposals as plain data: what events tell of each, the evidence of one, and how far predictions held."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from hankelboard.app.data.run_cache import RunCache
from hankelboard.app.data.runs import cache_of, caches_within
from hankelboard.settings.families import importance_of
from hankelboard.settings.importances import Importance
from hankelboard.storage import proposals as proposal_files
from hankelboard.storage.history import ProposalOutcome
from hankelboard.storage.records import Record

PROPOSALS_LISTED = 200
OUTCOMES_S = 0.3
"""How long a page waits for runs that nobody looked at yet."""


def proposals(run_id: str, limit: int = PROPOSALS_LISTED) -> list[dict[str, Any]]:
    """The newest proposals in short: number, state, step, N, ranks, decision, predicted, measured."""
    cache = cache_of(run_id)

    def compute() -> list[dict[str, Any]]:
        told = cache.history.proposals
        newest = _proposal_numbers(cache)[-limit:][::-1]
        return [_proposal_row(cache, number, told.get(number)) for number in newest]

    return cache.derived(f"proposals {limit}", compute, "proposals", "decisions", "events")


def outcomes() -> tuple[list[dict[str, Any]], int]:
    """Cuts of all runs whose ranks were measured before: change of accuracy, predicted and measured; and how
    many runs are not read yet."""
    caches, left_out = caches_within(OUTCOMES_S)
    found: list[dict[str, Any]] = []
    for cache in caches:
        found += cache.derived("outcomes", partial(_outcomes, cache), "events", "run_json", "notes")
    return found, left_out


def _outcomes(cache: RunCache) -> list[dict[str, Any]]:
    applied = [
        o.applied for o in cache.history.proposals.values() if o.applied and o.applied.get("predicted")
    ]
    rows = []
    for event in applied:
        values = [(event.get(key) or {}).get("accuracy") for key in ("before", "predicted", "after")]
        if all(isinstance(value, int | float) for value in values):
            before, predicted, after = values
            rows.append(
                {"run": cache.paths.run_id, "name": cache.summary()["name"], "proposal": event["proposal"],
                 "step": event["step"], "from": event.get("from"), "to": event.get("to"), "before": before,
                 "predicted": predicted - before, "measured": after - before}
            )  # fmt: skip
    return rows


def proposal_row(run_id: str, number: int) -> dict[str, Any] | None:
    """One proposal in short, however old; None when there is none of this number."""
    cache = cache_of(run_id)
    if number not in _proposal_numbers(cache):
        return None
    return _proposal_row(cache, number, cache.history.proposals.get(number))


def proposal_count(run_id: str) -> int:
    return len(_proposal_numbers(cache_of(run_id)))


def _proposal_numbers(cache: RunCache) -> list[int]:
    """Those that events name and those whose files are there, ascending."""
    compute = lambda: sorted({*cache.history.proposals, *cache.proposal_numbers()})  # noqa: E731
    return cache.derived("proposal numbers", compute, "proposals", "events")


def _proposal_row(cache: RunCache, number: int, outcome: ProposalOutcome | None) -> dict[str, Any]:
    """From the events where they tell it: only the undecided have their files read."""
    outcome = outcome or _unannounced(cache, number)
    decision = outcome.decision
    if decision is None:
        written = proposal_files.read_decision(cache.paths, number)
        decision = asdict(written) if written else None
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
    """A proposal whose file is there while no event names it yet, or no more."""
    record = proposal_files.read_proposal(cache.paths, number) or {}
    step, branch = record.get("step") or 0, record.get("branch") or 0
    dims = [layer.get("state_dim") for layer in record.get("layers", [])]
    return ProposalOutcome(number, branch, step, step, state_dims=dims, ranks=record.get("ranks") or [])


def proposal(run_id: str, number: int) -> Record | None:
    """A proposal with all its evidence, or None when it is absent or damaged."""
    cache = cache_of(run_id)

    def compute() -> Record | None:
        record = proposal_files.read_evidence(cache.paths, number)
        return record if record is not None and _is_whole(record) else None

    return cache.derived(f"proposal {number}", compute, "proposals", "measurements")


def importance(record: Record) -> Importance:
    """The words for what this proposal's tolerance and discarded shares are shares of."""
    return importance_of(record.get("importance", "hsv"))


def cut_by(run_id: str) -> str | None:
    """The importance that the run's cuts go by, as its newest proposal names it; None before there is one."""
    cache = cache_of(run_id)

    def compute() -> str | None:
        for number in reversed(_proposal_numbers(cache)):
            record = proposal_files.read_proposal(cache.paths, number)
            if record is not None:
                return str(record.get("importance", "hsv"))
        return None

    return cache.derived("cut by", compute, "proposals", "events")


def _is_whole(record: Record) -> bool:
    """Whether the record answers what the page asks of it: a damaged one must not take the page down."""
    try:
        full = [layer["state_dim"] for layer in record["layers"]]
        for ranks in (full, record["ranks"], proposal_files.ranks_at(record, record["tolerance"])):
            proposal_files.what_if(record, ranks)
        return all(len(layer["hsv"]) == layer["state_dim"] for layer in record["layers"])
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return False


def what_if(record: Record, ranks: Sequence[int]) -> Record:
    """What the recorded arrays say about these ranks (hankelboard.storage.proposals.what_if)."""
    return proposal_files.what_if(record, ranks)
