"""Journals as tables: metrics and spectra of a run as a pandas DataFrame, in one call.

>>> from hankelboard.comparison.frames import metrics                       # doctest: +SKIP
>>> metrics("runs/20261124-041003-digits-lru-k3qf")             # doctest: +SKIP
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from hankelboard.comparison.cells import for_spreadsheet
from hankelboard.storage.errors import ConfigError, RunNotFound
from hankelboard.storage.history import read_history
from hankelboard.storage.journal import JournalReader, metrics_reader, spectra_reader
from hankelboard.storage.layout import RunPaths


def metrics(run: str | os.PathLike[str]) -> pd.DataFrame:
    """Return all metrics of a run directory, one row a record; `live`: whether it lies on the live path."""
    paths = RunPaths(Path(run))
    return _frame(paths, metrics_reader(paths), ALWAYS)


def spectra(run: str | os.PathLike[str]) -> pd.DataFrame:
    """Return all spectra of a run directory, one row per snapshot, layer and state (index from 1)."""
    paths = RunPaths(Path(run))
    frame = _frame(paths, spectra_reader(paths), (*ALWAYS, "layer", "state_dim", "hsv"))
    frame = frame.assign(index=frame["hsv"].map(lambda values: list(range(1, len(values) + 1))))
    return frame.explode(["index", "hsv"], ignore_index=True).astype({"index": "int64", "hsv": "float64"})


ALWAYS = ("t", "step", "branch", "attempt")


def _frame(paths: RunPaths, reader: JournalReader, always: Sequence[str]) -> pd.DataFrame:
    """Return a journal as a table that always has these columns. Raises RunNotFound."""
    if not paths.root.is_dir():
        raise RunNotFound(f"{paths.root}: no such run directory")
    history = read_history(paths)
    records = [{**record, "live": history.on_path(record)} for record in reader.read_new()]
    return pd.DataFrame(records, columns=None if records else [*always, "live"])


def write(frame: pd.DataFrame, file: Path) -> None:
    """Write a table as CSV or Parquet, by the ending of the name.

    Raises
    ------
    ConfigError
        If the name ends otherwise, or the file cannot be written.
    """
    writers: dict[str, Callable[[], object]] = {
        ".csv": lambda: _for_spreadsheets(frame).to_csv(file, index=False, encoding="utf-8"),
        ".parquet": lambda: frame.to_parquet(file, index=False),
    }
    if file.suffix not in writers:
        raise ConfigError(f"{file}: must end in {' or '.join(writers)}")
    try:
        writers[file.suffix]()
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror or error}") from None


def _for_spreadsheets(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table in whose texts and names of columns no spreadsheet finds a formula."""
    texts = frame.select_dtypes(exclude="number").columns
    safe = frame.assign(**{name: frame[name].map(for_spreadsheet) for name in texts})
    return safe.rename(columns=for_spreadsheet)
