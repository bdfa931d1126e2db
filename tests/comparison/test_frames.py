"""Journals as tables: columns, what is there of a run that has not begun, and what cannot be written."""

import math

import pandas as pd
import pytest

from hankelboard.comparison import frames
from hankelboard.storage.errors import ConfigError, RunNotFound
from hankelboard.storage.journal import Journal
from tests.app.synthetic_run import SyntheticRun


def test_journals_are_tables_in_one_call(tmp_path):
    run = SyntheticRun(tmp_path, state_dim=8).start().train(200)
    table = frames.metrics(str(run.paths.root))
    assert len(table) == 20 and table["live"].all() and table["val/accuracy"].notna().sum() == 2
    with Journal(run.paths.spectra) as journal:
        where = {"step": 200, "branch": 0, "attempt": 0, "layer": 0, "state_dim": 2}
        journal.append({**where, "hsv": None})
        journal.append({**where, "hsv": [2.0, math.nan]})
    states = frames.spectra(run.paths.root)
    assert states["hsv"].dtype == "float64" and states["index"].dtype == "int64"
    assert states["hsv"].isna().sum() == 1, "what was not finite is a gap, what does not fit is left out"
    first = states[(states["step"] == 0) & (states["layer"] == 0)]
    assert first["index"].tolist() == list(range(1, 9)) and first["hsv"].is_monotonic_decreasing


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_run_that_has_not_begun_gives_tables_without_rows(tmp_path, ending):
    run = SyntheticRun(tmp_path)
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet}[ending]
    for name, column in (("metrics", "step"), ("spectra", "hsv")):
        file = tmp_path / f"{name}.{ending}"
        frames.write(getattr(frames, name)(run.paths.root), file)
        again = read(file)
        assert len(again) == 0 and {column, "live"} <= set(again.columns)


def test_a_folder_that_is_not_there_is_no_run_without_records(tmp_path):
    with pytest.raises(RunNotFound, match="no such run directory"):
        frames.metrics(tmp_path / "runs" / "typo")


def test_where_nothing_can_be_written_the_file_is_named(tmp_path):
    table = frames.metrics(SyntheticRun(tmp_path).paths.root)
    for name in ("none/m.csv", "none/m.parquet"):
        with pytest.raises(ConfigError, match=f"{tmp_path}/{name}: cannot be written"):
            frames.write(table, tmp_path / name)
    with pytest.raises(ConfigError, match=r"must end in .csv or .parquet"):
        frames.write(table, tmp_path / "m.xls")
