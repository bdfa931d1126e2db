"""`hankelboard adopt`, what other commands say of runs without a ticket, and which commands give one."""

import json
import shutil

import pytest

from hankelboard.access import tickets
from hankelboard.settings import limits
from hankelboard.storage.layout import run_paths
from hankelboard.storage.runs import RunLock, create_run
from hankelboard.trainer.cli import adopting, build_parser, main, serving


@pytest.fixture(autouse=True)
def state(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("HANKELBOARD_STATE", str(folder))
    return folder


@pytest.fixture
def command(tmp_path):
    return lambda *arguments: main([*arguments, "--runs-dir", str(tmp_path)])


def arrived(runs, name="one", **config):
    return run_paths(runs, create_run(runs, name=name, config={"training": {"steps": 5}, **config}).id)


def test_many_runs_are_adopted_by_name_and_what_they_start_is_said(command, tmp_path, capsys):
    first, second = arrived(tmp_path), arrived(tmp_path, model={"family": "mine:Model", "path": "/code"})
    assert command("adopt", first.run_id, second.run_id) == 0
    said = capsys.readouterr().out
    assert f"{second.run_id} adopted; it starts mine:Model in /code" in said and "2 adopted" in said
    assert tickets.look(first).limits is None and tickets.holds(second)


def test_all_are_adopted_but_copies_and_what_is_damaged(command, tmp_path, capsys):
    runs = [arrived(tmp_path, f"run {number}") for number in range(3)]
    shutil.copytree(runs[0].root, tmp_path / "a-copy")
    (tmp_path / "damaged").mkdir()
    assert command("adopt", "--all") == 0
    said = capsys.readouterr()
    assert all(map(tickets.holds, runs)) and "3 adopted" in said.out
    assert f"a-copy is a copy of {runs[0].run_id}" in said.err and "damaged: run.json is missing" in said.err
    assert command("adopt", "--all") == 0
    assert "0 adopted, 3 were before" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["--all", "some-run"]])
def test_which_runs_must_be_said(command, arguments, capsys):
    assert command("adopt", *arguments) == 1
    assert "name the runs, or say --all" in capsys.readouterr().err


def test_show_and_runs_say_what_is_not_adopted(command, tmp_path, capsys):
    paths = arrived(tmp_path)
    assert command("runs") == 0 and "queued, not adopted" in capsys.readouterr().out
    assert command("show", paths.run_id) == 0
    assert f"to let workers: hankelboard adopt {paths.run_id}" in capsys.readouterr().out
    assert command("show", paths.run_id, "--json") == 0
    assert json.loads(capsys.readouterr().out)["not_adopted"] == tickets.FROM_ELSEWHERE
    assert command("adopt", paths.run_id) == 0
    capsys.readouterr()
    assert command("runs", "--json") == 0
    assert [row["not_adopted"] for row in json.loads(capsys.readouterr().out)] == [""]


def test_new_and_suite_give_tickets(command, tmp_path, capsys):
    assert command("new", "--preset", "digits-lru", "--set", "data.task=os:system") == 0
    assert tickets.holds(run_paths(tmp_path, capsys.readouterr().out.strip())), (
        "the command line is its owner's"
    )
    assert command("suite", "smnist-wide", "--seeds", "7") == 0
    assert all(tickets.holds(run_paths(tmp_path, folder.name)) for folder in tmp_path.glob("2*"))


def test_nothing_is_created_where_no_ticket_can_be_written(command, tmp_path, state, capsys):
    (state / "tickets.key").write_text("damaged")
    assert command("new", "--preset", "digits-lru") == 1
    assert "tickets.key" in capsys.readouterr().err
    assert command("suite", "smnist-wide", "--seeds", "7") == 1
    assert not list(tmp_path.glob("2*"))


def test_resume_adopts_and_other_commands_do_not(command, tmp_path, capsys):
    paths = arrived(tmp_path)
    assert command("send", paths.run_id, "stop") == 0 and not tickets.holds(paths)
    assert command("send", paths.run_id, "resume") == 0 and tickets.holds(paths)


def test_resume_does_not_adopt_what_was_changed_since_a_copy_or_what_lives(command, tmp_path, capsys):
    changed, lives = arrived(tmp_path), arrived(tmp_path)
    tickets.issue(changed)
    changed.run_json.write_text(changed.run_json.read_text().replace('"steps":5', '"steps":6'))
    assert command("send", changed.run_id, "resume") == 0 and not tickets.holds(changed)
    assert "its run.json was changed since; look at it" in capsys.readouterr().err
    copy = run_paths(tmp_path, shutil.copytree(lives.root, tmp_path / "a-copy").name)
    assert command("send", copy.run_id, "resume") == 0 and not tickets.holds(copy)
    with RunLock(lives):
        assert command("send", lives.run_id, "resume") == 0
    assert not tickets.holds(lives)


def test_a_command_is_sent_where_no_ticket_can_be_written(command, tmp_path, state, capsys):
    paths = arrived(tmp_path)
    shutil.rmtree(state)
    state.write_text("a file in its place")
    assert command("send", paths.run_id, "resume") == 0
    assert "no worker starts it" in capsys.readouterr().err


def test_up_offers_once_to_adopt_what_is_there(tmp_path, capsys):
    arrived(tmp_path)
    adopting.offer(tmp_path)
    assert "1 of the runs in" in (said := capsys.readouterr().out) and "hankelboard adopt --all" in said
    adopting.offer(tmp_path)
    assert capsys.readouterr().out == ""
    assert not any(map(tickets.holds, [run_paths(tmp_path, folder.name) for folder in tmp_path.glob("2*")]))


def test_what_a_browser_may_name_is_handed_to_the_web_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(limits.ALLOW_CODE, "other")
    options = build_parser().parse_args(
        ["up", "--allow-code", "mine", "--allow-code", "yours:Model", "--allow-folder", "shared"]
    )
    for name, value in serving._allowed(options).items():
        monkeypatch.setenv(name, value)
    allowed = limits.of_browser()
    assert allowed.code == ("mine", "yours:Model", "other")
    assert allowed.folders == (str(tmp_path), str(tmp_path / "shared"))
