import json
import subprocess
import sys

import pytest

from hankelboard.storage import runs
from hankelboard.storage.errors import DamagedRun, NewerFormat, RunHeld, RunNotFound
from hankelboard.storage.layout import FORMAT_VERSION, CheckpointName, RunPaths, run_paths
from hankelboard.storage.summary import summarise


def test_a_created_run_reads_back_as_it_was_asked_for(tmp_path):
    created = runs.create_run(tmp_path, name="Digits!", config={"a": {"b": 1}}, role="baseline", tags=["x"])
    assert runs.read_run(run_paths(tmp_path, created.id)) == created
    assert [path.run_id for path in runs.list_runs(tmp_path)] == [created.id]


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "A", "x" * 101, "a\n", "é"])
def test_what_is_no_run_id_never_becomes_a_path(tmp_path, name):
    with pytest.raises(RunNotFound):
        run_paths(tmp_path, name)


def test_a_run_is_found_by_the_end_of_its_id_and_an_ambiguous_name_is_refused(tmp_path):
    first = runs.create_run(tmp_path, name="a", config={})
    runs.create_run(tmp_path, name="a", config={})
    assert runs.find_run(tmp_path, first.id[-4:]).run_id == first.id
    with pytest.raises(RunNotFound, match="fits 2 runs"):
        runs.find_run(tmp_path, "2")


def test_a_newer_format_is_refused_with_what_to_do(paths):
    record = json.loads(paths.run_json.read_text()) | {"format_version": FORMAT_VERSION + 1}
    paths.run_json.write_text(json.dumps(record))
    with pytest.raises(NewerFormat, match="pip install --upgrade"):
        runs.read_run(paths)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"config": 3}', b"\xff\xfe"])
def test_a_half_copied_run_is_reported_and_the_list_survives(tmp_path, content):
    (tmp_path / "half").mkdir()
    if content is not None:
        (tmp_path / "half" / "run.json").write_bytes(content)
    with pytest.raises(DamagedRun):
        runs.read_run(RunPaths(tmp_path / "half"))
    assert [summarise(p).state for p in runs.list_runs(tmp_path)] == ["unreadable"]


def test_strays_and_files_are_no_runs(tmp_path):
    (tmp_path / ".writing-123").mkdir()
    (tmp_path / "file").write_text("x")
    assert runs.list_runs(tmp_path) == []
    assert runs.list_runs(tmp_path / "absent") == []


def test_the_second_trainer_is_refused_and_the_lock_dies_with_its_holder(paths):
    program = (
        "import sys; from pathlib import Path\n"
        "from hankelboard.storage.layout import RunPaths; from hankelboard.storage.runs import RunLock\n"
        "lock = RunLock(RunPaths(Path(sys.argv[1]))); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(paths.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        with pytest.raises(RunHeld, match=str(holder.pid)):
            runs.RunLock(paths, patience_s=0.2)
        assert runs.is_held(paths)
        holder.kill()
        holder.wait()
    assert not runs.is_held(paths)


def test_a_checkpoint_name_parses_back_and_orders_by_sequence():
    name = CheckpointName(branch=2, step=500, attempt=1, sequence=3)
    assert str(name) == "b2-00000500-a1-0003" and CheckpointName.parse(str(name)) == name
    assert CheckpointName.parse("../b2-00000500-a1-0003") is None
    assert name < CheckpointName(branch=0, step=0, attempt=0, sequence=4)
