"""The folder of runs is a folder: addresses of other places are refused with what to do instead."""

from pathlib import Path

import pytest

from hankelboard.storage.errors import ConfigError
from hankelboard.storage.layout import runs_directory
from hankelboard.trainer.cli import main

ADDRESSES = [
    "s3://bucket/runs",
    "gs://b",
    "S3://b/r",
    "ssh://host/runs",
    "hdfs://n:9000/r",
    "abfs+x.y-z://c/r",
]


@pytest.mark.parametrize("address", [*ADDRESSES, Path("s3://bucket/runs")])
def test_an_address_is_refused_with_a_recipe(address, monkeypatch):
    monkeypatch.setenv("HANKELBOARD_RUNS", str(address))
    for given in (address, None):
        with pytest.raises(ConfigError, match=r"mount it as a folder .* rsync"):
            runs_directory(given)
    with pytest.raises(ConfigError, match="without file://"):
        runs_directory("file:///data/runs")


@pytest.mark.parametrize(
    "command", [["runs"], ["web"], ["worker", "--once"], ["new", "--preset", "digits-lru"]]
)
def test_no_command_makes_a_folder_of_that_name(command, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*command, "--runs-dir", "s3://bucket/runs"]) == 2
    assert "rclone mount" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("folder", ["runs", "/data/runs", "a:b", "./s3:/x", "C:/runs"])
def test_odd_names_of_folders_are_folders(folder):
    assert runs_directory(folder) == Path(folder)
