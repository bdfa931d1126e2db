"""A training environment without dashboard: these packages are not installed, as far as a process can see."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ABSENT = (
    "streamlit", "pandas", "pyarrow", "altair", "watchdog", "tensorboard", "vl_convert", "honcho", "sklearn",
)  # fmt: skip
PROGRAM = f"""
import sys
from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *where: None if name in {ABSENT} else find(name, *where)
from hankelboard.trainer.cli import main
sys.exit(main())
"""
SHORT = (
    "training.steps=30", "training.threads=1", "training.log_every=5", "training.evaluate_every=10",
    "model.width=8", "model.state_dim=12", "reduction.steps=[10]", "reduction.tolerance=0.5",
    "reduction.evidence_samples=32",
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def hankelboard(runs):
    """Run a command without the packages; return (exit code, stdout, stderr)."""

    def run(*arguments):
        command = [sys.executable, "-P", "-c", PROGRAM, *map(str, arguments), "--runs-dir", str(runs)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture(scope="module")
def trained(hankelboard):
    """Id and log of a run that was cut, with TensorBoard asked for as by default."""
    keys = [word for key in SHORT for word in ("--set", key)]
    code, said, error = hankelboard(
        "new", "--preset", "digits-lru", "--policy", "auto", "--no-queue", *keys, "--json"
    )
    assert code == 0, error
    run = json.loads(said)["run"]
    code, log, error = hankelboard("run", run)
    assert code == 0, error
    return run, log


def test_it_trains_and_cuts_and_says_in_one_line_that_tensorboard_is_missing(hankelboard, trained):
    log = trained[1]
    assert "reduction_applied" in log
    assert len([line for line in log.splitlines() if "tensorboard" in line.lower()]) == 1
    assert "No module named 'tensorboard'; pip install tensorboard\n" in log


def test_it_exports_verifies_and_compares(hankelboard, trained, tmp_path):
    run, _ = trained
    assert hankelboard("export", run, "last", tmp_path / "model")[0] == 0
    assert (tmp_path / "model" / "loader.py").is_file()
    for line in ("show RUN", "runs", "verify RUN", "proposals RUN", "compare RUN --markdown", "presets",
                 "suite", f"compare RUN --csv {tmp_path}/runs.csv"):  # fmt: skip
        command = line.replace("RUN", run).split()
        code, _, error = hankelboard(*command)
        assert code == 0, f"{command}: {error}"


@pytest.mark.parametrize(
    ("arguments", "missing", "install"),
    [
        (("export", "{run}", "--metrics", "m.csv"), "pandas", "pandas pyarrow"),
        (("export", "{run}", "last", "model", "--spectra", "s.parquet"), "pandas, pyarrow", "pandas pyarrow"),
        (("compare", "{run}", "--html", "report.html"), "altair, vl_convert", "'hankelboard[report]'"),
        (("up",), "streamlit, pandas, altair, pyarrow, watchdog", "hankelboard"),
        (("demo",), "streamlit, pandas, altair, pyarrow, watchdog", "hankelboard"),
    ],
)
def test_what_needs_more_says_what_to_install(hankelboard, trained, runs, arguments, missing, install):
    before = sorted(path.name for path in runs.iterdir())
    code, said, error = hankelboard(*(word.format(run=trained[0]) for word in arguments))
    assert (code, said) == (2, "")
    assert error.startswith("hankelboard: ") and error.endswith(f" needs {missing}: pip install {install}\n")
    assert error.count("\n") == 1
    assert sorted(path.name for path in runs.iterdir()) == before
    assert not (ROOT / "model").exists()
