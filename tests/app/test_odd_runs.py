"""Runs of other writers, without a status, with odd times and figures: shown as what they are."""

import json
import re
import subprocess
import sys
from pathlib import Path

from hankelboard.app.data import runs as data
from hankelboard.storage.journal import Journal
from tests.app.conftest import SyntheticRun, text_of

DOCUMENT = (Path(__file__).parents[2] / "docs" / "FORMAT.md").read_text(encoding="utf-8")
WRITER = re.search(r"```python writer\n(.*?)```", DOCUMENT, re.DOTALL)[1]
ONE_RUN = ("run", "spectra", "truncation", "checkpoints")


def test_a_run_that_another_program_wrote_is_shown_by_every_page(open_page, runs):
    command = [sys.executable, "-I", "-c", WRITER, str(runs)]
    name = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    told = text_of(open_page("run", run=name))
    assert "Written elsewhere" in told and "0.1821 val/rmse" in told and "Damaged" not in told
    for page in ("spectra", "truncation", "checkpoints"):
        assert "Written elsewhere" in text_of(open_page(page, run=name))
    assert open_page("runs").metric[0].value == "0"
    open_page("compare", runs=name)


def test_runs_without_a_status_are_not_called_running(open_page, runs):
    for seed in range(3):
        SyntheticRun(runs, seed=seed).start().paths.status.unlink()
    page = open_page("runs")
    assert (page.metric[0].label, page.metric[0].value) == ("Running", "0")
    told = text_of(open_page("run", run=data.run_ids()[0]))
    assert "whether a process trains it is not known" in told and "unknown" in told


def test_a_folder_that_is_not_there_does_not_make_a_run_read_only(open_page, runs):
    run = SyntheticRun(runs).start()
    run.paths.inbox.rmdir()
    run.paths.notes.rmdir()
    assert data.is_writable(run.id)
    assert "read-only" not in text_of(open_page("run", run=run.id))


def test_a_few_milliseconds_of_training_are_compared(open_page, runs):
    run = SyntheticRun(runs, steps=20).start()
    with Journal(run.paths.metrics) as journal:
        for step in (10, 20):
            journal.append({"step": step, "branch": 0, "attempt": 0, "elapsed_s": 0.01, "train_s": step / 1e3,
                            "val/accuracy": 0.5})  # fmt: skip
    run.finish()
    assert open_page("compare", runs=run.id).slider[0].max == 0.1


def test_times_at_the_ends_of_the_calendar_end_no_page(open_page, runs):
    run = SyntheticRun(runs).start()
    for t in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "yesterday"):
        run.status("running", t=t, host="elsewhere")
        with Journal(run.paths.events) as journal:
            journal.append({**run.where(), "kind": "paused", "by": "ada", "t": t})
        open_page("run", run=run.id)


def test_damage_is_named_on_the_page_as_verify_names_it(open_page, runs):
    run = SyntheticRun(runs).start().train(50)
    lines = run.paths.spectra.read_bytes()
    record = json.loads(lines.splitlines()[0]) | {"layer": [0]}
    run.paths.spectra.write_bytes(lines + json.dumps(record).encode() + b"\n")
    told = text_of(open_page("run", run=run.id))
    assert "spectra.jsonl: 1 damaged line: line 3 at layer: must be a whole number from 0 to 999,999" in told
