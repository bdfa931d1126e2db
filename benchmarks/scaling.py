"""How a layer's step and its memory grow: forward and backward against N, L, batch and width, one at a time.

    python -m benchmarks.scaling             # measures on one thread, about a minute, and draws
    python -m benchmarks.scaling --draw      # draws docs/results/speed/scaling.csv again

One LRU layer in either form, and one selective scan with `width` channels, around N 64, L 512, batch 8, width
32, in single precision. Every point has a process of its own, since memory that was given back is not always
seen to be; memory is what its resident set grows by at most. The exponent of a line is the slope through its
three largest points on log axes.
"""

import argparse
import csv
import io
import json
import multiprocessing
import statistics
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import torch
import vl_convert
from torch import Tensor

from benchmarks.selective import resident
from hankelboard.storage import atomic
from hankelboard.trainer.layers.lru import LRU
from hankelboard.trainer.layers.recurrences.selective import selective_scan

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "speed"
BASE = {"N": 64, "L": 512, "batch": 8, "width": 32}
FACTORS = (0.25, 0.5, 1, 2, 4, 8)
LAYERS = ("LRU, scan", "LRU, kernel", "selective scan")
REPEATS = 9
MEASURES = {"milliseconds": "step, ms", "megabytes": "memory, MB"}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draw", action="store_true")
    if not parser.parse_args().draw:
        rows = list(measured())
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        atomic.replace_bytes(RESULTS / "scaling.csv", text.getvalue().encode())
    table = pd.read_csv(RESULTS / "scaling.csv")
    atomic.replace_bytes(RESULTS / "scaling.svg", figure(table).encode())
    print(exponents(table).to_string(index=False))


def measured() -> Iterable[dict[str, Any]]:
    """One row per layer, axis and value."""
    torch.set_num_threads(1)  # a process that forks must not have started others
    context = multiprocessing.get_context("fork")
    for layer in LAYERS:
        for axis, middle in BASE.items():
            for factor in FACTORS:
                shape = {**BASE, axis: int(middle * factor)}
                with context.Pool(1) as pool:
                    milliseconds, megabytes = pool.apply(point, (layer, shape))
                print(f"{layer}, {axis} {shape[axis]}: {milliseconds:.2f} ms, {megabytes:.1f} MB", flush=True)
                yield {
                    "layer": layer, "axis": axis, "value": shape[axis],
                    "milliseconds": round(milliseconds, 3), "megabytes": round(megabytes, 2),
                }  # fmt: skip


def point(layer: str, shape: dict[str, int]) -> tuple[float, float]:
    """Median milliseconds of processor time, and megabytes, of one forward and backward pass."""
    torch.manual_seed(0)
    small = {**shape, "L": 4, "batch": 1}
    step(*work(layer, small))  # what is loaded at first use is not memory of the layer
    function, parts = work(layer, shape)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins again
    before = resident("VmHWM")
    step(function, parts)
    megabytes = resident("VmHWM") - before
    times = []
    for _ in range(REPEATS):
        started = time.process_time()
        step(function, parts)
        times.append(time.process_time() - started)
    return 1e3 * statistics.median(times), megabytes


def work(layer: str, shape: dict[str, int]) -> tuple[Any, list[Tensor]]:
    """A function and its inputs, which want gradients."""
    N, L, batch, width = (shape[axis] for axis in BASE)
    u = torch.randn(batch, L, width, requires_grad=True)
    if layer != "selective scan":
        return LRU(width, N, form=layer.partition(", ")[2]), [u]
    delta = 0.1 * torch.rand(batch, L, width)
    A = -torch.arange(1.0, N + 1.0).repeat(width, 1)  # (D, N)
    others = [delta, A, torch.randn(batch, L, N), torch.randn(batch, L, N)]
    return selective_scan, [u, *(part.requires_grad_() for part in others)]


def step(function: Any, parts: list[Tensor]) -> None:
    function(*parts).sum().backward()


def exponents(table: pd.DataFrame) -> pd.DataFrame:
    """Slopes on log axes through the three largest values of each line."""
    rows = []
    for (layer, axis), line in table.groupby(["layer", "axis"], sort=False):
        largest = line.nlargest(3, "value")
        row: dict[str, Any] = {"layer": layer, "axis": axis}
        for measure in MEASURES:
            found = np.polyfit(np.log(largest["value"]), np.log(largest[measure].clip(lower=0.1)), 1)
            row[measure] = round(float(found[0]), 2)
        rows.append(row)
    return pd.DataFrame(rows)


def figure(table: pd.DataFrame) -> str:
    """Time above memory, one column per axis, as SVG."""
    rows = []
    for measure, title in MEASURES.items():
        panels = []
        for axis in BASE:
            line = table[table["axis"] == axis]
            panels.append(
                alt.Chart(line, width=150, height=150)
                .mark_line(point=True)
                .encode(
                    alt.X("value:Q", title=axis, scale=alt.Scale(type="log", base=2, nice=False)),
                    alt.Y(
                        f"{measure}:Q", title=title, scale=alt.Scale(type="log"), axis=alt.Axis(tickCount=4)
                    ),
                    alt.Color("layer:N", title=None, sort=LAYERS),
                )
            )
        rows.append(alt.hconcat(*panels).resolve_scale(y="shared"))
    return vl_convert.vegalite_to_svg(json.dumps(alt.vconcat(*rows).to_dict()))


if __name__ == "__main__":
    main()
