"""The null rank: what the rule of a proposal leaves of layers that have learned nothing."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

from torch import nn

from hankelboard.settings.config import ReductionConfig
from hankelboard.storage.proposals import ranks_at
from hankelboard.storage.records import Record
from hankelboard.storage.schema import ProposalLayer, RankTables
from hankelboard.trainer.compression import generators
from hankelboard.trainer.reduction.reducible import ReducibleLayer
from hankelboard.trainer.reduction.surgery import reducible_layers

NULL_SEEDS = 5
LEARNED = ("auto", "balanced", "energy")
"""Methods whose importances say what was learned: an untrained layer is compared with."""


def add_null_ranks(
    layers: Sequence[ProposalLayer],
    fresh: Callable[[], nn.Module],
    config: ReductionConfig,
    opportunities: int,
) -> None:
    """Add `null_ranks` to the layers of a proposal: the ranks of NULL_SEEDS untrained models.

    Parameters
    ----------
    fresh : callable
        Makes an untrained model of the original dimensions.
    opportunities : int
        How often the rule is applied to it.
    """
    for record in layers:
        record["null_ranks"] = []
    for seed in range(NULL_SEEDS):
        with drawing(seed):
            model = fresh()
        untrained = [untrained_layer(layer) for _, layer in reducible_layers(model)]
        for record, rank in zip(layers, null_ranks(untrained, config, opportunities), strict=True):
            record["null_ranks"].append(rank)


def untrained_layer(layer: ReducibleLayer) -> Record:
    """Return what the rule reads: state_dim, and for every rank discarded_share and realisable."""
    shares, realisable = layer.estimate(layer.extract())
    return {"state_dim": layer.state_dim, "discarded_share": shares, "realisable": realisable}


def null_ranks(layers: Sequence[Record], config: ReductionConfig, opportunities: int) -> list[int]:
    """Return the ranks after a number of successive cuts by the rule of a proposal.

    A truncated system has nearly the kept importances, so the cuts themselves are not carried out: of rank r
    remains (share[k] − share[r]) / (1 − share[r]) for k ≤ r.

    Parameters
    ----------
    layers : as `untrained_layer` returns them
    """
    kept = list(layers)
    for _ in range(opportunities):
        proposal = {"gate": config.gate, "allocation": config.allocation, "layers": kept}
        ranks = ranks_at(cast(RankTables, proposal), config.tolerance)  # of the keys that it looks at
        kept = [_remaining(layer, rank) for layer, rank in zip(kept, ranks, strict=True)]
    return [layer["state_dim"] for layer in kept]


def _remaining(layer: Record, rank: int) -> Record:
    shares = layer["discarded_share"]
    left = 1.0 - shares[rank] or 1.0  # 0 where one state alone loses everything, too
    return {
        "state_dim": rank,
        "discarded_share": [(share - shares[rank]) / left for share in shares[: rank + 1]],
        "realisable": layer["realisable"][: rank + 1],
    }


@contextmanager
def drawing(seed: int) -> Iterator[None]:
    """Draw random numbers of another seed, without a trace in those of training."""
    with generators.kept():
        generators.seed(seed)
        yield
