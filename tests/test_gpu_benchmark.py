"""What `make gpu` runs, on a CPU with tiny shapes; and that a piece that fails leaves the others alone."""

import contextlib
import csv
import io
import sys
from pathlib import Path

import pytest

from benchmarks import gpu
from hankelboard.trainer.cli import main as hankelboard


@pytest.mark.parametrize("piece", ["machine", "scifar", "kernels", "decode", "forms"])
def test_a_piece_has_a_figure_or_a_reason_in_every_row(piece: str) -> None:
    rows = list(gpu.PIECES[piece](gpu.Plan(dry=True)))
    assert rows
    allowed = ("not installed", "left out", "it needs cuda")
    assert [row for row in rows if not row[1] and not row[3].startswith(allowed)] == []


def test_a_real_run_trains_and_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    def command(*words: str) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            assert hankelboard(words) == 0
        return output.getvalue()

    monkeypatch.setattr(gpu, "command", command)
    ((what, seconds, _, note),) = gpu.training(gpu.Plan(dry=True))
    assert what == "digits-lru, 4 steps"
    assert float(seconds) > 0
    assert "states at the end" in note


def test_a_piece_that_fails_keeps_its_rows_and_says_why() -> None:
    script = (
        'import json; print(json.dumps(["a", "1", "ms", ""]), flush=True); raise RuntimeError("no such GPU")'
    )
    rows = gpu.collected("kernels", [sys.executable, "-c", script], 60)
    assert rows == [("a", "1", "ms", ""), ("kernels", "", "", "RuntimeError: no such GPU")]


def test_a_piece_that_takes_too_long_is_stopped() -> None:
    rows = gpu.collected("kernels", [sys.executable, "-c", "import time; time.sleep(600)"], 0.1)
    assert rows == [("kernels", "", "", "stopped after 1 s")]


def test_a_figure_that_fails_is_a_row() -> None:
    row = gpu.timed(gpu.Plan(dry=True), "step", lambda: 1 / 0)
    assert row == ("step", "", "ms", "ZeroDivisionError: division by zero")


def test_all_pieces_fit_into_eight_minutes() -> None:
    assert set(gpu.LIMITS) == set(gpu.PIECES)
    assert sum(gpu.LIMITS.values()) <= 480


def test_tables_are_written(tmp_path: Path) -> None:
    gpu.written(tmp_path, [("kernels", "a|b", "1", "ms", "")])
    with (tmp_path / "gpu.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [list(gpu.HEAD), ["kernels", "a|b", "1", "ms", ""]]
    assert (tmp_path / "gpu.md").read_text().splitlines()[-1] == "| kernels | a/b | 1 | ms |  |"
