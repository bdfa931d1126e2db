"""What a proposal shows: every rank's consequences, measured what-ifs, cost now and after.

Measuring works on copies of the model and under a forked generator: training is the same with and
without it at the same seed.
"""

import copy
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from storage.proposals import ranks_at, ranks_of_share
from storage.records import Record
from trainer.config import ReductionConfig
from trainer.data.task import Split
from trainer.reduction.reducible import RankTable
from trainer.reduction.surgery import apply_reduction, reducible_layers

EVALUATION_BATCH = 512
TIMING_ROUNDS = 5


def evaluate(model: nn.Module, split: Split, limit: int | None = None) -> dict[str, float]:
    """Mean cross-entropy (nats) and accuracy on a split or its first `limit` samples."""
    training = model.training
    model.eval()
    count = min(len(split), limit or len(split))
    loss, correct = 0.0, 0
    with torch.no_grad():
        for start in range(0, count, EVALUATION_BATCH):
            stop = min(start + EVALUATION_BATCH, count)
            logits = model(split.inputs[start:stop])  # (batch, classes)
            labels = split.labels[start:stop]  # (batch,)
            loss += functional.cross_entropy(logits, labels, reduction="sum").item()
            correct += (logits.argmax(1) == labels).sum().item()
    model.train(training)
    return {"loss": loss / count, "accuracy": correct / count}


def rank_tables(model: nn.Module) -> list[RankTable]:
    """What every rank of every reducible layer would mean.

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


def cut(
    model: nn.Module, optimizer: torch.optim.Optimizer | None, ranks: Sequence[int], moments: str
) -> float:
    """Cut every layer to its rank; layers at their full dimension are left alone.

    Returns the largest relative write-back error. Raises ValueError when a rank cannot be realised: the
    reductions of all layers are computed before the first one is applied, so the model is then unchanged.
    """
    layers = [layer for _, layer in reducible_layers(model)]
    planned = [
        (layer, layer.reduce(layer.extract(), rank))
        for layer, rank in zip(layers, ranks, strict=True)
        if rank < layer.state_dim
    ]
    errors = [apply_reduction(layer, optimizer, reduction, moments) for layer, reduction in planned]
    return max(errors, default=0.0)


def gather(
    model: nn.Module,
    split: Split,
    config: ReductionConfig,
    timing_batch: Split,
    *,
    share: float | None = None,
) -> Record:
    """The evidence of a proposal, as it goes into its file.

    `ranks` is what the rule gives at the tolerance, or what leaves out a fixed `share` of the states. Raises
    ValueError when nothing can be proposed.
    """
    started = time.monotonic()
    proposal = layers_record(model, config)
    proposal["ranks"] = (
        ranks_at(proposal, config.tolerance) if share is None else ranks_of_share(proposal, share)
    )
    for layer, rank in zip(proposal["layers"], proposal["ranks"], strict=True):
        layer["rank"] = rank
        layer["gated"] = rank == layer["state_dim"]
    limit = config.evidence_samples
    measured = {
        "split": "val",
        "samples": min(len(split), limit),
        "before": evaluate(model, split, limit),
        "points": _measured_points(model, split, config, proposal),
    }
    cost = _cost(model, proposal, timing_batch)
    seconds = round(time.monotonic() - started, 3)
    return {**proposal, "measured": {**measured, "seconds": seconds}, "cost": cost}


def layers_record(model: nn.Module, config: ReductionConfig) -> Record:
    """Per layer, what every rank would mean: the part of a proposal that a slider reads."""
    layers = reducible_layers(model)
    tables = rank_tables(model)
    total = sum(parameter.numel() for parameter in model.parameters())
    return {
        "tolerance": config.tolerance,
        "gate": config.gate,
        "importance": layers[0][1].importance,
        "parameters_elsewhere": total - sum(table.parameters[-1] for table in tables),
        "layers": [
            {
                "layer": index,
                "name": name,
                "state_dim": layer.state_dim,
                "importance": layer.importance,
                "hsv": [float(value) for value in table.hsv],
                "discarded_share": table.discarded_share,
                "error_bound": table.error_bound,
                "realisable": table.realisable,
                "condition": table.condition,
                "realised_modes": table.realised_modes,
                "parameters": table.parameters,
            }
            for index, ((name, layer), table) in enumerate(zip(layers, tables, strict=True))
        ],
    }


def _measured_points(
    model: nn.Module, split: Split, config: ReductionConfig, proposal: Record
) -> list[dict[str, Any]]:
    """Validation loss and accuracy after the cut: as proposed, and for tolerances around the rule's."""
    full = [layer["state_dim"] for layer in proposal["layers"]]
    shares = [layer["discarded_share"][layer["rank"]] for layer in proposal["layers"]]
    wanted = [(config.tolerance * factor, None) for factor in sorted({*config.grid, 1.0})]
    points: dict[tuple[int, ...], dict[str, Any]] = {}
    for tolerance, given in [*wanted, (max(shares), proposal["ranks"])]:
        ranks = given or (ranks_at(proposal, tolerance) if tolerance < 1.0 else full)
        if ranks == full or tuple(ranks) in points:
            continue
        trial = copy.deepcopy(model)
        try:
            cut(trial, None, ranks, config.moments)
        except ValueError:
            continue  # marked as not realisable; nothing to measure
        point = evaluate(trial, split, config.evidence_samples)
        points[tuple(ranks)] = {
            "tolerance": tolerance, "ranks": ranks, "rule": ranks == proposal["ranks"], **point,
        }  # fmt: skip
    return list(points.values())


def _cost(model: nn.Module, proposal: Record, batch: Split) -> Record:
    """Parameters and measured seconds per training step, now and at the proposed ranks."""
    layers, ranks = proposal["layers"], proposal["ranks"]
    elsewhere = proposal["parameters_elsewhere"]
    trial = copy.deepcopy(model)
    cut(trial, None, ranks, "reset")
    now, after = _seconds_per_step([copy.deepcopy(model), trial], batch)
    return {
        "seconds_per_step": {"now": now, "after": after},
        "parameters": {
            "now": elsewhere + sum(layer["parameters"][-1] for layer in layers),
            "after": elsewhere
            + sum(layer["parameters"][rank] for layer, rank in zip(layers, ranks, strict=True)),
        },
    }


def _seconds_per_step(models: Sequence[nn.Module], batch: Split) -> list[float]:
    """Median seconds of forward and backward, the models interleaved against noise."""
    seconds: list[list[float]] = [[] for _ in models]
    with torch.random.fork_rng():
        for _ in range(TIMING_ROUNDS + 1):  # the first round warms up
            for model, times in zip(models, seconds, strict=True):
                times.append(_timed(lambda model=model: _forward_backward(model, batch), batch.inputs))
    return [sorted(times[1:])[TIMING_ROUNDS // 2] for times in seconds]


def _forward_backward(model: nn.Module, batch: Split) -> None:
    model.train()
    functional.cross_entropy(model(batch.inputs), batch.labels).backward()


def _timed(work: Callable[[], None], tensor: Tensor) -> float:
    _synchronise(tensor)
    started = time.perf_counter()
    work()
    _synchronise(tensor)
    return time.perf_counter() - started


def _synchronise(tensor: Tensor) -> None:
    if tensor.device.type == "cuda":
        torch.cuda.synchronize(tensor.device)
