"""Proposals and decisions: the trainer offers a reduction, the first verdict wins."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from hankelboard.storage import atomic, opening
from hankelboard.storage.decoding import (
    decode_decision,
    decode_measurement,
    decode_proposal,
    misfit_of_measurement,
    misfit_of_proposal,
    sound,
)
from hankelboard.storage.errors import AlreadyDecided, NotDecidable
from hankelboard.storage.history import History, read_history
from hankelboard.storage.layout import NUMBERED_JSON, ULID_JSON, RunPaths
from hankelboard.storage.records import (
    MAX_NAME,
    MAX_PERSONS_FILE_BYTES,
    MAX_REASON,
    new_ulid,
    now,
    read_record,
)
from hankelboard.storage.runs import refuse_newer
from hankelboard.storage.schema import (
    DecisionRecord,
    Evidence,
    Measurement,
    MeasurementRecord,
    Proposal,
    ProposalFields,
    ProposalLayer,
    RankTables,
    WhatIf,
)
from hankelboard.storage.spectrum import rank_for_tolerance
from hankelboard.storage.vocabulary import ProposalState, Verdict, values

VERDICTS = values(Verdict)
VERBS: dict[str, str] = {Verdict.APPROVE: "approved", Verdict.REJECT: "rejected"}


@dataclass(frozen=True)
class Decision:
    """A person's or a policy's verdict on one proposal."""

    decision_id: str
    proposal: int
    verdict: str
    ranks: list[int] | None
    """Edited ranks, one per layer; None means as proposed."""
    by: str
    via: str
    t: str
    reason: str
    by_role: str = ""
    """What stands behind the name, a word of `ByRole`."""


def publish_proposal(paths: RunPaths, number: int, fields: ProposalFields) -> None:
    """Publish a proposal under its number. Created once; FileExistsError when the number is taken."""
    opening.make_folder(paths.proposals)
    atomic.create(
        paths.proposal(number), sound({"t": now(), "proposal": number, **fields}, misfit_of_proposal)
    )


def read_proposal(paths: RunPaths, number: int) -> Proposal | None:
    """Return a proposal with its evidence, or None when it is absent or damaged."""
    return decode_proposal(read_record(paths.proposal(number)))


def problem_of_proposal(paths: RunPaths, number: int) -> str:
    """Return what is wrong with the file of a proposal; empty when it is one."""
    record = read_record(paths.proposal(number))
    return "is no JSON object" if record is None else misfit_of_proposal(record)


def publish_measurement(paths: RunPaths, command_id: str, record: MeasurementRecord) -> None:
    """Add what a command measured for a proposal. Created once; a replay of the command changes nothing."""
    opening.make_folder(paths.measurements)
    with contextlib.suppress(FileExistsError):
        atomic.create(paths.measurement(command_id), sound({"t": now(), **record}, misfit_of_measurement))


def read_evidence(paths: RunPaths, number: int) -> Proposal | None:
    """Return a proposal with what was measured for it later, or None when it is absent or damaged."""
    proposal = read_proposal(paths, number)
    if proposal is not None:
        for record in _measurements(paths, number):
            if len(record["layers"]) == len(proposal["layers"]):
                proposal = _with_measurement(proposal, record)
    return proposal


def _measurements(paths: RunPaths, number: int) -> list[MeasurementRecord]:
    files = opening.names_if_any(paths.measurements)
    names = sorted(match[1] for match in map(ULID_JSON.fullmatch, files) if match)
    records = (decode_measurement(read_record(paths.measurement(name)), number) for name in names)
    return [record for record in records if record is not None]


def _with_measurement(proposal: Proposal, more: Measurement) -> Proposal:
    measured = proposal["measured"]
    before = [point["ranks"] for point in measured["points"]]
    points = [*measured["points"], *(point for point in more["points"] if point["ranks"] not in before)]
    left_out = [name for name in measured.get("left_out", []) if name not in more["done"]]
    layers: list[ProposalLayer] = [
        {**layer, **figures} for layer, figures in zip(proposal["layers"], more["layers"], strict=True)
    ]
    return {**proposal, "layers": layers, "measured": {**measured, "points": points, "left_out": left_out}}


def proposal_numbers(paths: RunPaths) -> list[int]:
    """Return the numbers of all proposals, ascending."""
    names = opening.names_if_any(paths.proposals)
    return sorted(int(match[1]) for match in map(NUMBERED_JSON.fullmatch, names) if match)


def read_decision(paths: RunPaths, number: int) -> Decision | None:
    """Return the decision on a proposal, or None when there is none yet.

    A file that is there but makes no sense counts as a decision all the same (the first file wins): its
    verdict is then empty, and the trainer refuses it with the reason.
    """
    if not opening.is_there(paths.decision(number)):
        return None
    record = read_record(paths.decision(number), MAX_PERSONS_FILE_BYTES)
    return Decision(**decode_decision(record, number))


def decide(
    paths: RunPaths,
    number: int,
    verdict: str,
    *,
    by: str,
    via: str,
    by_role: str = "",
    ranks: Sequence[int] | None = None,
    reason: str = "",
    history: History | None = None,
) -> Decision:
    """Record a verdict.

    Atomicity and concurrency: created exclusively; of any number of deciders the first wins and the
    others get an error that says who won. Durability: on disk when this returns. The trainer acts on it at
    its next step boundary and answers in events.jsonl.

    Raises
    ------
    AlreadyDecided
        If there is a decision: says whose and when.
    NotDecidable
        If the proposal does not exist, is no longer open, or the ranks are impossible.
    NewerFormat
        If a newer Hankelboard wrote the run.
    """
    refuse_newer(paths)
    if verdict not in VERDICTS:
        raise NotDecidable(f"unknown verdict {verdict!r}; there are {', '.join(VERDICTS)}")
    proposal = read_proposal(paths, number)
    if proposal is None:
        there = ", ".join(map(str, proposal_numbers(paths))) or "none"
        raise NotDecidable(f"{paths.run_id} has no proposal {number} (there: {there})")
    _refuse_decided(paths, number)
    _refuse_closed(history or read_history(paths), proposal)
    edited = None if ranks is None or verdict == Verdict.REJECT else check_ranks(proposal, ranks)
    record: DecisionRecord = {
        "decision_id": new_ulid(), "proposal": number, "verdict": verdict, "ranks": edited,
        "by": by[:MAX_NAME], "by_role": by_role, "via": via[:MAX_NAME], "t": now(),
        "reason": reason[:MAX_REASON],
    }  # fmt: skip
    opening.make_folder(paths.decisions)
    try:
        atomic.create(paths.decision(number), record)
    except FileExistsError:
        _refuse_decided(paths, number)
        raise AlreadyDecided(f"proposal {number} is being decided by somebody else") from None
    return Decision(**record)


def _refuse_decided(paths: RunPaths, number: int) -> None:
    winner = read_decision(paths, number)
    if winner is not None:
        verb = VERBS.get(winner.verdict, "decided")
        why = f": {winner.reason}" if winner.reason else ""
        raise AlreadyDecided(f"proposal {number} was already {verb} by {winner.by} at {winner.t}{why}")


def _refuse_closed(history: History, proposal: Proposal) -> None:
    number = proposal["proposal"]
    outcome = history.proposals.get(number)
    if outcome is None and proposal.get("attempt", history.attempt) < history.attempt:
        raise NotDecidable(f"proposal {number} is not open: the attempt that made it ended before it said so")
    if outcome is not None and outcome.state != ProposalState.PENDING:
        why = f": {outcome.reason}" if outcome.reason else ""
        raise NotDecidable(f"proposal {number} is no longer open, it is {outcome.state}{why}")


def check_ranks(proposal: RankTables, ranks: Sequence[int]) -> list[int]:
    """Return the ranks as a list, one per layer of the proposal.

    Raises
    ------
    NotDecidable
        If the count is wrong, a rank lies outside 1…N, it cannot be realised, or it is not allowed.
    """
    layers = proposal["layers"]
    if len(ranks) != len(layers):
        raise NotDecidable(f"{len(ranks)} ranks given, the proposal has {len(layers)} layers")
    for layer, rank in zip(layers, ranks, strict=True):
        state_dim = layer["state_dim"]
        if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= state_dim:
            raise NotDecidable(f"layer {layer['layer']}: rank {rank} is outside 1…{state_dim}")
        if rank < state_dim and layer["realisable"][rank] is not True:
            raise NotDecidable(
                f"layer {layer['layer']}: rank {rank} cannot be realised; nearest that can: "
                f"{nearest_realisable(layer, rank)}"
            )
        allowed = layer.get("allowed_ranks")
        if allowed is not None and rank not in (*allowed, state_dim):
            listed = ", ".join(map(str, allowed))
            raise NotDecidable(f"layer {layer['layer']}: rank {rank} is none of those allowed: {listed}")
    return list(ranks)


def nearest_realisable(layer: ProposalLayer, rank: int) -> int:
    """Return the closest rank, upwards first, that can be written back; N itself always can."""
    state_dim = int(layer["state_dim"])
    candidates = [r for r in range(1, state_dim) if layer["realisable"][r] is True] + [state_dim]
    return min(candidates, key=lambda r: (abs(r - rank), r < rank))


def ranks_at(proposal: RankTables, tolerance: float) -> list[int]:
    """Return the rank per layer that the rule gives at a tolerance: gate and realisability included.

    Where the rank itself cannot be written back it is the next higher one that can, so that the discarded
    share stays within the tolerance. A proposal whose `allocation` is global allows the tolerance to all
    layers together.
    """
    layers = proposal["layers"]
    if proposal.get("allocation") == "global":
        allowed = _shared_ranks([layer["discarded_share"] for layer in layers], tolerance)
    else:
        allowed = [rank_for_tolerance(layer["discarded_share"], tolerance) for layer in layers]
    return [
        _gated(layer, _realisable_from(layer, rank), proposal["gate"])
        for layer, rank in zip(layers, allowed, strict=True)
    ]


def _shared_ranks(shares: Sequence[Sequence[float]], tolerance: float) -> list[int]:
    """Return ranks whose discarded shares average at most the tolerance: the cheapest state goes first.

    >>> _shared_ranks([[1.0, 0.3, 0.0], [1.0, 0.2, 0.1, 0.0]], 0.1)
    [2, 1]
    """
    ranks = [len(layer) - 1 for layer in shares]
    spent = 0.0
    while costs := [
        (layer[rank - 1] - layer[rank], place)
        for place, (layer, rank) in enumerate(zip(shares, ranks, strict=True))
        if rank > 1
    ]:
        cost, place = min(costs)
        if spent + cost > tolerance * len(shares) * (1 + 1e-12):
            break
        spent += cost
        ranks[place] -= 1
    return ranks


def ranks_of_share(proposal: RankTables, share: float) -> list[int]:
    """Return the rank per layer that leaves out a fixed share of the states, at least one, where realisable.

    >>> layer = {"state_dim": 40, "realisable": [True] * 41}
    >>> ranks_of_share({"layers": [layer]}, 0.1)
    [36]
    """
    return [
        nearest_realisable(
            layer, max(1, min(layer["state_dim"] - 1, round((1 - share) * layer["state_dim"])))
        )
        for layer in proposal["layers"]
    ]


def ranks_within(proposal: RankTables, share: float, unit: str = "states") -> list[int]:
    """Return the rank per layer when all layers together keep a share of their states or parameters.

    One threshold for all layers: the state with the smallest importance goes first, wherever it is, so that
    the sum of the bounds 2 Σ_{i>r} σ_i is as small as it can be; with `parameters` the one with the smallest
    importance per parameter that it costs. Every layer keeps a state; a rank that cannot be realised gives
    way to the next lower one that can.

    >>> two = {"state_dim": 2, "realisable": [False, True, True], "parameters": [0, 5, 10]}
    >>> ranks_within({"layers": [{"hsv": [9.0, 4.0], **two}, {"hsv": [3.0, 1.0], **two}]}, 0.75)
    [2, 1]
    """
    layers = proposal["layers"]
    costs = [
        [(after - before if unit == "parameters" else 1) for before, after in pairwise(layer["parameters"])]
        for layer in layers
    ]
    worth = sorted(
        (-hsv / max(costs[place][i], 1), place, i)
        for place, layer in enumerate(layers)
        for i, hsv in enumerate(layer["hsv"])
        if i > 0
    )
    ranks = [1] * len(layers)
    left = share * sum(map(sum, costs)) - sum(cost[0] for cost in costs)
    for _, place, i in worth:
        if ranks[place] == i and costs[place][i] <= left * (1 + 1e-12):
            ranks[place] += 1
            left -= costs[place][i]
    return [_realisable_below(layer, rank) for layer, rank in zip(layers, ranks, strict=True)]


def _realisable_from(layer: ProposalLayer, rank: int) -> int:
    state_dim = int(layer["state_dim"])
    return next((r for r in range(rank, state_dim) if layer["realisable"][r] is True), state_dim)


def _realisable_below(layer: ProposalLayer, rank: int) -> int:
    if rank == layer["state_dim"]:
        return rank
    below = [r for r in range(1, rank + 1) if layer["realisable"][r] is True]
    return below[-1] if below else nearest_realisable(layer, rank)


def _gated(layer: ProposalLayer, rank: int, gate: float) -> int:
    return rank if rank < gate * layer["state_dim"] else int(layer["state_dim"])


def measured_error(layer: ProposalLayer, rank: int) -> tuple[int, float | None] | None:
    """Return the measured rank that is nearest, and the relative error of the layer's output there.

    Nearest by ratio; nothing is interpolated. The error is None where it could not be said; None instead of
    both where nothing was measured. At rank N nothing changes.

    >>> layer = {"state_dim": 9, "output_error": {"ranks": [2, 6], "errors": [0.3, 0.1]}}
    >>> measured_error(layer, 6), measured_error(layer, 3), measured_error(layer, 9)
    ((6, 0.1), (2, 0.3), (9, 0.0))
    """
    if rank == layer["state_dim"]:
        return rank, 0.0
    measured = layer.get("output_error")
    pairs = list(zip(measured["ranks"], measured["errors"], strict=True)) if measured else []
    return min(pairs, key=lambda pair: max(pair[0], rank) / min(pair[0], rank), default=None)


def what_if(proposal: Evidence, ranks: Sequence[int]) -> WhatIf:
    """Return what the proposal's recorded lists say about these ranks: shares, bounds, size.

    `measured` is the measured point at exactly these ranks, or None: what was not measured is not guessed.
    """
    layers = proposal["layers"]
    chosen = list(zip(layers, ranks, strict=True))
    points = proposal["measured"].get("points", []) if "measured" in proposal else []
    return {
        "ranks": list(ranks),
        "discarded_share": [layer["discarded_share"][rank] for layer, rank in chosen],
        "error_bound": [bound[rank] if (bound := layer["error_bound"]) else None for layer, rank in chosen],
        "parameters": proposal["parameters_elsewhere"]
        + sum(layer["parameters"][rank] for layer, rank in chosen),
        "measured": next((point for point in points if point["ranks"] == list(ranks)), None),
        "cuts": any(rank < layer["state_dim"] for layer, rank in chosen),
    }
