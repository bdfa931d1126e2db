"""How far a cut changes the output of each layer: measured on calibration sequences that were held out.

Each layer is cut alone, on a copy, and is fed what the uncut network gives it:

    error(r) = ‖y_r − y‖ / ‖y from states‖

over sequences, steps and channels. The part of y from states is y − D ∘ u for layers with a direct term, else
y (`ReducibleLayer.from_states`). Evaluation mode, single precision, forked generators: training is the same
with and without.
"""

import copy
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from torch import nn

from hankelboard.storage.proposals import nearest_realisable
from hankelboard.storage.schema import LayerError, ProposalLayer
from hankelboard.trainer.compression.batches import samples, some, steps
from hankelboard.trainer.compression.what_if import EVALUATED_STEPS, evaluating, layer_outputs
from hankelboard.trainer.compression.workload import Forward, call
from hankelboard.trainer.reduction.reducible import ReducibleLayer
from hankelboard.trainer.reduction.surgery import apply_reduction, reducible_layers

SPLIT = "calibration, held out"
FEW, GRID = 16, 12
"""A layer of up to FEW states is measured at every rank, a larger one at about GRID in even ratios."""


def layer_errors(
    model: nn.Module, inputs: Any, ranks: Sequence[Sequence[int]], forward: Forward = call
) -> list[list[float | None]]:
    """Return the error of each layer's output at each of these ranks; None where it cannot be said.

    That is: the rank cannot be realised, the layer's states give no output, or the error is not finite.

    Parameters
    ----------
    model : Module
        Calibrated, where its states depend on data. It is not changed.
    inputs : (sequences, L, channels), or any batch
        None that a choice of states was fitted to.
    ranks : one list a layer
    forward : callable
        Runs the model on the inputs.
    """
    errors = OutputErrors(model, inputs, forward)
    return [[errors.at(index, rank) for rank in of_layer] for index, of_layer in enumerate(ranks)]


class OutputErrors:
    """The errors of one model's layers on the same sequences; each rank is measured once."""

    def __init__(self, model: nn.Module, inputs: Any, forward: Forward = call):
        """Record what each layer receives and returns, for as many of the sequences as are run at once."""
        self._inputs = some(inputs, slice(max(1, EVALUATED_STEPS // steps(inputs))))
        self._layers = [layer for _, layer in reducible_layers(model)]
        self._signals = layer_outputs(model, self._inputs, forward)
        self._systems: dict[int, Any] = {}
        self._known: list[dict[int, float | None]] = [{} for _ in self._layers]

    def at(self, index: int, rank: int) -> float | None:
        """Return the error of a layer that is cut alone to a rank."""
        if rank not in self._known[index]:
            layer = self._layers[index]
            if index not in self._systems:
                self._systems[index] = layer.extract()
            try:
                trial = _cut(layer, self._systems[index], rank)
            except ValueError:
                return None
            self._known[index][rank] = self._error(index, trial)
        return self._known[index][rank]

    def each_at(self, ranks: Sequence[int | None]) -> None:
        """Measure each layer at its rank; one that has none is left alone."""
        for index, rank in enumerate(ranks):
            if rank is not None:
                self.at(index, rank)

    def of(self, trial: nn.Module) -> list[float | None]:
        """Return the error of each layer of a cut copy of the model, at the rank that it has."""
        errors = []
        for index, (_, layer) in enumerate(reducible_layers(trial)):
            known = self._known[index]
            if layer.state_dim not in known:
                known[layer.state_dim] = self._error(index, layer)
            errors.append(known[layer.state_dim])
        return errors

    def _error(self, index: int, trial: ReducibleLayer) -> float | None:
        layer, seen = self._layers[index], self._signals[index]
        if trial.state_dim == layer.state_dim:
            return 0.0
        module = cast(nn.Module, trial)
        with evaluating(module):
            difference = module(*seen.args, **seen.kwargs) - seen.output
            whole = layer.from_states(seen.inputs, seen.output)
            error = float(difference.double().norm() / whole.double().norm())  # 0 / 0 is NaN
        return error if np.isfinite(error) else None

    def remember(self, layers: Sequence[ProposalLayer]) -> None:
        """Take what was measured of the same model before, from a proposal."""
        for known, record in zip(self._known, layers, strict=True):
            measured = record.get("output_error")
            if measured and measured["sequences"] == samples(self._inputs):
                known.update(zip(measured["ranks"], measured["errors"], strict=True))

    def record(self, layers: Sequence[ProposalLayer]) -> None:
        """Write what is known of each layer into a proposal."""
        for known, layer, record in zip(self._known, self._layers, layers, strict=True):
            ranks = sorted(rank for rank in known if rank < layer.state_dim)
            measured: LayerError = {
                "split": SPLIT,
                "sequences": samples(self._inputs),
                "relative_to": "y - D*u" if layer.offers("from_states") else "y",
                "ranks": ranks,
                "errors": [known[rank] for rank in ranks],
            }
            record["output_error"] = measured


def _cut(layer: ReducibleLayer, system: Any, rank: int) -> ReducibleLayer:
    """Return a copy of a layer at a rank. Raise ValueError where it cannot be realised."""
    trial = copy.deepcopy(layer)
    if rank != layer.state_dim:
        apply_reduction(trial, None, layer.reduce(system, rank), "reset")
    return trial


def rank_grid(layer: ProposalLayer) -> list[int]:
    """Return the ranks below N to measure a layer at, those nearest to the proposed one first.

    >>> layer = {"state_dim": 8, "rank": 3, "realisable": [True] * 9}
    >>> rank_grid(layer)
    [3, 4, 2, 5, 6, 7, 1]
    """
    states = layer["state_dim"]
    if states <= FEW:
        ranks = list(range(1, states))
    else:
        ranks = [round(rank) for rank in np.geomspace(1, states - 1, GRID)]
    realisable = {nearest_realisable(layer, rank) for rank in [*ranks, layer["rank"]]} - {states}
    return sorted(realisable, key=lambda rank: abs(np.log(rank / layer["rank"])))
