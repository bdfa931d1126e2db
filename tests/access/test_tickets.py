"""Tickets: what changes a run, its place or the key takes its ticket away, and nobody loses one."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from hankelboard.access import tickets
from hankelboard.access.tickets import Limits, NoTicket, Validity
from hankelboard.storage.layout import run_paths
from hankelboard.storage.runs import create_run


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    folder = tmp_path / "state"
    monkeypatch.setenv("HANKELBOARD_STATE", str(folder))
    return folder


@pytest.fixture
def paths(runs):
    return run_paths(runs, create_run(runs, name="one", config={"training": {"steps": 5}}).id)


def validity(paths):
    return tickets.look(paths).validity


def test_a_run_has_a_ticket_when_somebody_made_one(paths):
    assert validity(paths) == Validity.NONE and not tickets.holds(paths)
    tickets.issue(paths)
    ticket, config = tickets.look_inside(paths)
    assert ticket.is_valid and ticket.limits is None and config == {"training": {"steps": 5}}


def test_limits_are_part_of_a_ticket_and_a_later_one_counts(paths):
    limits = Limits(code=("mine",), folders=("/data",))
    tickets.issue(paths, limits)
    assert tickets.look(paths).limits == limits
    tickets.issue(paths)
    assert tickets.look(paths).limits is None


def test_limits_cannot_be_taken_out_of_a_ticket(paths, state):
    tickets.issue(paths, Limits(code=("mine",)))
    (file,) = (state / "tickets").glob("*.json")
    file.write_text(file.read_text().replace("mine", "os"))
    assert tickets.look(paths).reason == tickets.OTHER_KEY


def test_the_key_and_tickets_are_of_the_account_alone_and_lie_outside_the_runs(paths, state):
    tickets.issue(paths)
    files = [path for path in state.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"tickets.key"} and len(files) == 2
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (state, state / "tickets")} == {0o700}
    assert sorted(path.name for path in paths.root.iterdir() if path.is_file()) == ["run.json"]


def test_a_changed_run_json_has_none_until_it_is_as_it_was(paths):
    tickets.issue(paths)
    before = paths.run_json.read_bytes()
    paths.run_json.write_bytes(before.replace(b'"steps":5', b'"steps":6'))
    assert validity(paths) == Validity.CHANGED
    paths.run_json.write_bytes(before)  # restored from a backup
    assert tickets.holds(paths)


def test_a_change_that_keeps_size_and_time_is_seen(paths):
    tickets.issue(paths)
    assert tickets.holds(paths)
    found = paths.run_json.stat()
    changed = paths.run_json.read_bytes().replace(b'"steps":5', b'"steps":6')
    paths.run_json.unlink()
    paths.run_json.write_bytes(changed)
    os.utime(paths.run_json, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert validity(paths) == Validity.CHANGED


@pytest.mark.parametrize("how", ["copied", "moved"])
def test_another_path_must_be_adopted_again(paths, tmp_path, how):
    tickets.issue(paths)
    other = tmp_path / "elsewhere"
    other.mkdir()
    (shutil.copytree if how == "copied" else shutil.move)(paths.root, other / paths.run_id)
    there = run_paths(other, paths.run_id)
    assert tickets.look(there).reason == tickets.FROM_ELSEWHERE
    tickets.issue(there)
    assert tickets.holds(there) and tickets.holds(paths) == (how == "copied")


def test_a_link_to_the_runs_is_the_same_place_and_a_link_in_place_of_a_run_is_not(paths, runs, tmp_path):
    tickets.issue(paths)
    linked = tmp_path / "linked"
    linked.symlink_to(runs)
    assert tickets.holds(run_paths(linked, paths.run_id))
    other = tmp_path / "other"
    other.mkdir()
    foreign = run_paths(other, create_run(other, name="foreign", config={}).id)
    moved = paths.root.rename(tmp_path / "kept")
    paths.root.symlink_to(foreign.root)
    assert validity(paths) == Validity.NONE
    paths.root.unlink()
    moved.rename(paths.root)
    assert tickets.holds(paths)


def test_a_run_json_that_is_no_file_has_none(paths, tmp_path):
    tickets.issue(paths)
    shutil.move(paths.run_json, tmp_path / "run.json")
    assert tickets.look(paths).reason == tickets.UNREADABLE
    paths.run_json.symlink_to(tmp_path / "run.json")
    assert tickets.look(paths).reason == tickets.UNREADABLE


def test_a_lost_key_makes_tickets_worthless_and_a_new_one_is_made(paths, state):
    tickets.issue(paths)
    (state / "tickets.key").unlink()
    assert validity(paths) == Validity.NONE
    other = run_paths(paths.root.parent, create_run(paths.root.parent, name="two", config={}).id)
    tickets.issue(other)
    assert tickets.holds(other) and tickets.look(paths).reason == tickets.OTHER_KEY


@pytest.mark.parametrize("content", [b"", b"short\n"])
def test_a_damaged_key_is_said_and_never_replaced(paths, state, content):
    tickets.issue(paths)
    (state / "tickets.key").write_bytes(content)
    ticket = tickets.look(paths)
    assert ticket.validity == Validity.UNKNOWN and "tickets.key is damaged" in ticket.reason
    with pytest.raises(NoTicket, match=r"tickets\.key is damaged"):
        tickets.issue(paths)
    with pytest.raises(NoTicket, match=r"tickets\.key is damaged"):
        tickets.prepare(paths.root.parent)
    assert (state / "tickets.key").read_bytes() == content


def test_a_key_that_others_may_read_is_not_believed(paths, state):
    tickets.issue(paths)
    (state / "tickets.key").chmod(0o644)
    assert validity(paths) == Validity.UNKNOWN


def test_a_folder_of_state_that_cannot_be_used_is_said(paths, state):
    tickets.issue(paths)
    shutil.rmtree(state)
    state.write_text("a file in its place")
    assert validity(paths) == Validity.UNKNOWN
    with pytest.raises(NoTicket, match="no ticket could be written"):
        tickets.issue(paths)


def test_tickets_among_the_runs_are_worth_nothing(paths, runs, monkeypatch):
    monkeypatch.setenv("HANKELBOARD_STATE", str(runs / "state"))
    with pytest.raises(NoTicket, match="lies among the runs"):
        tickets.issue(paths)
    assert not tickets.holds(paths)


def test_of_many_writers_none_undoes_what_another_wrote(runs):
    made = [run_paths(runs, create_run(runs, name=f"run {n}", config={}).id) for n in range(12)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(tickets.issue, made * 2))
    assert all(map(tickets.holds, made))


def test_what_did_not_change_is_not_read_again(paths, monkeypatch):
    tickets.issue(paths)
    assert tickets.holds(paths)
    monkeypatch.setattr(tickets, "look_inside", lambda paths: pytest.fail("read again"))
    assert tickets.holds(paths)


def test_an_offer_is_made_once_per_folder(runs, tmp_path):
    assert tickets.is_first_offer(runs) and not tickets.is_first_offer(runs)
    assert tickets.is_first_offer(tmp_path / "others")


def test_a_damaged_ticket_is_of_one_run_and_adopting_mends_it(paths, state):
    tickets.issue(paths)
    (file,) = (state / "tickets").glob("*.json")
    file.write_text("{")
    ticket = tickets.look(paths)
    assert ticket.validity == Validity.NONE and "is damaged" in ticket.reason
    tickets.issue(paths)
    assert tickets.holds(paths)
