"""Spectra of a run on its live path: records, and the tables of the page Spectra."""

import functools
from typing import Any

from hankelboard.app.charts import spectra
from hankelboard.app.data import runs
from hankelboard.app.data.run_cache import SpectrumRow


def latest(run_id: str) -> list[SpectrumRow]:
    """Return the newest spectrum of each layer on the live path, by layer."""
    cache = runs.cache_of(run_id)

    def compute() -> list[SpectrumRow]:
        newest: dict[int, SpectrumRow] = {}
        for record in reversed(cache.spectra):
            if record["layer"] not in newest and cache.history.on_path(record):
                newest[record["layer"]] = record
            if len(newest) == max(1, len(cache.history.state_dims)):
                break
        return [newest[layer] for layer in sorted(newest)]

    return cache.derived("latest spectra", compute, "spectra", "events")


def by_layer(run_id: str) -> dict[int, list[SpectrumRow]]:
    """Return the spectra of each layer on the live path, by step; of those at one step the latest."""
    cache = runs.cache_of(run_id)

    def compute() -> dict[int, list[SpectrumRow]]:
        layers: dict[int, dict[int, SpectrumRow]] = {}
        reach = functools.cache(cache.history.reach)
        for record in cache.spectra:
            reached = record["step"] <= reach(record["branch"], record["attempt"])
            if reached and not cache.history.is_left_at_turn(record):
                layers.setdefault(record["layer"], {})[record["step"]] = record
        return {
            layer: [by_step[step] for step in sorted(by_step)] for layer, by_step in sorted(layers.items())
        }

    return cache.derived("spectra", compute, "spectra", "events")


def tables(run_id: str, layer: int, last_step: int) -> dict[str, Any]:
    """Return what the page Spectra draws of a layer; and how many values no log scale shows."""
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
