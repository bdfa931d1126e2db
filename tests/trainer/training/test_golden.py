"""Runs that older versions wrote can be trained on."""

import json
import shutil
from pathlib import Path

import pytest

from hankelboard.storage.layout import run_paths
from tests.trainer.small_run import SmallRun

GOLDEN = sorted((Path(__file__).parents[2] / "golden").glob("v*/*"))


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_an_old_run_is_rolled_back_and_trained_to_its_end(golden, tmp_path):
    expected = json.loads((golden / "expected.json").read_text())
    shutil.copytree(golden / "run", tmp_path / expected["run"])
    run = SmallRun.__new__(SmallRun)
    run.paths = run_paths(tmp_path, expected["run"])
    cut = run.checkpoints("after_reduction")[0]
    run.send("rollback", checkpoint=str(cut.name), policy="keep")
    assert run.train() == "finished"
    assert run.history.branch == max(expected["branches"]) + 1
    assert run.history.state_dims == cut.state_dims


def test_options_that_a_task_ignored_when_a_run_was_created_are_ignored_when_it_is_trained_on(tmp_path):
    golden = next(path for path in GOLDEN if path.parent.name == "v1")
    name = json.loads((golden / "expected.json").read_text())["run"]
    shutil.copytree(golden / "run", tmp_path / name)
    run = SmallRun.__new__(SmallRun)
    run.paths = run_paths(tmp_path, name)
    identity = json.loads(run.paths.run_json.read_text())
    assert identity["config"]["data"]["task"] == "digits"
    identity["config"]["data"]["options"] = {"length": 5}
    run.paths.run_json.write_text(json.dumps(identity))
    run.send("rollback", checkpoint=str(run.checkpoints("after_reduction")[0].name), policy="keep")
    assert run.train() == "finished"
