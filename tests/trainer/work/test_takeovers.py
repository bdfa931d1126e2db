"""What was tried to have a worker run code that nobody asked for, with a real worker; all of it fails."""

import json
import shutil

import pytest

from hankelboard.access import tickets
from hankelboard.access.tickets import Limits, NoTicket
from hankelboard.storage.journal import Journal
from hankelboard.storage.layout import run_paths
from hankelboard.storage.lifeline import CHILD_MARK
from hankelboard.storage.runs import create_run
from hankelboard.trainer.cli import main
from tests.trainer.small_run import SMALL, SmallRun
from tests.trainer.work.test_worker import worker
from tests.waiting import PATIENCE_S, until

__all__ = ["worker"]
HARMLESS = {**SMALL, "training": {**SMALL["training"], "steps": 2}, "reduction": {"attempts": 0}}


def evil(mark):
    """A configuration that runs a command of the shell when its data are loaded."""
    return {**HARMLESS, "data": {"task": "os:system", "options": {"command": f"touch {mark}"}}}


def arrive(runs, elsewhere, config, **fields):
    """Copy a directory that was made elsewhere into the folder of runs, under its own name."""
    made = create_run(elsewhere, name="foreign", config=config, **fields)
    shutil.copytree(elsewhere / made.id, runs / made.id)
    return run_paths(runs, made.id)


@pytest.fixture
def elsewhere(tmp_path_factory):
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture
def child(monkeypatch):
    """This process is one that a worker started."""
    monkeypatch.setenv(CHILD_MARK, "1")


def interrupted(paths):
    with Journal(paths.events) as journal:
        where = {"step": 0, "branch": 0, "attempt": 0}
        journal.append({"kind": "attempt_started", **where, "state_dims": [12, 12]})
        journal.append({"kind": "attempt_ended", **where, "reason": "asked"})
    return paths


def spy(folder, mark):
    """A module that leaves a mark when it is imported."""
    folder.mkdir()
    (folder / "spy.py").write_text(f"open({str(mark)!r}, 'w')\nfrom torch.nn import Linear as Model\n")
    return {**HARMLESS, "model": {"family": "spy:Model", "path": str(folder)}}


def test_a_directory_that_arrives_is_data_until_somebody_adopts_it(worker, tmp_path, elsewhere, capsys):
    marks = {name: tmp_path / f"{name}.mark" for name in ("copied", "resumed", "model", "browser")}
    copied = arrive(tmp_path, elsewhere, evil(marks["copied"]))
    left = interrupted(arrive(tmp_path, elsewhere, evil(marks["resumed"])))
    model = arrive(tmp_path, elsewhere, spy(elsewhere / "code", marks["model"]))
    harmless = arrive(tmp_path, elsewhere, HARMLESS)
    by_browser = run_paths(tmp_path, create_run(tmp_path, name="page", config=evil(marks["browser"])).id)
    tickets.issue(by_browser, Limits(folders=(str(tmp_path),)))  # as if the page had looked at nothing
    log = tmp_path / "worker.log"
    refused = SmallRun.at(by_browser)
    with worker("--jobs", "2"):
        until(lambda: log.read_text().count("is not adopted: it came from elsewhere") == 4)
        assert main(["adopt", harmless.run_id, "--runs-dir", str(tmp_path)]) == 0
        until(lambda: SmallRun.at(harmless).history.state == "finished")
        until(lambda: refused.history.state == "failed")
    assert f"{harmless.run_id} adopted" in capsys.readouterr().out
    assert "code of your own is not started from a browser here" in refused.history.reason
    assert not [mark for mark in marks.values() if mark.exists()]
    assert [SmallRun.at(paths).history.state for paths in (copied, left, model)] == [
        "queued", "interrupted", "queued",
    ]  # fmt: skip
    assert log.read_text().count("is not adopted") == 4, "said once"


def test_tickets_that_cannot_be_read_stop_no_worker_and_are_said_once(
    worker, tmp_path, elsewhere, monkeypatch
):
    state = elsewhere
    monkeypatch.setenv("HANKELBOARD_STATE", str(state))
    for name in ("one", "two"):
        tickets.issue(run_paths(tmp_path, create_run(tmp_path, name=name, config=HARMLESS).id))
    (state / "tickets.key").write_text("damaged")
    with worker("--once") as process:
        assert process.wait(PATIENCE_S) == 0
    said = (tmp_path / "worker.log").read_text()
    assert said.count("no run is started while tickets cannot be read") == 1


def test_the_child_looks_again_at_the_ticket(small_run, child):
    run = small_run()
    run.paths.run_json.write_text(run.paths.run_json.read_text().replace('"batch":16', '"batch":17'))
    with pytest.raises(NoTicket, match=r"run\.json was changed since"):
        run.train()
    assert run.history.state == "queued"


def test_by_hand_nothing_is_asked(small_run):
    run = small_run(training={"steps": 2}, reduction={"steps": []})
    tickets._file(run.paths).unlink()
    assert run.train() == "finished"


@pytest.mark.parametrize(
    ("task", "why"),
    [
        ("os:system", "code of your own is not started from a browser here"),
        ("tests.trainer.marked:imported", "is not defined in tests.trainer.marked"),
        ("tests.trainer.marked:unmarked", "not marked with @hankelboard.data"),
        ("tests.trainer.marked:Loader", "not marked with @hankelboard.data"),
        ("tests.trainer.marked:instance", "not marked with @hankelboard.data"),
    ],
)
def test_of_a_browser_only_what_is_allowed_marked_and_defined_there_is_called(small_run, child, task, why):
    run = small_run(data={"task": task, "path": ""})
    tickets.issue(run.paths, Limits(code=("tests.trainer",)))
    assert run.train() == "failed"
    assert why in run.history.reason


def test_of_a_browser_a_model_is_a_class_of_models(small_run, child):
    run = small_run(model={"family": "tests.trainer.marked:Loader"})
    tickets.issue(run.paths, Limits(code=("tests.trainer.marked:Loader",)))
    assert run.train() == "failed" and "is no Module" in run.history.reason


def test_marked_data_and_a_model_that_are_allowed_are_trained_for_a_browser(small_run, child):
    run = small_run(
        model={"family": "tests.trainer.own:TinyModel"}, data={"task": "tests.trainer.marked:load"},
        training={"steps": 2}, reduction={"steps": []},
    )  # fmt: skip
    tickets.issue(run.paths, Limits(code=("tests.trainer.marked", "tests.trainer.own:TinyModel")))
    assert run.train() == "finished", run.history.reason


@pytest.mark.parametrize("place", ["outside", "behind a link", "among the runs"])
def test_paths_of_a_browser_stay_inside_its_folders(small_run, child, tmp_path, tmp_path_factory, place):
    allowed, outside = tmp_path_factory.mktemp("allowed"), tmp_path_factory.mktemp("outside")
    (allowed / "link").symlink_to(outside)
    folder = {"outside": outside, "behind a link": allowed / "link", "among the runs": tmp_path / "code"}[
        place
    ]
    run = small_run(model={"family": "spy:Model", "path": str(folder)})
    limits = Limits(code=("spy",), folders=(str(allowed), *([str(tmp_path)] if "among" in place else [])))
    tickets.issue(run.paths, limits)
    assert run.train() == "failed"
    assert "lies among the runs" in run.history.reason or "outside of the folders" in run.history.reason


def test_a_teacher_that_arrived_with_a_model_of_its_own_is_not_imported(
    small_run, child, tmp_path, elsewhere
):
    mark = tmp_path / "teacher.mark"
    teacher = small_run(training={"steps": 2}, reduction={"steps": []})
    assert teacher.train() == "finished"
    record = json.loads(teacher.paths.run_json.read_text())
    record["config"]["model"] |= spy(elsewhere / "code", mark)["model"]
    teacher.paths.run_json.write_text(json.dumps(record))
    pupil = small_run(distillation={"teacher": teacher.paths.run_id}, reduction={"steps": []})
    assert pupil.train() == "failed" and "is not adopted" in pupil.history.reason
    assert not mark.exists()
