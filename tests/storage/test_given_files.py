"""Files that people give: a byte order mark is passed over; what has no end is refused in one line."""

import os

import pytest

from hankelboard.comparison.reading import read_csv
from hankelboard.settings.suite import load_suite
from hankelboard.settings.toml import parse_assignment, read_toml
from hankelboard.storage.errors import ConfigError
from hankelboard.storage.given_files import MAX_SETTINGS_BYTES, read_given_text

BOM = b"\xef\xbb\xbf"


def test_a_byte_order_mark_is_passed_over(tmp_path):
    file = tmp_path / "windows.toml"
    file.write_bytes(BOM + b"[training]\r\nsteps = 3\r\n")
    assert read_toml(file) == {"training": {"steps": 3}}
    file.write_bytes(BOM + b'preset = "digits-lru"\n[[series]]\nname = "a"\n')
    assert load_suite(str(file)).series[0].name == "a"


def test_a_file_may_be_reached_by_a_link(tmp_path):
    (tmp_path / "real.toml").write_text("a = 1")
    (tmp_path / "link.toml").symlink_to("real.toml")
    assert read_toml(tmp_path / "link.toml") == {"a": 1}


def pipe(path):
    os.mkfifo(path)
    return path


def endless(path):
    with path.open("wb") as file:
        file.truncate(MAX_SETTINGS_BYTES + 1)
    return path


def written(text):
    def write(path):
        path.write_bytes(text)
        return path

    return write


REFUSED = {
    "device": (lambda path: path.parent / "zero.toml", "is not a plain file"),
    "pipe": (pipe, "is not a plain file"),
    "folder": (lambda path: path.mkdir() or path, "is a folder"),
    "huge": (endless, "is larger than 262,144 bytes"),
    "absent": (lambda path: path, "No such file"),
    "utf-16": (written("a = 1".encode("utf-16")), "is not UTF-8"),
    "lists": (written(b"a = " + b"[" * 5000 + b"]" * 5000), "deep"),
    "tables": (written(b"a = " + b"{a = " * 5000 + b"1" + b"}" * 5000), "deep"),
    "dots": (written(b".".join([b"a"] * 100_000) + b" = 1"), "deep"),
    "quoted dots": (written(b" . ".join([b'"a.\\""'] * 20_000) + b" = 1"), "deep"),
    "headers": (written(b"[" + b".".join([b"a"] * 20) + b"]"), "deep"),
    "digits": (written(b"a = " + b"1" * 5000), "integer string conversion"),
    "no TOML": (written(b"\0"), "Invalid"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_file_of_settings_is_refused_in_one_line(tmp_path, name):
    make, why = REFUSED[name]
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match=why) as refused:
        read_toml(make(tmp_path / "given.toml"))
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    "assignment",
    [
        "a=" + "[" * 5000,
        "a=" + "[" * 20 + "]" * 20,
        ".".join("a" * 20) + "=1",
        "a={" + ".".join("a" * 100_000) + "=1}",
    ],
)
def test_an_assignment_of_great_depth_is_refused(assignment):
    with pytest.raises(ConfigError, match="deep"):
        parse_assignment(assignment)


def test_a_number_of_thousands_of_digits_is_a_text_in_an_assignment():
    assert parse_assignment("a=" + "1" * 5000) == {"a": "1" * 5000}


def test_a_table_of_runs_is_refused_where_it_is_none(tmp_path):
    pipe(tmp_path / "p.csv")
    (tmp_path / "w.csv").write_bytes(BOM + b"run,name\nx\n")
    (tmp_path / "q.csv").write_bytes(b'run,"name\n')
    (tmp_path / "f.csv").write_bytes(b"run\n" + b"x" * 200_000)
    for name in "pwqf":
        with pytest.raises(ConfigError, match=f"{name}.csv"):
            read_csv(tmp_path / f"{name}.csv")


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_a_name_that_no_file_can_have_is_refused(tmp_path, name):
    with pytest.raises(ConfigError):
        read_given_text(tmp_path / name)
