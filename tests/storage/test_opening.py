"""Links, pipes and folders within a run, at every depth: nothing beyond them is read, written or removed."""

import os
import shutil
from pathlib import Path

import pytest

from hankelboard.storage import atomic, checkpoints, commands, opening, proposals, systems
from hankelboard.storage.errors import RunError
from hankelboard.storage.layout import CheckpointName, RunPaths, SystemsName, depth_of_folder
from hankelboard.storage.opening import NotAFile
from hankelboard.storage.records import new_ulid
from hankelboard.storage.runs import RunLock, is_held, list_runs
from hankelboard.storage.summary import summarise
from hankelboard.storage.verification import verify_run
from tests.storage.odd_files import IRREGULAR, a_folder, in_time

NAME = CheckpointName(branch=0, step=5, attempt=0, sequence=1)
ID = new_ulid()


def everything_in(folder):
    """Names, contents and times of all that lies in a folder."""
    return {
        (str(path.relative_to(folder)), path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in folder.rglob("*")
    }


def test_the_layout_knows_how_deep_each_of_its_paths_lies():
    paths = RunPaths(Path("/a/checkpoints/run"))
    for path in (
        *paths.files, *paths.all_folders, paths.proposal(1), paths.decision(1), paths.command(ID),
        paths.note(ID), paths.measurement(ID), paths.analysis(ID), paths.system(SystemsName(1, 0, 0, 0)),
        paths.checkpoint(NAME), paths.building(NAME), paths.manifest(NAME), paths.tensorboard_of(0),
        paths.tensorboard_of(0) / "events",
    ):  # fmt: skip
        inside = len(path.relative_to(paths.root).parts)
        assert depth_of_folder(path.parent) == inside - 1, path
    assert depth_of_folder(paths.root) == 0, "the run may be reached by a link, whatever its folder is called"
    assert {*paths.files, *paths.all_folders} == {
        value
        for name in dir(paths)
        if isinstance(value := getattr(paths, name), Path) and name not in ("root", "journals")
    }, "a path is in neither list"


WRITERS = {
    "proposals": lambda paths: proposals.publish_proposal(paths, 1, {}),
    "decisions": lambda paths: atomic.create(paths.decision(1), {}),
    "inbox": lambda paths: commands.send_command(paths, "pause", by="ada", via="test"),
    "notes": lambda paths: commands.add_note(paths, "text", "x", by="ada", via="test"),
    "measurements": lambda paths: proposals.publish_measurement(paths, ID, {}),
    "systems": lambda paths: systems.publish_systems(paths, SystemsName(1, 0, 0, 0), b"x"),
    "analyses": lambda paths: systems.publish_analysis(paths, {}),
    "checkpoints": lambda paths: checkpoints.publish(
        paths,
        NAME,
        lambda folder: None,
        cause="start",
        pinned=False,
        state_dims=[],
        metrics={},
        reductions=[],
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_nothing_is_written_listed_or_removed_through_a_folder_that_is_a_link(paths, tmp_path, name):
    folder, elsewhere = getattr(paths, name), tmp_path / "elsewhere"
    elsewhere.mkdir()
    for file in (".writing-x", "000001.json", f"{ID}.json"):
        (elsewhere / file).write_text('{"note":"text","value":"a letter","command":"stop"}')
    shutil.copytree(elsewhere, elsewhere / str(NAME))
    shutil.rmtree(folder, ignore_errors=True)
    folder.symlink_to(elsewhere)
    before = everything_in(elsewhere)
    with pytest.raises(NotAFile):
        WRITERS[name](paths)
    checkpoints.remove_strays(paths)
    assert checkpoints.checkpoint_names(paths) == proposals.proposal_numbers(paths) == []
    assert commands.command_ids(paths) == commands.read_notes(paths) == []
    assert commands.read_command(paths, ID) is proposals.read_decision(paths, 1) is None
    assert everything_in(elsewhere) == before
    assert f"{name} is a link, not a folder" in summarise(paths).problem
    assert [finding.what for finding in verify_run(paths)] == [f"{name} is a link, not a folder"]


def test_a_checkpoint_that_is_a_link_is_none_and_is_taken_away_as_a_link(paths, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "weights").write_text("x")
    paths.checkpoint(NAME).symlink_to(elsewhere)
    assert "manifest.json is missing" in " ".join(checkpoints.problems(paths, NAME))
    with pytest.raises(NotAFile):
        opening.checked(paths.checkpoint(NAME) / "weights")
    checkpoints.remove_strays(paths)
    assert (elsewhere / "weights").read_text() == "x" and not paths.checkpoint(NAME).is_symlink()


@pytest.mark.parametrize("put", IRREGULAR)
def test_a_lock_that_is_no_plain_file_is_never_waited_for_or_written(paths, tmp_path, put):
    put(paths.lock, tmp_path)
    (tmp_path / "elsewhere").write_text("a letter")

    def attempt():
        try:
            RunLock(paths)
        except RunError as error:
            return str(error)

    assert "not a plain file" in in_time(attempt)
    assert in_time(lambda: is_held(paths)) is False
    assert (tmp_path / "elsewhere").read_text() == "a letter"
    assert "run.lock is" in summarise(paths).problem


@pytest.mark.parametrize("put", IRREGULAR)
def test_whatever_replaces_a_file_the_run_says_so(paths, tmp_path, put):
    for path in paths.files:
        path.unlink(missing_ok=True)
        put(path, tmp_path)
    said = in_time(lambda: opening.irregularities(paths))
    assert [line.partition(" ")[0] for line in said] == sorted(path.name for path in paths.files)
    for folder in paths.all_folders:
        shutil.rmtree(folder, ignore_errors=True)
        put(folder, tmp_path)
    expected = [] if put is a_folder else sorted(path.name for path in paths.all_folders)
    named = [line.partition(" ")[0] for line in in_time(lambda: opening.irregularities(paths))]
    assert [name for name in named if "." not in name] == expected


def test_a_run_directory_may_be_reached_by_a_link_and_one_to_itself_is_no_run(paths, tmp_path):
    runs = tmp_path / "linked"
    runs.mkdir()
    (runs / "a").symlink_to(paths.root)
    (runs / "b").symlink_to("b")
    (linked,) = list_runs(runs)
    assert commands.send_command(linked, "pause", by="ada", via="test") in commands.command_ids(paths)
    with RunLock(linked):
        assert is_held(paths)
    assert opening.irregularities(linked) == []


def test_what_is_written_goes_into_the_folder_that_was_opened(paths, tmp_path, monkeypatch):
    """Somebody puts a link in the place of a folder between the look and the write."""
    link = os.link

    def swap(*arguments, **where):
        paths.inbox.rename(tmp_path / "aside")
        paths.inbox.symlink_to(tmp_path)
        monkeypatch.setattr(os, "link", link)
        return link(*arguments, **where)

    monkeypatch.setattr(os, "link", swap)
    sent = commands.send_command(paths, "pause", by="ada", via="test")
    assert (tmp_path / "aside" / f"{sent}.json").exists() and not list(tmp_path.glob("*.json"))
