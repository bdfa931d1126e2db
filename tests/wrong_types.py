"""Records of valid JSON and wrong type, at every key of every kind of record; and every reader of them."""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hankelboard.app.charts import (
    analysis,
    branches,
    evidence,
    metric_tables,
    metrics,
    outcomes,
    spectra_tables,
)
from hankelboard.app.data import analyses, compared_runs, proposals, runs
from hankelboard.app.words import events, labels
from hankelboard.comparison import frames, report
from hankelboard.comparison.reading import read_curves, read_finals, read_origins
from hankelboard.comparison.series import baseline_of, series_of
from hankelboard.storage import decoding
from hankelboard.storage.records import decode
from hankelboard.storage.verification import verify_run
from hankelboard.trainer.cli import main
from tests.app.synthetic_run import SyntheticRun

ABSENT = object()
ODD = (
    ABSENT, None, True, "", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", 0, -1, 10**30, 1e-3, 1e300,
    -1e300, [], ["x"], [[1]], [None], {}, {"x": 1},
)  # fmt: skip
"""What is put in the place of each value."""
EVENTS = [
    {"kind": "reduction_judged", "proposal": 1, "before": 0.9, "now": 0.95, "threshold": 0.02, "kept": True},
    {"kind": "kernel_chosen", "forms": ["scan", None]},
    {"kind": "policy_changed", "policy": "auto", "waiting": "pause", "by": "ada", "command_id": None},
    {"kind": "loss_not_finite"},
    {"kind": "command_refused", "command_id": "0" * 26, "command": "pause", "by": "ada", "reason": "why"},
    {"kind": "checkpoint_pruned", "checkpoint": "b0-00000100-a0-0001", "bytes": 7},
    {"kind": "reduction_refused", "attempt_step": 100, "reason": "nothing to cut"},
    {"kind": "run_released", "proposal": 2},
]
LAYER = {
    "gain": 9.0, "error_interval": [1.0, 2.0], "stability": {"overlap": 0.99, "weyl": 0.3},
    "output_error": {"split": "calibration, held out", "sequences": 16, "relative_to": "y", "ranks": [2, 3],
                     "errors": [0.2, None]},
    "null_ranks": [2, 2], "allowed_ranks": [1, 2, 3, 4], "note": "a note",
    "response": {"omega": [0.0, 1.0], "full": [2.0, 1.0], "reduced": [2.0, 0.5], "error": [0.0, 0.5]},
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """One file of the run, and what does not fit in a record of it."""

    file: Path
    misfit: decoding.Misfit
    is_journal: bool = False


class Victim:
    """A run that has a record of every kind."""

    def __init__(self, folder: Path):
        run = self.run = SyntheticRun(folder, "Odd", state_dim=6, layers=1, steps=400).start()
        run.train(100)
        number = run.propose()
        run.decide(number, ranks=[3])
        run.answer(number)
        for event in EVENTS:
            run.event(**event)
        pinned = next(name for name in run.paths.checkpoints.iterdir() if "-00000100-" in name.name)
        run.train(200)
        run.roll_back(pinned.name, [6], undone=[number])
        run.train(150)
        number = run.propose(**self.richer())
        self.add_small_files(number)
        run.event("attempt_ended", reason="asked to")
        run.event("attempt_started", checkpoint=None, state_dims=[6], policy="ask", device="cpu", threads=1,
                  versions={"torch": "2"}, machine={"cores": 2})  # fmt: skip
        run.status("waiting_for_decision")
        self.originals = {kind.file: kind.file.read_bytes() for kind in self.kinds()}

    def richer(self) -> dict[str, Any]:
        record = self.run.evidence()
        for layer in record["layers"]:
            layer.update(copy.deepcopy(LAYER))
        return {
            "layers": record["layers"],
            "badge": {"color": "amber", "reasons": ["one"]},
            "deadline": {"s": 1.0, "steps": 3, "default": "reject"},
        }

    def add_small_files(self, number: int) -> None:
        paths, ulid = self.run.paths, "01JD0000000000000000000000"
        point = {
            "tolerance": 0.2, "ranks": [2], "rule": False, "asked": True, "loss": 0.13, "accuracy": 0.9,
            "loss_change": [0.0, 0.1], "accuracy_change": [-0.1, 0.1], "kl": 0.1, "output_error": [0.1],
        }  # fmt: skip
        regret = {"tolerance": 0.05, "rank": 1, "regret": [0.02, 0.0], "random": [0.1, 0.2]}
        between = {"since": 0, "step": 100, "overlap": 0.9, "drift": 0.5, "weyl": 3.0, "order": None}
        layer = {"layer": 0, "state_dim": 6, "steps": [0, 100], "regret": [regret], "between": [between]}
        files = {
            paths.measurements / f"{ulid}.json": {
                "t": "x", "proposal": number, "points": [point], "layers": [copy.deepcopy(LAYER)], "done": [],
            },
            paths.analyses / f"{ulid}.json": {
                "t": "x", "until_step": 100, "provisional": True, "left_out_before_cut": 0, "branch": 1,
                "layers": [layer],
            },
            paths.note(ulid): {"note": "tag", "value": ["a"], "by": "ada", "via": "test", "t": "x"},
            paths.command(ulid): {
                "command": "measure", "by": "ada", "via": "test", "t": "x", "checkpoint": None,
                "policy": None, "waiting": None, "at_step": None, "reason": "", "proposal": number,
                "ranks": [3],
            },
        }  # fmt: skip
        for file, record in files.items():
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps(record))

    def kinds(self) -> list[Kind]:
        paths = self.run.paths
        (manifest, *_), ulid = sorted(paths.checkpoints.glob("*/manifest.json")), "01JD0000000000000000000000"
        return [
            Kind(paths.run_json, decoding.misfit_of_run),
            Kind(paths.status, decoding.misfit_of_status),
            Kind(paths.events, decoding.misfit_of_event, is_journal=True),
            Kind(paths.metrics, decoding.misfit_of_metrics, is_journal=True),
            Kind(paths.spectra, decoding.misfit_of_spectrum, is_journal=True),
            Kind(paths.proposal(2), decoding.misfit_of_proposal),
            Kind(paths.decision(1), decoding.misfit_of_decision),
            Kind(paths.command(ulid), decoding.misfit_of_command),
            Kind(paths.note(ulid), decoding.misfit_of_note),
            Kind(paths.measurement(ulid), decoding.misfit_of_measurement),
            Kind(paths.analysis(ulid), decoding.misfit_of_analysis),
            Kind(manifest, decoding.misfit_of_manifest),
        ]

    def records(self, kind: Kind) -> list[dict[str, Any]]:
        """The record of a file; of a journal one of each form."""
        lines = self.originals[kind.file].splitlines() if kind.is_journal else [self.originals[kind.file]]
        decoded = [record for record in map(decode, lines) if record]
        return list({(record.get("kind"), *sorted(record)): record for record in decoded}.values())

    def restore(self, kind: Kind) -> None:
        kind.file.write_bytes(self.originals[kind.file])

    def put(self, kind: Kind, records: list[dict[str, Any]]) -> None:
        """Put records in the place of a file, or behind a journal."""
        before = self.originals[kind.file] if kind.is_journal else b""
        kind.file.write_bytes(before + b"".join(json.dumps(record).encode() + b"\n" for record in records))


def variants(record: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each key of a record, however deep, with each odd value in its place."""
    for place in places(record):
        for odd in ODD:
            changed = copy.deepcopy(record)
            target: Any = changed
            for part in place[:-1]:
                target = target[part]
            if odd is ABSENT:
                del target[place[-1]]
            else:
                target[place[-1]] = odd
            yield f"{'.'.join(map(str, place))} = {'nothing' if odd is ABSENT else odd!r}", changed


def places(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each key, and to the first item of each list."""
    parts = (
        value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    )
    for key, inner in parts:
        yield (*before, key)
        yield from places(inner, (*before, key))


def each_fitting(victim: Victim) -> Iterator[tuple[Kind, str, dict[str, Any]]]:
    """The changed records that readers take, of files that hold one record."""
    for kind in victim.kinds():
        if not kind.is_journal:
            for what, changed in variants(victim.records(kind)[0]):
                if not kind.misfit(changed):
                    yield kind, what, changed


def odd_lines(victim: Victim, kind: Kind, place: int) -> list[dict[str, Any]]:
    """The lines of a journal, each with one key changed to the odd value of this place in ODD."""
    return [
        changed for record in victim.records(kind) for _, changed in list(variants(record))[place :: len(ODD)]
    ]


def look(victim: Victim, *, drawn: bool = True) -> None:
    """Read the run in every way there is. Whatever it holds, nobody ends in a traceback.

    `drawn`: draw the report of a comparison, too, which takes a second.
    """
    paths, run_id, folder = victim.run.paths, victim.run.id, victim.run.paths.root.parent
    verify_run(paths, strict=True)
    command_line(run_id, str(folder))
    compared(paths)
    data(run_id, drawn)
    pages(run_id)


def command_line(run_id: str, folder: str) -> None:
    for command in (
        "runs",
        f"show {run_id}",
        f"proposals {run_id}",
        f"checkpoints {run_id}",
        f"verify {run_id}",
    ):
        for form in ([], ["--json"]):
            assert main([*command.split(), "--runs-dir", folder, *form]) in (0, 1)


def compared(paths: Any) -> None:
    frames.metrics(paths.root), frames.spectra(paths.root), read_origins([paths])
    finals, _ = read_finals([paths])
    if finals:
        read_curves([paths])


def data(run_id: str, drawn: bool) -> None:
    runs.summaries(), runs.whole_summary(run_id), runs.sparkline(run_id), runs.commands(run_id)
    for event in runs.timeline(run_id):
        events.describe(event)
    for row in runs.summaries():
        labels.state(row), labels.best(row["best"]), labels.scores(row["test"]), labels.duration(row["eta_s"])
        labels.moment(row["last_seen"]), labels.age(row["created"]), labels.dims(row["state_dims"])
    for item in runs.checkpoints(run_id)[0]:
        labels.moment(item["t"]), labels.cause(item["cause"]), runs.verify(run_id, item["name"])
    finals, problems = compared_runs.finals([run_id])
    series = series_of(finals)
    if series and drawn:
        report.as_html(compared_runs.report(series, baseline_of(series), problems))
    for row in proposals.proposals(run_id):
        labels.change(row["state_dims"], row["ranks"]), proposals.proposal_row(run_id, row["number"])
        decision = row["decision"]
        if decision:
            labels.moment(decision.get("t")), labels.who(decision.get("by"))


def pages(run_id: str) -> None:
    for chart in metrics.METRIC_CHARTS:
        metric_tables.chart_table(run_id, chart, 0.5), metric_tables.marks_table(run_id, chart)
    for layer in spectra_tables.by_layer(run_id):
        spectra_tables.tables(run_id, layer, 400)
    evidence.spectra_table(spectra_tables.latest(run_id))
    listed = [
        {**item, "cause_words": labels.cause(item["cause"]), "dims_words": labels.dims(item["state_dims"])}
        for item in runs.checkpoints(run_id)[0]
    ]
    branches.tree_tables(runs.branches(run_id), listed)
    rows, _ = proposals.outcomes()
    if rows:
        outcomes.points_table(rows, run_id), outcomes.diagonal_table(rows)
    record = proposals.proposal(run_id, 2)
    if record is not None:
        proposals.what_if(record, record["ranks"]), proposals.importance(record)
        evidence.measured_tables(record, record["ranks"])
        for layer, rank in zip(record["layers"], record["ranks"], strict=True):
            evidence.layer_tables(layer, rank, record["gate"], record["tolerance"])
            if layer.get("response"):
                evidence.response_table(layer)
    found = analyses.latest(run_id)
    for layer in found["layers"] if found else []:
        analysis.between_table(layer), [analysis.regret_tables(layer, row) for row in layer["regret"]]
