"""`hankelboard worth` as a shell sees it."""

import json
import signal

import pytest

from hankelboard.trainer.cli import main
from hankelboard.trainer.worth import search

TINY = ["--preset", "digits-lru", "--set", "training.steps=8", "--set", "model.state_dim=4",
        "--set", "training.batch=8", "--set", "training.threads=1", "--set", "model.width=4",
        "--set", "reduction.evidence_samples=20"]  # fmt: skip


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    """Runs `worth` in this process; returns (exit code, stdout, stderr)."""
    monkeypatch.setenv("HANKELBOARD_RUNS", str(tmp_path / "runs"))

    def run(*arguments):
        code = main(["worth", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_it_answers_in_json_and_creates_no_run(call, tmp_path):
    handler = signal.getsignal(signal.SIGTERM)
    code, out, said = call(*TINY, "--json", "--budget", "6")
    record = json.loads(out)
    assert code == 0 and record["updates"] == 6 * 8 and record["seeds"] == [0, 1, 2]
    assert {"verdict", "why", "gaps", "step_s", "words", "seconds", "trainings"} <= set(record)
    assert (record["states"], record["total_steps"]) == ({"1": [4, 4], "4": [1, 1]}, 8)
    assert said.count("8 updates, seed") == 6 and "6 times those of the training itself" in said
    assert not (tmp_path / "runs").exists() and signal.getsignal(signal.SIGTERM) == handler


def test_it_answers_people_in_words_by_a_file_alone(call, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('data = "tones"\n[training]\nsteps = 400\n[reduction]\nthreshold = 0.03\n')
    code, out, _ = call("--config", str(file), "--budget", "0.01")
    assert code == 0 and out.startswith("Cannot tell: the budget is too small for a single short run.")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "say --preset NAME, --config FILE, or both"),
        (["--preset", "digits-lruu"], "unknown preset"),
        (["--preset", "digits-lru", "--set", "training.step=3"], "unknown key training.step"),
        (["--preset", "digits-lru", "--set", "model.state_dim=0"], "model.state_dim"),
        (["--preset", "digits-lru", "--set", "model.state_dim=1"], "there is nothing smaller"),
        (["--preset", "digits-lru", "--set", "model.family=my.code:Model"], "a model of your own"),
        (["--preset", "digits-lru", "--set", "start.run=other"], "start.run: worth compares networks"),
        (["--preset", "digits-lru", "--seeds", "2"], "--seeds 2: must be at least 3"),
        (["--preset", "digits-lru", "--budget", "-1"], "--budget -1.0: must be a number above 0"),
        (["--preset", "digits-lru", "--margin", "nan"], "--margin nan: must be a number above 0"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_reason(call, arguments, says):
    code, out, said = call(*arguments)
    assert code == 2 and says in said and not out


def test_ctrl_c_ends_it_without_an_answer(call, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "train_short", interrupted)
    code, out, said = call(*TINY)
    assert (code, out) == (130, "") and "stopped: no answer, and nothing is kept" in said
