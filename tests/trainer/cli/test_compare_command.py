"""The command compare: which runs it takes, each once, and what it says of those that it leaves out."""

import pytest

from hankelboard.storage.commands import add_note
from hankelboard.trainer.cli import main
from tests.app.synthetic_run import SyntheticRun


@pytest.fixture
def runs(tmp_path):
    """Two seeds that were cut and one of a baseline, finished, of the group demo."""
    made = [("Cut", "compressed", 1), ("Cut", "compressed", 2), ("Full", "baseline", 1)]
    found = []
    for name, role, seed in made:
        run = SyntheticRun(tmp_path, name=name, role=role, seed=seed).start().train(200)
        test = {"loss": 0.2, "accuracy": 0.9 + seed / 100}
        run.event("run_finished", best=run.best, test=test, train_s=run.train_s)
        found.append(run)
    return found


@pytest.fixture
def compare(tmp_path, capsys):
    """Runs the command; returns its exit code and what it printed and complained about."""

    def run(*arguments):
        code = main(["compare", *map(str, arguments), "--runs-dir", str(tmp_path)])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def test_an_archived_run_of_a_group_is_left_out_and_said_so(runs, compare):
    full = runs[-1]
    add_note(full.paths, "archive", True, by="ada", via="cli")
    code, said = compare("demo", "--markdown")
    assert code == 0 and "2 runs in 1 series" in said
    assert f"Left out: {full.id}: archived" in said and "| Full |" not in said
    _, said = compare("demo", full.id, "--markdown")
    assert "3 runs in 2 series" in said and "Left out" not in said, "it was asked for by its name"


def test_a_damaged_run_is_told_and_the_others_are_compared(runs, compare, tmp_path):
    runs[0].paths.run_json.write_text("{")
    code, said = compare(*(run.id for run in runs), "--html", tmp_path / "report.html", "--markdown")
    assert code == 0 and "2 runs in 2 series" in said and f"Left out: {runs[0].id}" in said
    assert "<svg" in (tmp_path / "report.html").read_text()


def test_a_run_counts_once_however_often_it_is_named(runs, compare, tmp_path):
    table = tmp_path / "demo.csv"
    assert compare("demo", "--csv", table)[0] == 0
    _, said = compare("demo", table, runs[0].id, runs[0].id, "--markdown")
    assert "3 runs in" in said
    assert len(table.read_text().splitlines()) == 1 + 3


def test_a_baseline_that_is_not_compared_is_refused(runs, compare):
    code, said = compare("demo", "--baseline", "Ful")
    assert code == 2 and "baseline 'Ful' is no run or series of this comparison; there are" in said
    code, said = compare("demo", "--baseline", "Cut", "--markdown")
    assert code == 0 and "| Cut | 2 |" in said and "91.00 % / 92.00 % | baseline |" in said


@pytest.mark.parametrize("option", ["--html", "--csv"])
def test_a_file_that_cannot_be_written_is_named(runs, compare, tmp_path, option):
    code, said = compare("demo", option, tmp_path / "none" / "file")
    assert code == 2 and f"{tmp_path}/none/file: cannot be written: No such file or directory" in said
