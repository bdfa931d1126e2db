"""The runs of a comparison: which are asked for, their final figures and their curves."""

import shlex
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from hankelboard.app.data import runs as data
from hankelboard.app.data.columns import decimate
from hankelboard.app.data.run_cache import RunCache, RunRow
from hankelboard.comparison.curves import Curve, curve_of
from hankelboard.comparison.reading import batch_of, count_origins, origin_of
from hankelboard.comparison.report import Report
from hankelboard.comparison.series import Final, Series, final_of
from hankelboard.storage.errors import RunError
from hankelboard.storage.layout import RUN_ID
from hankelboard.storage.records import now
from hankelboard.storage.scores import PRIMARY_METRIC
from hankelboard.storage.vocabulary import Role, RunState

POINTS = 2000
MOST = 200
"""Runs drawn at most: beyond that lines cannot be distinguished."""


def wanted_ids(text: str) -> list[str]:
    """Return the run ids of a list in a URL, each once."""
    return list(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))


def present(ids: Sequence[str], listed: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return those of the ids that are runs here, and the others."""
    here = set(listed)
    good = [run for run in ids if RUN_ID.fullmatch(run) and run in here]
    return good, [run for run in ids if run not in good]


def members(rows: Sequence[Mapping[str, Any]], group: str) -> tuple[list[str], list[str]]:
    """Return the runs of a group, oldest first, and the archived ones that a comparison leaves out."""
    of_group = [row for row in reversed(rows) if row["group"] == group]
    taken = [row["run"] for row in of_group if not row["archived"]]
    return taken, [row["run"] for row in of_group if row["archived"]]


def baseline_of(row: RunRow, rows: Sequence[RunRow]) -> RunRow | None:
    """Return the baseline of the same group and task; of several one with the same seed, then the newest."""
    baselines = [
        other
        for other in rows
        if other["role"] == Role.BASELINE
        and (other["group"], other["task"]) == (row["group"], row["task"])
        and other["run"] != row["run"]
    ]
    return min(baselines, key=lambda other: other["seed"] != row["seed"], default=None)


def finals(ids: Sequence[str]) -> tuple[list[Final], list[str]]:
    """Return final figures of the runs that can be read, and a message for each that cannot."""
    readable, problems = [], []
    for run_id in ids:
        try:
            row = data.summary(run_id)
            config = data.cache_of(run_id).config()
        except RunError as error:
            problems.append(str(error))
            continue
        if row["problem"]:
            problems.append(f"{run_id}: {row['problem']}")
        if row["state"] != RunState.UNREADABLE:
            readable.append(final_of(row, config, curve(run_id, PRIMARY_METRIC).last))
    return readable, problems


def report(series: list[Series], baseline: Series | None, problems: Sequence[str] = ()) -> Report:
    """Return the comparison as a report, with the command that makes the same."""
    runs = [run.run for one in series for run in one.runs]
    group = series[0].runs[0].group
    names = [group] if group and set(members(data.summaries(), group)[0]) == set(runs) else runs
    option = f" --baseline {shlex.quote(baseline.runs[0].run)}" if baseline else ""
    return Report(
        title=names[0] if len(names) == 1 else f"{len(runs)} runs", series=series, baseline=baseline,
        curves=curves([run for one in series for run in one.runs], PRIMARY_METRIC),
        origins=count_origins(origin_of(data.cache_of(run).events) for run in runs),
        command=f"hankelboard compare {shlex.join(names)}{option} --html comparison.html",
        made=now(), version=metadata.version("hankelboard"), problems=problems,
    )  # fmt: skip


def curves(compared: Sequence[Final], metric: str) -> dict[str, Curve]:
    """Return the curve of each run that has one."""
    read = {final.run: curve(final.run, metric).after(final.prior_s) for final in compared}
    return {run: line for run, line in read.items() if len(line.value)}


def curve(run_id: str, metric: str) -> Curve:
    """Return a run's metric on its live path, with the times of its records."""
    cache = data.cache_of(run_id)
    return cache.derived(f"curve {metric}", lambda: _curve(cache, metric), "metrics", "events")


def _curve(cache: RunCache, metric: str) -> Curve:
    steps, values = _live(cache, metric)
    time_steps, train_s = _live(cache, "train_s")
    _, elapsed_s = _live(cache, "elapsed_s")
    if len(elapsed_s) != len(train_s):  # a journal that another program wrote
        elapsed_s = np.full(len(train_s), np.nan)
    steps, values = decimate(steps, values, POINTS)
    return curve_of(steps, values, time_steps, train_s, elapsed_s, batch_of(cache.config()))


def _live(cache: RunCache, key: str) -> tuple[np.ndarray, np.ndarray]:
    line = next((line for line in cache.columns.lines(key, cache.history.on_path) if line.live), None)
    return (line.steps, line.values) if line is not None else (np.zeros(0), np.zeros(0))
