"""What somebody who may write files into a run directory, or name a run, can and cannot do."""

import contextlib
import os
import threading
from collections import Counter
from functools import partial

import pytest

from hankelboard.storage import checkpoints, commands, proposals, runs
from hankelboard.storage.decoding import misfit_of_decision
from hankelboard.storage.errors import (
    AlreadyDecided,
    CheckpointError,
    CommandRefused,
    NotDecidable,
    RunNotFound,
)
from hankelboard.storage.layout import CheckpointName, run_paths
from hankelboard.storage.records import MAX_PERSONS_FILE_BYTES, encode, new_ulid, read_record
from hankelboard.storage.verification import verify_run
from tests.waiting import PATIENCE_S

LOOKS = ("listdir", "scandir", "open", "stat", "lstat")
NAME = CheckpointName(branch=0, step=5, attempt=0, sequence=1)
GARBAGE = (
    b"", b"{", b"[]", b"null", b"\0" * 100, b"\xff\xfe\xfd", b'{"command":"format the disk"}',
    b'{"command":["stop"]}', b'{"command":{"stop":1}}', b'{"command":null}',
    b'{"command":"stop","command":"pause"}',
    b'{"command":"stop","by":"\\ud800"}', b'{"command":"stop","at_step":1e999}', b'{"kind":"stop"}',
    b"[" * 60_000, b'{"command":"stop","by":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    b'{"command":"stop","reason":"' + b"x" * MAX_PERSONS_FILE_BYTES + b'"}',
)  # fmt: skip


# Ten thousand strays.


@pytest.fixture
def full_inbox(paths):
    """8,000 files with odd names and 2,000 with the name of a command and garbage inside."""
    names = [
        b"stray-%d.txt", b".writing-%d", b"%d.json", b"\xff\xfe%d.json", b"%026d.JSON", b"%026d.json ",
        b"%026d.json\n", b"%026dU.json",
    ]  # fmt: skip
    for number in range(1_000):
        for name in names:
            (paths.inbox / os.fsdecode(name % number)).touch()
    ids = [f"01ARZ3NDEKTSV4RRFFQ69G{n:04d}" for n in range(2_000)]
    for number, command_id in enumerate(ids):
        paths.command(command_id).write_bytes(GARBAGE[number % len(GARBAGE)])
    return ids


@contextlib.contextmanager
def looks(monkeypatch):
    """Counts by name the calls that list, open or ask about files meanwhile."""
    counted = Counter()

    def counting(name, call, *arguments, **more):
        counted[name] += 1
        return call(*arguments, **more)

    with monkeypatch.context() as patch:
        for name in LOOKS:
            patch.setattr(os, name, partial(counting, name, getattr(os, name)))
        yield counted


def test_ten_thousand_strays_in_the_inbox_cost_little_and_are_no_commands(paths, full_inbox, monkeypatch):
    assert len(os.listdir(paths.inbox)) == 10_000
    with looks(monkeypatch) as looked_at:
        assert commands.command_ids(paths) == full_inbox
    assert looked_at == {"open": 1, "listdir": 1}  # one listing, however many files there are
    with looks(monkeypatch) as looked_at:
        assert not any(commands.read_command(paths, command_id) for command_id in full_inbox)
    assert looked_at == {"open": 2 * len(full_inbox)}  # the folder, and in it the file
    sent = commands.send_command(paths, "pause", by="ada", via="test")
    assert commands.command_ids(paths)[-1] == sent and commands.read_command(paths, sent).kind == "pause"


@pytest.mark.parametrize("content", GARBAGE)
def test_garbage_is_no_command_no_decision_and_no_note(paths, proposal, content):
    name = new_ulid()
    for path in (paths.command(name), paths.note(name), paths.decision(1)):
        path.write_bytes(content)
    assert commands.read_command(paths, name) is None and commands.read_notes(paths) == []
    assert proposals.read_decision(paths, 1).verdict == ""


def test_what_is_no_plain_file_is_no_command_and_nobody_waits_for_it(paths, tmp_path):
    pipe, folder, link, device = (new_ulid() for _ in range(4))
    os.mkfifo(paths.command(pipe))
    paths.command(folder).mkdir()
    (tmp_path / "secret").write_text(encode({"command": "stop", "reason": "of another run"}))
    paths.command(link).symlink_to(tmp_path / "secret")
    paths.command(device).symlink_to("/dev/zero")
    found = []
    thread = threading.Thread(
        target=lambda: found.extend(commands.read_command(paths, i) for i in commands.command_ids(paths)),
        daemon=True,
    )
    thread.start()
    thread.join(PATIENCE_S)
    assert found == [None] * 4


@pytest.mark.parametrize(
    "name",
    ["..", "../run", "../../x", "a/b", "", "x" * 26, "01ARZ3NDEKTSV4RRFFQ69G000U", "0" * 25 + "\n", "٠" * 26],
)  # fmt: skip
def test_only_a_ulid_becomes_the_path_of_a_command_or_note(paths, name):
    for build in (paths.command, paths.note):
        with pytest.raises(ValueError, match="is not the id"):
            build(name)


# Names of runs and checkpoints.


@pytest.mark.parametrize(
    "run_id",
    ["", ".", "..", "../x", "a/../b", "/etc", "a/b", "a\\b/..", "a\0b", "\0", "a\n", "\na", "a\nb", "a b",
     "A", "é", "ａ", "٠", "a\u202e", "a\ud800", "-a", "_a", ".hidden", ".workers", "~", "$HOME", "*", "a;b",
     "a%2f..", "a" * 101, "a" * 10_000, "../" * 3_000, " a", "a\t", "con\r"],
)  # fmt: skip
def test_what_is_no_run_id_never_becomes_a_path(tmp_path, run_id, monkeypatch):
    (tmp_path / "runs").mkdir()
    (tmp_path / "x").mkdir()
    monkeypatch.setattr(os, "stat", lambda *args, **kw: pytest.fail("it was looked up"))
    with pytest.raises(RunNotFound, match="is not a run id") as caught:
        run_paths(tmp_path / "runs", run_id)
    monkeypatch.undo()
    assert len(str(caught.value)) < 1_000 and "\n" not in str(caught.value) and "\0" not in str(caught.value)
    str(caught.value).encode()
    with pytest.raises(RunNotFound):
        runs.find_run(tmp_path / "runs", run_id)


@pytest.mark.parametrize("run_id", ["a", "0", "a..b", "a" * 100, "20261123-141502-digits-k3qf"])
def test_what_is_a_run_id_must_be_there(tmp_path, run_id):
    with pytest.raises(RunNotFound, match="no run"):
        run_paths(tmp_path, run_id)
    (tmp_path / run_id).mkdir()
    assert run_paths(tmp_path, run_id).root.parent == tmp_path


@pytest.mark.parametrize(
    "name",
    ["b00-00000005-a0-0001", "b0-000000005-a0-0001", "b0-00000005-a00-0001", "b0-00000005-a0-00001",
     "b٠-00000005-a0-0001", "b0-0000000٥-a0-0001", "b0-00000005-a0-0001\n", "b0-00000005-a0-0001/..",
     "../b0"],
)  # fmt: skip
def test_a_checkpoint_has_one_name_only(paths, name):
    assert CheckpointName.parse(str(NAME)) == NAME
    assert CheckpointName.parse(name) is None
    with pytest.raises(CommandRefused, match="no checkpoint"):
        commands.send_command(paths, "rollback", by="ada", via="test", checkpoint=name)


def test_a_proposal_has_one_name_only(paths, proposal):
    for name in ("0000001.json", "٠٠٠٠٠١.json", "１２３４５６.json", "000001.json\n", "1.json"):
        (paths.proposals / name).write_text("{}")
    assert proposals.proposal_numbers(paths) == [1]
    paths.proposal(1_000_000).write_text("{}")
    assert proposals.proposal_numbers(paths) == [1, 1_000_000]


# Decisions.


def test_a_decision_that_is_too_large_is_one_that_makes_no_sense(paths, proposal):
    record = {
        "decision_id": new_ulid(),
        "proposal": 1,
        "verdict": "approve",
        "by": "eve",
        "reason": "x" * 66_000,
    }
    paths.decision(1).write_text(encode(record))
    decision = proposals.read_decision(paths, 1)
    assert (decision.verdict, decision.by, decision.reason) == ("", "unknown", "")
    with pytest.raises(AlreadyDecided, match="decided by unknown"):
        proposals.decide(paths, 1, "reject", by="ada", via="test")
    paths.decision(2).touch()
    os.truncate(paths.decision(2), 10**12)
    assert proposals.read_decision(paths, 2).verdict == ""


def test_a_decision_just_within_the_bound_is_one(paths, proposal):
    text = encode({"verdict": "approve", "by": "x" * 500, "reason": ""})
    paths.decision(1).write_text(text + " " * (MAX_PERSONS_FILE_BYTES - len(text)))
    decision = proposals.read_decision(paths, 1)
    assert decision.verdict == "approve" and len(decision.by) == 200


@pytest.mark.parametrize(
    "ranks",
    ['"all"', "{}", "[[[[1]]]]", "[1e3]", "[null]", '["1"]', "[-1]", "[99999999999999999999]", "[true]",
     "[1,1]"],
)  # fmt: skip
def test_ranks_of_any_kind_in_a_decision_make_no_sense_or_are_checked(paths, proposal, ranks):
    paths.decision(1).write_text(f'{{"verdict":"approve","by":"eve","ranks":{ranks}}}')
    decision = proposals.read_decision(paths, 1)
    assert decision.by == "eve"
    if decision.verdict:
        assert all(type(rank) is int for rank in decision.ranks)
        with pytest.raises(NotDecidable):
            proposals.check_ranks(proposal, decision.ranks)
    else:
        assert "ranks" in misfit_of_decision(read_record(paths.decision(1)))


def test_what_people_write_is_cut_to_size_and_can_be_read_back(paths, proposal):
    long = "é" * 100_000 + "\ud800"  # with bytes that were no text in the terminal
    decision = proposals.decide(paths, 1, "reject", by=long, via=long, reason="\ud800" + long)
    assert proposals.read_decision(paths, 1).reason.startswith("?é") and decision.verdict == "reject"
    assert paths.decision(1).stat().st_size < MAX_PERSONS_FILE_BYTES


# Checkpoints.


def manifest(paths, **fields):
    folder = paths.checkpoint(NAME)
    folder.mkdir(exist_ok=True)
    paths.manifest(NAME).write_text(encode({"state_dims": [4], **fields}))


@pytest.mark.parametrize(
    "file",
    ["../../run.json", "/etc/passwd", "a/b", "a/../b", "./weights", "weights/", "../" * 2_000 + "etc/passwd"],
)  # fmt: skip
def test_a_manifest_cannot_name_files_outside(paths, file):
    manifest(paths, files={file: {"bytes": 1, "sha256": "0"}})
    with pytest.raises(CheckpointError, match="outside"):
        checkpoints.read_checkpoint(paths, NAME)
    good, damaged = checkpoints.list_checkpoints(paths)
    assert good == [] and len(damaged) == 1
    assert [finding.where for finding in verify_run(paths)] == [f"checkpoints/{NAME}"]


@pytest.mark.parametrize("file", ["..", ".", "", "a\0b", "x" * 300, "manifest.json", "\n"])
def test_a_manifest_that_names_what_is_no_file_of_its_own_does_not_verify(paths, file):
    manifest(paths, files={file: {"bytes": 1, "sha256": "0"}})
    assert list(checkpoints.problems(paths, NAME))


@pytest.mark.parametrize(
    "put", [lambda p: p.symlink_to(p.parent / "manifest.json"), os.mkfifo, lambda p: p.mkdir()]
)
def test_a_file_of_a_checkpoint_that_is_no_plain_file_does_not_verify(paths, put):
    manifest(paths, files={"weights": {"bytes": 3, "sha256": "0"}})
    put(paths.checkpoint(NAME) / "weights")
    assert "missing" in " ".join(checkpoints.problems(paths, NAME))


@pytest.mark.parametrize("files", [[], None, "all", 1, {"weights": None}, {"weights": [1]}])
def test_a_manifest_without_sensible_files_is_damaged(paths, files):
    manifest(paths, files=files)
    with pytest.raises(CheckpointError):
        checkpoints.read_checkpoint(paths, NAME)


@pytest.mark.parametrize("size", ["3", None, [], {}])
def test_a_manifest_whose_sizes_are_no_numbers_is_damaged(paths, size):
    manifest(paths, files={"weights": {"bytes": size, "sha256": "0"}})
    good, damaged = checkpoints.list_checkpoints(paths)
    assert len(good) + len(damaged) == 1


def test_strays_that_are_links_are_not_followed_when_they_are_removed(paths, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    (paths.checkpoints / ".writing-link").symlink_to(kept)
    (paths.root / ".writing-file").symlink_to(kept / "file")
    paths.checkpoint(NAME).symlink_to(kept)  # a checkpoint without manifest
    checkpoints.remove_strays(paths)
    assert (kept / "file").read_text() == "x"
