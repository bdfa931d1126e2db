"""docs/FORMAT.md is the reference: its examples are parsed here, and old run directories stay readable."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hankelboard.storage import atomic, checkpoints, commands, decoding, proposals, runs, schema, systems
from hankelboard.storage.errors import NewerFormat, NotDecidable
from hankelboard.storage.history import fold, read_history
from hankelboard.storage.layout import CheckpointName, RunPaths, run_paths
from hankelboard.storage.records import decode
from hankelboard.storage.summary import summarise
from hankelboard.storage.verification import verify_run
from hankelboard.storage.vocabulary import EventKind
from tests.storage import format_keys
from tests.storage.model_trainer import PROPOSAL

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = (ROOT / "docs" / "FORMAT.md").read_text()
EXAMPLES = dict(re.findall(r"```json (\w+)\n(.*?)```", DOCUMENT, re.DOTALL))
WRITER = re.search(r"```python writer\n(.*?)```", DOCUMENT, re.DOTALL)[1]
GOLDEN = sorted((ROOT / "tests" / "golden").glob("v*/*"))


def example(name):
    record = decode(EXAMPLES[name].strip())
    assert record is not None
    return record


def test_the_events_of_the_document_are_a_life_that_folds_without_rest():
    events = [decode(line) for line in EXAMPLES["events"].strip().splitlines()]
    history = fold(events)
    assert history.unknown == 0
    assert (history.state, history.branch, history.policy) == ("finished", 1, "auto")
    assert [outcome.state for outcome in history.proposals.values()] == ["rolled_back", "refused"]
    assert history.proposals[1].judged["kept"] is True
    assert {outcome.state for outcome in history.commands.values()} == {"applied", "refused"}


def test_every_kind_of_event_is_in_the_document():
    assert not [kind for kind in EventKind if kind not in DOCUMENT]


def test_the_tables_of_keys_are_those_of_the_types():
    """If not: python -m tests.storage.format_keys."""
    assert format_keys.DOCUMENT.read_text() == format_keys.document()


def test_every_kind_of_event_has_its_keys_and_examples_have_no_other():
    assert schema.EVENT_KEYS.keys() == set(EventKind)
    always = {"t", "kind", "step", "branch", "attempt"}
    lines = EXAMPLES["events"].strip().splitlines()
    lines += [line for run in GOLDEN for line in (run / "run" / "events.jsonl").read_text().splitlines()]
    for event in map(decode, lines):
        required, may = schema.EVENT_KEYS[event["kind"]]
        assert set(required) <= event.keys() - always <= {*required, *may}, event


ONE_RECORD = sorted(EXAMPLES.keys() - {"events", "spectra"})


@pytest.mark.parametrize("name", ONE_RECORD)
def test_every_example_fits(name):
    assert getattr(decoding, f"misfit_of_{name}")(example(name)) == ""


def test_proposal_decision_command_note_and_manifest_are_read_as_written(paths):
    proposals.publish_proposal(paths, 1, example("proposal"))
    proposal = proposals.read_proposal(paths, 1)
    assert proposals.ranks_at(proposal, proposal["tolerance"]) == proposal["ranks"] == [1]
    assert proposals.what_if(proposal, [1])["measured"]["accuracy"] == 0.967
    atomic.create(paths.decision(1), example("decision"))
    assert proposals.read_decision(paths, 1).verdict == "approve"
    atomic.create(paths.command("0" * 26), example("command"))
    command = commands.read_command(paths, "0" * 26)
    assert (command.kind, command.checkpoint, command.policy) == ("rollback", "b0-00000450-a0-0002", "ask")
    atomic.create(paths.note("0" * 26), example("note"))
    assert commands.read_notes(paths)[0]["value"] == "The good one"
    proposals.publish_measurement(paths, "0" * 26, example("measurement"))
    evidence = proposals.read_evidence(paths, 1)
    assert evidence["measured"]["points"] == proposal["measured"]["points"]  # the ranks were known
    systems.publish_analysis(paths, example("analysis"))
    assert systems.latest_analysis(paths)["layers"][0]["regret"][0]["rank"] == 1
    name = CheckpointName.parse("b0-00000450-a0-0002")
    paths.checkpoint(name).mkdir()
    atomic.create(paths.manifest(name), example("manifest"))
    assert checkpoints.read_checkpoint(paths, name).state_dims == [64, 64]


def test_run_and_status_of_the_document_make_a_summary(tmp_path):
    root = tmp_path / example("run")["id"]
    root.mkdir()
    paths = RunPaths(root)
    atomic.create(paths.run_json, example("run"))
    atomic.create(paths.status, example("status"))
    assert runs.read_run(paths).role == "compressed"
    assert summarise(paths).best["value"] == 0.97


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_runs_of_every_version_are_read(golden, tmp_path):
    expected = json.loads((golden / "expected.json").read_text())
    shutil.copytree(golden / "run", tmp_path / expected["run"])
    paths = run_paths(tmp_path, expected["run"])
    assert not [finding for finding in verify_run(paths) if finding.damage]
    history, summary = read_history(paths), summarise(paths)
    assert history.unknown == 0
    assert {
        "run": summary.run,
        "state": summary.state,
        "step": summary.step,
        "state_dims": summary.state_dims,
        "best": summary.best,
        "branches": list(history.branches),
        "proposals": [outcome.state for outcome in history.proposals.values()],
        "checkpoints": [str(checkpoint.name) for checkpoint in checkpoints.list_checkpoints(paths)[0]],
    } == expected


def test_there_is_a_golden_run_of_this_version():
    from hankelboard.storage.layout import FORMAT_VERSION

    assert any(path.parent.name == f"v{FORMAT_VERSION}" for path in GOLDEN)


# A writer that is not ours.


@pytest.fixture
def written(tmp_path):
    """What the program in the document writes."""
    program = tmp_path / "writer.py"
    program.write_text(WRITER)
    command = [sys.executable, "-I", str(program), str(tmp_path / "runs")]
    name = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return run_paths(tmp_path / "runs", name)


def test_the_writer_of_the_document_is_short_and_writes_all_that_is_needed(written):
    assert len([line for line in WRITER.splitlines() if line.strip()]) <= 45
    assert verify_run(written, strict=True) == []
    run, summary = runs.read_run(written), summarise(written)
    assert run.attached and not run.queued and run.primary == {"metric": "val/rmse", "better": "lower"}
    assert (summary.state, summary.step, summary.state_dims) == ("finished", 100, [4, 4])
    assert summary.best["metric"] == "val/rmse" and summary.best["step"] == 100


def test_the_best_is_the_lowest_where_lower_is_better(written):
    written.status.unlink()
    events = written.events.read_text().replace('"best":{', '"other":{')
    written.events.write_text(events)
    assert summarise(written).best["step"] == 100
    record = json.loads(written.run_json.read_text()) | {
        "primary": {"metric": "val/rmse", "better": "higher"}
    }
    written.run_json.write_text(json.dumps(record))
    assert summarise(written).best["step"] == 10


def without(paths, file, key):
    path = paths.root / file
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        record.pop(key, None)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda p: p.status.unlink(), "status.json: is missing: without it the state"),
        (lambda p: without(p, "run.json", "name"), "run.json: name: should be there"),
        (lambda p: without(p, "status.json", "pid"), "status.json: pid: should be there"),
        (lambda p: without(p, "metrics.jsonl", "train_s"), "train_s: should be there (10 times)"),
        (lambda p: without(p, "metrics.jsonl", "branch"),
         "metrics.jsonl: 10 damaged lines, the first: line 1 at branch: is missing"),
        (lambda p: p.events.write_text("\n".join(p.events.read_text().splitlines()[1:]) + "\n"),
         "events.jsonl: run_started: comes while no attempt is at work"),
        (lambda p: p.metrics.write_text("\n".join(p.metrics.read_text().splitlines()[::-1]) + "\n"),
         "metrics.jsonl: step: falls within an attempt"),
        (lambda p: p.spectra.write_text(p.spectra.read_text().replace("[3.0,", "[0.1,")),
         "hsv: must descend"),
        (lambda p: p.status.write_text(p.status.read_text().replace('"finished"', '"done"')),
         "status.json: state: 'done' is none of queued"),
        (lambda p: p.run_json.write_text(p.run_json.read_text().replace('"lower"', '"down"')),
         "run.json: primary.better: 'down' is none of higher, lower"),
        (lambda p: p.metrics.write_text(re.sub(r'"t":"[^"]*"', '"t":"today"', p.metrics.read_text())),
         "t: 'today' is no time"),
        (lambda p: (p.root / "inbox").write_text(""), "inbox/: is no folder"),
    ],
)  # fmt: skip
def test_verify_strict_names_what_a_writer_leaves_out(written, spoil, told):
    spoil(written)
    findings = verify_run(written, strict=True)
    assert any(told in f"{finding.where}: {finding.what}" for finding in findings), findings
    assert all(finding.damage or finding.missing for finding in findings)


def test_old_and_new_runs_of_our_own_leave_nothing_out(tmp_path):
    for golden in GOLDEN:
        name = json.loads((golden / "expected.json").read_text())["run"]
        shutil.copytree(golden / "run", tmp_path / name)
        assert verify_run(run_paths(tmp_path, name), strict=True) == []


# What is not known, and what is not there.


def test_a_run_without_a_status_is_unknown_until_it_ended(paths, tell):
    assert summarise(paths).state == "queued"
    tell("attempt_started", state_dims=[8], policy="ask")
    for content in (None, b"{", b'{"beat":1}', b'{"beat":true,"state":"running"}'):
        if content is not None:
            paths.status.write_bytes(content)
        assert summarise(paths).state == "unknown"
    tell("run_released", proposal=1)
    assert summarise(paths).state == "released"
    tell("run_finished", step=100)
    assert summarise(paths).state == "finished"


def test_folders_that_are_not_there_are_made_by_who_writes_first(paths, proposal):
    for folder in (paths.inbox, paths.notes, paths.decisions):
        folder.rmdir()
    commands.send_command(paths, "pause", by="ada", via="test")
    commands.add_note(paths, "text", "x", by="ada", via="test")
    assert proposals.decide(paths, 1, "reject", by="ada", via="test").verdict == "reject"
    assert len(commands.command_ids(paths)) == len(commands.read_notes(paths)) == 1


def test_a_run_of_a_newer_format_is_written_to_by_nobody(paths, proposal):
    record = json.loads(paths.run_json.read_text()) | {"format_version": 3}
    paths.run_json.write_text(json.dumps(record))
    for act in (
        lambda: commands.send_command(paths, "pause", by="ada", via="test"),
        lambda: commands.add_note(paths, "text", "x", by="ada", via="test"),
        lambda: proposals.decide(paths, 1, "reject", by="ada", via="test"),
    ):
        with pytest.raises(NewerFormat, match=r"written by a newer Hankelboard \(format 3.*upgrade"):
            act()
    assert commands.command_ids(paths) == []


def test_only_allowed_ranks_may_be_chosen(paths):
    layer = {**PROPOSAL["layers"][0], "realisable": [False, True, True, True, True], "allowed_ranks": [1, 3]}
    proposals.publish_proposal(paths, 1, {**PROPOSAL, "layers": [layer]})
    proposal = proposals.read_proposal(paths, 1)
    assert [proposals.check_ranks(proposal, [rank]) for rank in (1, 3, 4)] == [[1], [3], [4]]
    with pytest.raises(NotDecidable, match="rank 2 is none of those allowed: 1, 3"):
        proposals.check_ranks(proposal, [2])


def test_nothing_is_published_that_no_reader_takes(paths):
    with pytest.raises(ValueError, match=r"layers\[0\].rank: must be from 1 to 4"):
        proposals.publish_proposal(paths, 1, {**PROPOSAL, "ranks": [9]})
    assert proposals.proposal_numbers(paths) == []
