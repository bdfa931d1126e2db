"""Spectra of a run on its live path: records, and the tables of the page Spectra."""

import functools
from typing import Any

from hankelboard.app.charts import spectra
from hankelboard.app.data import runs
from hankelboard.storage.records import Record


def latest(run_id: str) -> list[Record]:
    """The newest spectrum of each layer on the live path, by layer."""
    cache = runs.cache_of(run_id)

    def compute() -> list[Record]:
        newest: dict[int, Record] = {}
        for record in reversed(cache.spectra):
            if record["layer"] not in newest and cache.history.on_path(record):
                newest[record["layer"]] = record
            if len(newest) == max(1, len(cache.history.state_dims)):
                break
        return [newest[layer] for layer in sorted(newest)]

    found: list[Record] = cache.derived("latest spectra", compute, "spectra", "events")
    return found


def by_layer(run_id: str) -> dict[int, list[Record]]:
    """The spectra of each layer on the live path, by step; of those at one step the latest."""
    cache = runs.cache_of(run_id)

    def compute() -> dict[int, list[Record]]:
        layers: dict[int, dict[int, Record]] = {}
        reach = functools.cache(cache.history.reach)
        for record in cache.spectra:
            reached = record["step"] <= reach(record.get("branch", 0), record.get("attempt", 0))
            if reached and not cache.history.is_left_at_turn(record):
                layers.setdefault(record["layer"], {})[record["step"]] = record
        return {layer: [found[step] for step in sorted(found)] for layer, found in sorted(layers.items())}

    found: dict[int, list[Record]] = cache.derived("spectra", compute, "spectra", "events")
    return found


def tables(run_id: str, layer: int, last_step: int) -> dict[str, Any]:
    """What the page Spectra draws of a layer: heat, ranks, kept; how many values no log scale shows."""
    snapshots = by_layer(run_id)[layer]

    def compute() -> dict[str, Any]:
        return {
            "ranks": spectra.rank_table(snapshots),
            "kept": spectra.kept_table(snapshots),
            "not_drawable": spectra.not_drawable(snapshots),
        }

    def heat() -> Any:
        return spectra.heat_table(snapshots, last_step)

    cache = runs.cache_of(run_id)
    made = cache.derived(f"spectra of layer {layer}", compute, "spectra", "events")
    return {**made, "heat": cache.derived(f"heat of layer {layer}", heat, "spectra", "events")}
