"""What a cut costs each family: output error predicted from the importances against the measured one.

    python -m benchmarks.families         # trains the suite `families`, two runs at a time, then measures
    python -m benchmarks.families --tables    # the tables of docs/FAMILIES.md again, without runs

The trained models of the suite's uncut runs are cut to N/2, N/4 and N/8 states without further training: by
the family's own method, by single states (diagonal) and at random. Measured on validation sequences, the mean
over layers of ‖y − y_r‖ / ‖y‖. Predicted: √(discarded share) where shares are of squared outputs; for linear
time-invariant layers the same ratio for white noise at the input. Said again, the suite goes on where it was.
"""

import argparse
import csv
import io
import re
import statistics
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import headline
from hankelboard.comparison import report, tables
from hankelboard.comparison.reading import read_csv
from hankelboard.comparison.series import series_of
from hankelboard.settings.config import Config, parse
from hankelboard.settings.families import FAMILIES, importance_of
from hankelboard.storage import atomic, checkpoints, figures
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.runs import list_runs, read_run
from hankelboard.trainer.compression.calibration import calibrate
from hankelboard.trainer.compression.what_if import Comparison, cut_copy, evaluating, layer_outputs
from hankelboard.trainer.data import load_task
from hankelboard.trainer.data.task import Task
from hankelboard.trainer.reduction.surgery import reducible_layers
from hankelboard.trainer.training.references import Source, teacher_of
from hankelboard.trainer.training.workload import TaskWorkload

SUITE = "families"
DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "FAMILIES.md"
RESULTS = DOCS / "results" / "errors"
SHARES = (2, 4, 8)
"""Cuts to N/2, N/4 and N/8."""
BASELINES = ("diagonal", "aire", "random")
DELETION = "deletion"
"""The family's own choice without compensation, which is what the shares predict."""
SEQUENCES = 256
MEASURED_ON = 64
"""Validation sequences on which accuracy, and of which errors of outputs, are measured."""
CALIBRATION = 128
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs-dir", default="runs")
    parser.add_argument("--jobs", default="2")
    parser.add_argument("--tables", action="store_true")
    options = parser.parse_args()
    if not options.tables:
        command = [
            "-P",
            "-m",
            "hankelboard",
            "suite",
            SUITE,
            "--runs-dir",
            options.runs_dir,
            "--jobs",
            options.jobs,
        ]
        subprocess.run([sys.executable, *command], check=True)
        headline.write_results(SUITE, Path(options.runs_dir))
        write_errors(Path(options.runs_dir))
    atomic.replace_bytes(PAGE, with_tables(PAGE.read_text()).encode())


def write_errors(runs: Path) -> None:
    """docs/results/errors/families.csv: one row per family, seed, method and rank."""
    rows: list[Row] = []
    for paths in reversed(list_runs(runs)):
        run = read_run(paths)
        if run.group == SUITE and run.role == "baseline":
            rows += measured_rows(paths, parse(run.config), str(run.series))
            print(f"{run.series} seed {run.seed}: measured", flush=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    RESULTS.mkdir(parents=True, exist_ok=True)
    atomic.replace_bytes(RESULTS / f"{SUITE}.csv", text.getvalue().encode())


def measured_rows(paths: RunPaths, config: Config, series: str) -> list[Row]:
    """What cuts of the trained model of one run predict and cost."""
    torch.set_num_threads(1)
    task = load_task(config.data)
    name = checkpoints.checkpoint_names(paths)[-1]
    model = teacher_of(Source(paths, name), task, torch.device("cpu"))
    calibrate(model, task.train.inputs[:CALIBRATION])
    known = FAMILIES[config.model.family].methods
    comparison = Comparison(model, TaskWorkload(config, task, torch.device("cpu")), SEQUENCES)
    rows = []
    compensated = "reduction.compensation" in FAMILIES[config.model.family].keys
    others = [DELETION] if compensated else []
    for method in (known[0], *others, *(each for each in BASELINES if each in known)):
        for share in SHARES:
            ranks = [max(1, dim // share) for dim in config.state_dims]
            set_method(model, known[0] if method == DELETION else method, compensation=method != DELETION)
            row = measure(model, task, comparison, ranks)
            whose = {"series": series, "family": config.model.family, "seed": config.training.seed}
            rows.append({**whose, "state_dim": config.state_dims[0], "share": share, "method": method, **row})
    return rows


def set_method(model: nn.Module, name: str, *, compensation: bool) -> None:
    """Let every layer choose states so."""
    for _, layer in reducible_layers(model):
        layer.method = replace(layer.method, name=name, compensation=compensation)  # type: ignore[attr-defined]


def measure(model: nn.Module, task: Task, comparison: Comparison, ranks: list[int]) -> Row:
    """Predicted and measured error of one cut, and accuracy before and after it."""
    try:
        trial = cut_copy(model, ranks)
    except ValueError:
        return {"rank": ranks[0], "predicted": "", "measured": "", "before": "", "after": ""}
    point = comparison.with_copy(trial)
    return {
        "rank": ranks[0],
        "predicted": predicted(model, trial, task, ranks),
        "measured": statistics.fmean(errors(trial, received(model, task.val.inputs[:MEASURED_ON]))),
        "before": comparison.before["accuracy"],
        "after": point["accuracy"],
    }


def predicted(model: nn.Module, trial: nn.Module, task: Task, ranks: list[int]) -> float | str:
    """Mean over layers of √(discarded share), or of the error for white noise; "" where nothing predicts."""
    layers: list[Any] = [layer for _, layer in reducible_layers(model)]
    if all(importance_of(layer.importance).squared for layer in layers):
        tables = [layer.propose(layer.extract()) for layer in layers]
        shares = [table.discarded_share[rank] for table, rank in zip(tables, ranks, strict=True)]
        return statistics.fmean(share**0.5 for share in shares)
    if any(layer.importance != "hsv" for layer in layers):
        return ""
    return statistics.fmean(white_noise_errors(model, trial, task))


def received(model: nn.Module, inputs: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return what each layer receives and returns."""
    return [(seen.inputs, seen.output) for seen in layer_outputs(model, inputs)]


def white_noise_errors(model: nn.Module, trial: nn.Module, task: Task) -> list[float]:
    """‖y − y_r‖ / ‖y‖ of each layer for white noise of the task's length."""
    generator = torch.Generator().manual_seed(0)
    signals: list[tuple[Tensor, Tensor]] = []
    seen = received(model, task.val.inputs[:1])
    with evaluating(model):
        for (_, layer), (given, _) in zip(reducible_layers(model), seen, strict=True):
            noise = torch.randn(16, *given.shape[1:], generator=generator)
            signals.append((noise, layer(noise)))  # type: ignore[operator]
    return errors(trial, signals)


def errors(trial: nn.Module, signals: Iterable[tuple[Tensor, Tensor]]) -> list[float]:
    """‖y − y_r‖ / ‖y‖ of each layer of a cut copy, for what the layer as it was received and returned."""
    with evaluating(trial):
        return [
            float((layer(given) - y).norm() / y.norm())  # type: ignore[operator]
            for (_, layer), (given, y) in zip(reducible_layers(trial), signals, strict=True)
        ]


# Tables.


def with_tables(page: str) -> str:
    """The page with every block <!-- errors: SERIES --> or <!-- cuts: SUITE --> … <!-- end --> made anew."""
    rows = read_rows()
    makers = {"errors": lambda series: table(rows, series), "cuts": cuts}
    return re.sub(
        r"(<!-- (errors|cuts): ([^>]+?) -->\n).*?(<!-- end -->)",
        lambda match: f"{match[1]}{makers[match[2]](match[3])}\n{match[4]}",
        page,
        flags=re.DOTALL,
    )


def cuts(suite: str) -> str:
    """Each series beside the one that was cut while it trained, from docs/results/SUITE.csv."""
    by_label = {one.label: one for one in series_of(read_csv(headline.RESULTS / f"{suite}.csv"))}
    pairs = ((label, by_label.get(f"{label}, compressed"), one) for label, one in by_label.items())
    rows = [
        {
            "family": label,
            "states, all layers": tables.spread(cut.spread("states"), tables.whole),
            "uncut": tables.spread(full.spread("test"), figures.percent),
            "cut while training": tables.spread(cut.spread("test"), figures.percent),
            "difference, points": tables.difference(cut.minus(full, "test")),
        }
        for label, cut, full in pairs
        if cut is not None
    ]
    return report.markdown_table(rows)


def read_rows() -> list[Row]:
    with (RESULTS / f"{SUITE}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def table(rows: list[Row], series: str) -> str:
    """Errors of one series: mean ± standard deviation over seeds."""
    mine = [row for row in rows if row["series"] == series]
    own = FAMILIES[mine[0]["family"]].methods[0]
    others = [each for each in (DELETION, *BASELINES) if any(row["method"] == each for row in mine)]
    head = [
        "states",
        "predicted",
        f"measured, {own}",
        *(f"measured, {method}" for method in others),
        "accuracy",
    ]
    lines = [head, ["---"] * len(head)]
    for share in SHARES:
        at = [row for row in mine if int(row["share"]) == share]
        best = [row for row in at if row["method"] == own]
        lines.append([
            f"{best[0]['state_dim']} → {best[0]['rank']}",
            spread(best, "predicted"),
            spread(best, "measured"),
            *(spread([row for row in at if row["method"] == method], "measured") for method in others),
            f"{spread(best, 'before', percent=True)} → {spread(best, 'after', percent=True)}",
        ])  # fmt: skip
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def spread(rows: list[Row], key: str, *, percent: bool = False) -> str:
    """Mean ± sample standard deviation; every value where there are fewer than three."""
    values = [float(row[key]) for row in rows if row[key] != ""]
    show = figures.percent if percent else lambda value: f"{value:.3f}"
    if len(values) < 3:
        return " / ".join(show(value) for value in values) or "none"
    if percent:
        return f"{100 * statistics.fmean(values):.1f} %"
    return f"{statistics.fmean(values):.3f} ± {statistics.stdev(values):.3f}"


if __name__ == "__main__":
    main()
