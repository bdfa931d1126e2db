"""What a proposal shows: every rank's consequences, measured what-ifs, cost now and after.

Measuring works on copies of the model and under a forked generator: training is the same with and
without it at the same seed.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Any, cast

from torch import nn

from hankelboard.settings.config import ReductionConfig
from hankelboard.storage.proposals import ranks_at, ranks_of_share
from hankelboard.storage.schema import (
    Cost,
    Effects,
    Evidence,
    LayerFigures,
    Measured,
    Measurement,
    Point,
    ProposalLayer,
    RankTables,
)
from hankelboard.trainer.compression.badge import badge
from hankelboard.trainer.compression.calibration import held_out
from hankelboard.trainer.compression.null_ranks import LEARNED, add_null_ranks
from hankelboard.trainer.compression.output_errors import OutputErrors, rank_grid
from hankelboard.trainer.compression.timing import seconds_per_step
from hankelboard.trainer.compression.what_if import Comparison, cut_copy
from hankelboard.trainer.compression.workload import Workload
from hankelboard.trainer.reduction.linear.kept_modes import MODAL, allocate
from hankelboard.trainer.reduction.reducible import RankTable, ReducibleLayer
from hankelboard.trainer.reduction.surgery import reducible_layers


def rank_tables(model: nn.Module) -> list[RankTable]:
    """Return what every rank of every reducible layer would mean.

    Raises ValueError, naming the layer, when a layer allows no statement (all zero, not finite), or when
    there is no such layer.
    """
    if not reducible_layers(model):
        raise ValueError("the model has no layer that can be cut")
    tables = []
    for name, layer in reducible_layers(model):
        try:
            tables.append(layer.propose(layer.extract()))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return tables


@dataclass(frozen=True, kw_only=True)
class Occasion:
    """What the evidence needs to know beside the model: when this is, and how long it may take."""

    share: float | None = None
    """Cut this share of the states instead of what the tolerance allows."""
    ranks: Sequence[int] | None = None
    """Cut to these ranks, those of another run, instead."""
    opportunities: int = 1
    """Up to and including this one: so often the rule is applied to untrained layers."""
    fresh: Callable[[], nn.Module] | None = None
    """Makes an untrained model of the original dimensions."""
    position: int = 0
    """Samples that training has seen: the last of them are calibration sequences."""
    earlier: Sequence[Any] | None = None
    """The systems of all layers at the last snapshot, when no cut lies between."""
    limit_s: float = math.inf
    """What is not begun after this number of seconds is left out, and named."""


def gather(model: nn.Module, workload: Workload, config: ReductionConfig, occasion: Occasion) -> Evidence:
    """Return the evidence of a proposal, as it goes into its file.

    `ranks` is what the rule gives at the tolerance, or what leaves out a fixed share of the states. First
    comes what every decision needs; what the time does not allow is left out and named. Raises ValueError
    when nothing can be proposed.
    """
    clock = _Clock(occasion.limit_s)
    tables = layers_record(model, config)
    share, ranks = occasion.share, _ranks(tables, config, occasion)
    for layer, rank in zip(tables["layers"], ranks, strict=True):
        layer["rank"] = rank
        layer["gated"] = rank == layer["state_dim"]
    measure = _Measure(model, workload, config, occasion)
    comparison = measure.comparison
    points: list[Point] = []
    measured: Measured = {
        "split": "val",
        "samples": comparison.samples,
        "before": comparison.before,
        "points": points,
    }
    proposal = cast(Evidence, {**tables, "ranks": ranks, "measured": measured})
    by_rule = share is None and occasion.ranks is None
    nominal = config.tolerance if by_rule else max(_shares(proposal))
    if any(layer["rank"] < layer["state_dim"] for layer in proposal["layers"]):
        _add_point(model, measure, proposal, nominal, proposal["ranks"])
    proposal["cost"] = _cost(model, proposal, workload)
    for name, work in _optional(model, measure, config, proposal, occasion):
        clock.unless_over(name, work)
    measure.errors.record(proposal["layers"])
    points.sort(key=lambda point: point["tolerance"])
    proposal["badge"] = badge(proposal)
    measured["left_out"], measured["seconds"] = clock.left_out, round(clock.spent, 3)
    return proposal


def complete(
    model: nn.Module,
    workload: Workload,
    config: ReductionConfig,
    occasion: Occasion,
    proposal: Evidence,
    ranks: list[int] | None,
) -> Measurement:
    """Measure what a person asked for: these ranks, or with None what was left out for lack of time.

    The model must be the one that the proposal was made of. Return what is new: `points`, `layers` (per
    layer a dict), `done` (names of what had been left out). Raises ValueError for ranks that cannot be.
    """
    measure = _Measure(model, workload, config, occasion)
    measure.errors.remember(proposal["layers"])
    completed = copy.deepcopy(proposal)
    if ranks is not None:
        trial = cut_copy(model, ranks)
        models = [copy.deepcopy(model), trial]
        now, after = seconds_per_step(models, workload)
        share = max(
            layer["discarded_share"][rank] for layer, rank in zip(proposal["layers"], ranks, strict=True)
        )
        point: Point = {
            "tolerance": share, "ranks": ranks, "rule": False, "asked": True, "seconds_per_step": after,
            "seconds_per_step_now": now, **measure.effects(trial),
        }  # fmt: skip
        measure.errors.record(completed["layers"])
        return {"points": [point], "layers": _new_figures(completed, proposal), "done": []}
    left_out = set(proposal["measured"].get("left_out", []))
    for name, work in _optional(model, measure, config, completed, occasion):
        if name in left_out:
            work()
    measure.errors.record(completed["layers"])
    old = [point["ranks"] for point in proposal["measured"]["points"]]
    points = [point for point in completed["measured"]["points"] if point["ranks"] not in old]
    return {"points": points, "layers": _new_figures(completed, proposal), "done": sorted(left_out)}


def _new_figures(completed: Evidence, proposal: Evidence) -> list[LayerFigures]:
    """Return what a completed proposal says of each layer beside what was said before."""
    return [
        cast(LayerFigures, {key: value for key, value in layer.items() if before.get(key) != value})
        for layer, before in zip(completed["layers"], proposal["layers"], strict=True)
    ]


class _Measure:
    """What cut copies of one model are compared by: validation, and the output of each layer."""

    def __init__(self, model: nn.Module, workload: Workload, config: ReductionConfig, occasion: Occasion):
        self.comparison = Comparison(model, workload, config.evidence_samples)
        self.errors = OutputErrors(
            model, held_out(workload.calibration_inputs(occasion.position)), workload.forward
        )

    def effects(self, trial: nn.Module) -> Effects:
        """Return what a cut copy changes."""
        return {**self.comparison.with_copy(trial), "output_error": self.errors.of(trial)}


def _optional(
    model: nn.Module, measure: _Measure, config: ReductionConfig, proposal: Evidence, occasion: Occasion
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what a decision does not need, by name, in the order of its worth; each adds to the proposal."""
    yield "responses", lambda: _inspect(model, proposal, occasion.earlier)
    yield "null ranks", lambda: _null_ranks(proposal, config, occasion)
    for each in zip_longest(*map(rank_grid, proposal["layers"])):
        yield "output errors at further ranks", partial(measure.errors.each_at, each)
    full = [layer["state_dim"] for layer in proposal["layers"]]
    seen = [full, proposal["ranks"]]
    for tolerance in (config.tolerance * factor for factor in sorted({*config.grid, 1.0})):
        ranks = full if tolerance >= 1.0 else ranks_at(proposal, tolerance)
        if ranks not in seen:
            seen.append(ranks)
            add = partial(_add_point, model, measure, proposal, tolerance, ranks)
            yield f"validation at tolerance {tolerance:g}", add


class _Clock:
    """The time that measuring may take: what is not begun in time is left out and named."""

    def __init__(self, limit_s: float):
        self._started = time.monotonic()
        self._limit_s = limit_s
        self.left_out: list[str] = []

    @property
    def spent(self) -> float:
        return time.monotonic() - self._started

    def unless_over(self, name: str, work: Callable[[], object]) -> None:
        if self.spent < self._limit_s:
            work()
        elif name not in self.left_out:
            self.left_out.append(name)


def layers_record(model: nn.Module, config: ReductionConfig) -> RankTables:
    """Return what every rank of each layer would mean: the part of a proposal that a slider reads."""
    layers = reducible_layers(model)
    tables = rank_tables(model)
    total = sum(parameter.numel() for parameter in model.parameters())
    records = [
        _layer_record(index, name, layer, table)
        for index, ((name, layer), table) in enumerate(zip(layers, tables, strict=True))
    ]
    return {
        "tolerance": config.tolerance,
        "gate": config.gate,
        "allocation": config.allocation,
        "importance": layers[0][1].importance,
        "parameters_elsewhere": total - sum(table.parameters[-1] for table in tables),
        "layers": records,
    }


def _layer_record(index: int, name: str, layer: ReducibleLayer, table: RankTable) -> ProposalLayer:
    """Return what every rank of a layer would mean, not cut so far."""
    record: ProposalLayer = {
        "layer": index,
        "name": name,
        "state_dim": layer.state_dim,
        "importance": layer.importance,
        "rank": layer.state_dim,
        "gated": True,
        "hsv": [float(value) for value in table.hsv],
        "discarded_share": table.discarded_share,
        "error_bound": table.error_bound,
        "realisable": table.realisable,
        "condition": table.condition,
        "realised_modes": table.realised_modes,
        "parameters": table.parameters,
    }
    if layer.note:
        record["note"] = layer.note
    return record


def _ranks(proposal: RankTables, config: ReductionConfig, occasion: Occasion) -> list[int]:
    """Return what the tolerance allows, a fixed share leaves, or another run had.

    A method that compares modes across layers keeps as many as that run in all layers together.
    """
    if occasion.share is not None:
        return ranks_of_share(proposal, occasion.share)
    if occasion.ranks is None:
        return ranks_at(proposal, config.tolerance)
    ranks = list(occasion.ranks)
    if config.method in MODAL:
        ranks = allocate([layer["hsv"] for layer in proposal["layers"]], sum(ranks))
    if len(ranks) != len(proposal["layers"]):
        raise ValueError(f"reduction.ranks_as: that run has {len(ranks)} layers")
    return [min(rank, layer["state_dim"]) for rank, layer in zip(ranks, proposal["layers"], strict=True)]


def _shares(proposal: Evidence) -> list[float]:
    """Return the share that each layer discards at the proposed ranks."""
    return [layer["discarded_share"][layer["rank"]] for layer in proposal["layers"]]


def _add_point(
    model: nn.Module, measure: _Measure, proposal: Evidence, tolerance: float, ranks: list[int]
) -> None:
    """Add what the cut to these ranks does to validation."""
    try:
        trial = cut_copy(model, ranks)
    except ValueError:
        return  # marked as not realisable; nothing to measure
    by_rule = ranks == proposal["ranks"]
    point = {"tolerance": tolerance, "ranks": ranks, "rule": by_rule, **measure.effects(trial)}
    proposal["measured"]["points"].append(cast(Point, point))


def _inspect(model: nn.Module, proposal: Evidence, earlier: Sequence[Any] | None) -> None:
    """Add responses, gain, error interval and stability of the layers whose family knows them."""
    before = earlier or [None] * len(proposal["layers"])
    for (_, layer), record, then in zip(reducible_layers(model), proposal["layers"], before, strict=True):
        if layer.offers("inspect"):
            system = layer.extract()
            try:
                figures = layer.inspect(system, layer.reduce(system, record["rank"]), then)
                record.update(cast(ProposalLayer, figures))
            except ValueError:
                continue  # a rank that cannot be realised is no rank to show


def _null_ranks(proposal: Evidence, config: ReductionConfig, occasion: Occasion) -> None:
    """Add what the same rule leaves of untrained layers, where a comparison says something."""
    by_rule = occasion.share is None and occasion.ranks is None
    if occasion.fresh is not None and by_rule and config.method in LEARNED:
        add_null_ranks(proposal["layers"], occasion.fresh, config, occasion.opportunities)


def _cost(model: nn.Module, proposal: Evidence, workload: Workload) -> Cost:
    """Return parameters and measured seconds per training step, now and at the proposed ranks."""
    layers, ranks = proposal["layers"], proposal["ranks"]
    elsewhere = proposal["parameters_elsewhere"]
    models = [copy.deepcopy(model), cut_copy(model, ranks)]
    now, after = seconds_per_step(models, workload)
    return {
        "seconds_per_step": {"now": now, "after": after},
        "parameters": {
            "now": elsewhere + sum(layer["parameters"][-1] for layer in layers),
            "after": elsewhere
            + sum(layer["parameters"][rank] for layer, rank in zip(layers, ranks, strict=True)),
        },
    }
