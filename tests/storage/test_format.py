"""docs/FORMAT.md is the reference: its examples are parsed here, and old run directories stay readable."""

import json
import re
import shutil
from pathlib import Path

import pytest

from hankelboard.storage import atomic, checkpoints, commands, proposals, runs, systems
from hankelboard.storage.history import fold, read_history
from hankelboard.storage.layout import CheckpointName, RunPaths, run_paths
from hankelboard.storage.records import decode
from hankelboard.storage.summary import summarise
from hankelboard.storage.verification import verify_run
from hankelboard.storage.vocabulary import EventKind

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = (ROOT / "docs" / "FORMAT.md").read_text()
EXAMPLES = dict(re.findall(r"```json (\w+)\n(.*?)```", DOCUMENT, re.DOTALL))
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
