"""The command line as a shell sees it: exit codes, one line per error, JSON that can be read."""

import argparse
import getpass
import json
import subprocess
import sys

import pytest

from hankelboard.storage.commands import read_command
from hankelboard.storage.layout import run_paths
from hankelboard.storage.runs import RunLock, create_run, read_run
from hankelboard.trainer.cli import main
from hankelboard.trainer.cli.arguments import whose


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    folder = tmp_path / "runs"
    monkeypatch.setenv("HANKELBOARD_RUNS", str(folder))
    monkeypatch.setenv("HANKELBOARD_USER", "ada")
    return folder


@pytest.fixture
def call(capsys):
    """Runs a command in this process; returns (exit code, stdout, stderr)."""

    def run(*arguments):
        try:
            code = main(arguments)
        except SystemExit as error:
            code = error.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def asked(small_run, call, runs):
    """A run that stopped while a proposal waits."""
    run = small_run(reduction={"policy": "ask", "steps": [20]})
    with run.training():
        run.wait_pending(1)
        run.send("stop")
    run.paths.root.rename(moved := make(runs) / run.paths.run_id)
    call("runs")
    return run_paths(runs, moved.name)


def make(folder):
    folder.mkdir(exist_ok=True)
    return folder


def test_a_baseline_that_needs_a_run_says_so_and_takes_the_end_of_an_id(call, runs):
    code, _, said = call("new", "--preset", "digits-distilled")
    assert code == 2 and "distillation.teacher: preset digits-distilled needs a run here" in said
    code, _, said = call("new", "--preset", "digits-distilled", "--set", "distillation.teacher=nobody")
    assert code == 2 and "distillation.teacher" in said and "nobody" in said
    code, teacher, _ = call("new", "--preset", "digits-baseline", "--json")
    teacher = json.loads(teacher)["run"]
    code, student, _ = call(
        "new", "--preset", "digits-distilled", "--set", f"distillation.teacher={teacher[-4:]}", "--json"
    )
    assert code == 0
    run = read_run(run_paths(runs, json.loads(student)["run"]))
    assert run.config["distillation"]["teacher"] == teacher and run.role == "distilled"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--preset", "digits-lrx"], ["digits-lrx", "digits-lru"]),
        (["--preset", "digits-lru", "--set", "training.stepz=3"], ["training.stepz", "training.steps"]),
        (["--preset", "digits-lru", "--set", "training.steps=-1"], ["training.steps = -1", "at least 0"]),
        (["--preset", "digits-lru", "--set", "training.steps"], ["training.steps", "section.key=value"]),
        (["--preset", "digits-lru", "--config", "absent.toml"], ["absent.toml"]),
        (["--preset", "digits-lru", "--set", "model.family=mambaa"], ["mambaa", "did you mean mamba?"]),
        (
            ["--preset", "digits-attention", "--set", "model.options.hedas=2"],
            ["model.options.hedas = 2", "family attention has the options heads, value_dim"],
        ),
        (["--preset", "digits-lru", "--set", "data.task=digitz"], ["data.task = 'digitz'", "digits?"]),
        (["--preset", "mqar-mamba2", "--set", "data.options.pairs=22"], ["data.options.pairs = 22", "third"]),
    ],
)
def test_bad_input_is_one_line_and_creates_nothing(call, runs, arguments, words):
    code, out, err = call("new", *arguments)
    assert code in (1, 2) and out == "" and err.count("\n") == 1
    assert all(word in err for word in words)
    assert not runs.exists()


def test_wrong_usage_is_exit_code_2(call):
    assert call("new")[0] == 2
    assert call("frobnicate")[0] == 2
    assert call("new", "--preset", "digits-lru", "--policy", "perhaps")[0] == 2
    assert call("new", "--preset", "digits-lru", "--set", "training.steps=-1")[0] == 2


@pytest.mark.parametrize("ranks", ["a,b", "1.5,2", "", "20;24"])
def test_ranks_that_are_no_numbers_are_told_how_to_write_them(call, ranks):
    code, _, err = call("decide", "RUN", "1", "approve", "--ranks", ranks)
    assert code == 2 and f"{ranks!r}: must be whole numbers, one per layer, such as 20,24" in err


@pytest.mark.parametrize(
    ("queue", "advice"), [([], "queued"), (["--no-queue"], "train it with: hankelboard run")]
)
def test_new_prints_the_id_alone_so_that_a_script_can_take_it(call, runs, queue, advice):
    code, out, err = call("new", "--preset", "digits-lru", *queue)
    assert code == 0 and (runs / out.removesuffix("\n")).is_dir() and advice in err


def test_new_and_show(call, runs):
    code, out, _ = call("new", "--preset", "digits-lru", "--policy", "auto", "--set", "training.seed=7",
                        "--no-queue", "--json")  # fmt: skip
    run = json.loads(out)["run"]
    assert code == 0 and (runs / run).is_dir()
    shown = json.loads(call("show", run, "--json")[1])
    assert {"run", "state", "phase", "step", "total_steps", "branch", "state_dims", "pending_proposal",
            "best"} <= set(shown)  # fmt: skip
    assert (shown["state"], shown["seed"], shown["queued"]) == ("queued", 7, False)
    assert run in call("runs")[1]
    assert {"name", "family", "task", "role", "description"} <= set(
        json.loads(call("presets", "--json")[1])[0]
    )


def test_an_unknown_run_is_named(call):
    code, _, err = call("show", "nothing-here")
    assert code == 1 and "nothing-here" in err
    assert call("show", "../../etc/passwd")[0] == 1


def test_decide_and_what_is_refused(call, asked):
    listed = json.loads(call("proposals", asked.run_id, "--json")[1])
    assert [row["state"] for row in listed] == ["pending"]
    for arguments, words in (
        (["1", "approve", "--ranks", "99,1"], "rank 99 is outside 1…12"),
        (["1", "approve", "--ranks", "5"], "1 ranks given, the proposal has 2 layers"),
        (["7", "approve"], "has no proposal 7 (there: 1)"),
    ):
        code, _, err = call("decide", asked.run_id, *arguments)
        assert code == 1 and words in err
    assert call("decide", asked.run_id, "1", "reject", "--ranks", "5,5")[0] == 2
    code, out, err = call("decide", asked.run_id, "1", "approve", "--ranks", "5,6", "--json")
    assert code == 0 and json.loads(out)["ranks"] == [5, 6]
    code, _, err = call("decide", asked.run_id, "1", "reject")
    assert code == 1 and "already approved by ada at 20" in err
    assert call("run", asked.run_id)[0] == 0
    shown = json.loads(call("show", asked.run_id, "--json")[1])
    assert (shown["state"], shown["state_dims"]) == ("finished", [5, 6])
    assert call("verify", asked.run_id)[0] == 0


def test_a_name_that_was_said_is_recorded_as_said(call, asked):
    grace = ("--by", "Grace Hopper")
    assert call("decide", asked.run_id, "1", "approve", "--ranks", "5,6", *grace)[0] == 0
    assert call("send", asked.run_id, "resume", *grace)[0] == 0
    assert call("run", asked.run_id)[0] == 0
    events = [json.loads(line) for line in asked.events.read_text().splitlines()]
    named = {event["kind"]: (event["by"], event["by_role"]) for event in events if event.get("by")}
    assert named["decision_accepted"] == named["command_applied"] == ("Grace Hopper", "said")
    assert "Grace Hopper, said" in call("proposals", asked.run_id)[1]


@pytest.mark.parametrize(
    ("by", "user", "recorded"),
    [
        ("grace", "ada", ("grace", "said")),
        (None, "ada", ("ada", "said")),
        (None, "", (getpass.getuser(), "account")),
    ],
)
def test_the_login_name_is_that_of_an_account_and_every_other_one_was_said(monkeypatch, by, user, recorded):
    monkeypatch.setenv("HANKELBOARD_USER", user)
    who = whose(argparse.Namespace(by=by))
    assert (who["by"], who["by_role"]) == recorded


@pytest.mark.parametrize("name", ["policy:timeout", "two\nlines", " ", "x" * 300])
def test_a_name_that_cannot_be_is_refused(call, runs, name):
    code, _, err = call("new", "--preset", "digits-lru", "--by", name)
    assert code == 2 and "--by" in err and not runs.exists()


def test_rollback_of_a_finished_run_waits_for_the_next_trainer(call, asked):
    call("decide", asked.run_id, "1", "approve")
    call("run", asked.run_id)
    code, _, err = call("send", asked.run_id, "pause")
    assert code == 1 and "finished; roll back to a checkpoint" in err
    code, out, _ = call("run", asked.run_id)
    assert code == 0 and "is finished" in out
    rows = json.loads(call("checkpoints", asked.run_id, "--json")[1])
    start = next(row["checkpoint"] for row in rows if row["cause"] == "start")
    code, out, err = call("rollback", asked.run_id, start, "--policy", "keep")
    assert code == 0 and "requested" in out and "no worker is running" in err
    assert call("rollback", asked.run_id, "b9-00000000-a0-0001")[0] == 1
    assert call("run", asked.run_id)[0] == 0
    shown = json.loads(call("show", asked.run_id, "--json")[1])
    assert (shown["branch"], shown["state"], shown["policy"]) == (1, "finished", "keep")


def test_what_changed_is_accepted_in_a_command(call, asked):
    assert call("send", asked.run_id, "pause", "--accept-changes")[0] == 2
    code, out, _ = call("send", asked.run_id, "resume", "--accept-changes", "--json")
    assert code == 0 and read_command(asked, json.loads(out)["command_id"]).accept_changes


def test_verify_names_what_is_damaged(call, asked):
    name = json.loads(call("checkpoints", asked.run_id, "--json")[1])[0]["checkpoint"]
    model = asked.root / "checkpoints" / name / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-1] + b"\x7f")
    code, out, _ = call("verify", asked.run_id)
    assert code == 1 and f"checkpoints/{name}" in out and "SHA-256" in out


def test_run_refuses_what_another_process_trains(call, asked):
    with RunLock(asked):
        code, _, err = call("run", asked.run_id)
    assert code == 1 and "is being trained by another process" in err


def test_commands_that_only_read_or_write_the_directory_import_no_torch(asked):
    for arguments in (
        ["presets", "--json"], ["runs"], ["show", asked.run_id], ["proposals", asked.run_id],
        ["checkpoints", asked.run_id], ["verify", asked.run_id], ["send", asked.run_id, "resume"],
        ["decide", asked.run_id, "1", "approve"], ["new", "--preset", "digits-lru"],
    ):  # fmt: skip
        code = (
            "import sys; from hankelboard.trainer.cli import main; code = main(sys.argv[1:]); "
            "assert not {'torch', 'numpy'} & set(sys.modules), 'heavy'; sys.exit(code)"
        )
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, (arguments, done.stderr)


def test_a_used_port_is_named_with_the_way_out(call):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = call("up", "--port", str(port))
    assert code == 1 and f"port {port}" in err and "--port" in err


def test_policy_and_scheduled_commands_are_carried_out_when_the_run_starts(call):
    keys = ("model.state_dim=12", "model.width=8", "training.steps=60", "training.threads=1")
    sets = [part for key in keys for part in ("--set", key)]
    run = json.loads(call("new", "--preset", "digits-lru", *sets, "--no-queue", "--json")[1])["run"]
    assert call("policy", run)[0] == 1
    assert call("policy", run, "keep", "--waiting", "train")[0] == 0
    assert call("send", run, "stop", "--at-step", "20", "--reason", "enough")[0] == 0
    assert call("run", run)[0] == 0
    shown = json.loads(call("show", run, "--json")[1])
    assert (shown["state"], shown["step"], shown["policy"], shown["waiting"]) == (
        "stopped", 20, "keep", "train",
    )  # fmt: skip
    code, _, err = call("send", run, "kill")
    assert code == 1 and "the run is stopped" in err


COMMANDS = (
    "show", "proposals", "checkpoints", "verify", "send {} pause", "decide {} 1 approve", "policy {} auto",
    "measure {} 1", "rollback {} b0-00000000-a0-0001", "analyse", "export --metrics m.csv",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_of_a_newer_format_is_refused_in_a_sentence(call, runs, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    paths = run_paths(make(runs), create_run(runs, name="from the future", config={}).id)
    record = json.loads(paths.run_json.read_text()) | {"format_version": 3}
    paths.run_json.write_text(json.dumps(record))
    arguments = command.format(paths.run_id) if "{}" in command else f"{command} {paths.run_id}"
    code, _, said = call(*arguments.split())
    assert code == 1 and "written by a newer Hankelboard (format 3; this one reads up to 2); upgrade" in said
    assert sorted(path.name for path in paths.inbox.iterdir()) == []
    _, listed, _ = call("runs")
    assert "written by a newer Hankelboard (format 3" in listed


def test_a_proposal_that_does_not_fit_is_named(call, asked):
    record = json.loads(asked.proposal(1).read_text()) | {"tolerance": {}}
    asked.proposal(1).write_text(json.dumps(record))
    for command in ("proposals", "verify"):
        code, out, err = call(command, asked.run_id)
        assert code == 1
        assert "damaged: proposals/000001.json: tolerance: must be a number from 0 to 1" in out + err
