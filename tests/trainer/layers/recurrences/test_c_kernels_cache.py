"""Where compiled kernels come from: never from what another account could have written, and never needed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hankelboard.storage.errors import ConfigError
from hankelboard.trainer.layers.recurrences import installed_kernels, scan_choice
from hankelboard.trainer.layers.recurrences.c_kernels import cache, compiler
from hankelboard.trainer.layers.recurrences.c_kernels.library import library
from hankelboard.trainer.layers.recurrences.c_kernels.unavailable import Unavailable
from hankelboard.trainer.layers.recurrences.installed_kernels import OWN, C
from tests.waiting import until

OBTAIN = "from hankelboard.trainer.layers.recurrences.c_kernels import compiler; print(compiler.obtain()[0])"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty cache, and nothing known about compilers."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(installed_kernels.VARIABLE, raising=False)
    library.cache_clear()
    installed_kernels.refusal.cache_clear()
    yield tmp_path / "cache" / "hankelboard" / "kernels"
    library.cache_clear()
    installed_kernels.refusal.cache_clear()


@pytest.fixture
def cc(tmp_path, monkeypatch):
    """Make a compiler of a line of shell, which is also what it says its version is."""

    def make(line):
        script = tmp_path / "cc"
        script.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo mine 1.0 && exit\n{line}\n')
        script.chmod(0o755)
        monkeypatch.setenv("CC", str(script))

    return make


MAKES = 'while [ "$1" != -o ]; do shift; done; echo library > "$2"'
"""A compiler that works, and quickly."""


def test_a_library_is_made_once_and_found_again(home, cc, monkeypatch):
    cc(MAKES)
    path, version = compiler.obtain()
    assert path.read_text() == "library\n" and version == "mine 1.0"
    assert [path] == list(home.iterdir())
    assert path.stat().st_mode & 0o777 == 0o600 and home.stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(compiler.Compiler, "build", None)
    assert compiler.obtain() == (path, version)


@pytest.mark.parametrize("what", ["SOURCES", "FLAGS", "_processor", "version"])
def test_another_source_flag_processor_or_compiler_is_another_library(home, cc, tmp_path, monkeypatch, what):
    cc(MAKES)
    before, _ = compiler.obtain()
    (tmp_path / "more.h").write_text("/* more */")
    if what == "version":
        script = Path(os.environ["CC"])
        script.write_text(script.read_text().replace("1.0", "1.1"))
    else:
        more = {
            "SOURCES": (*compiler.SOURCES, tmp_path / "more.h"),
            "FLAGS": ("-O1",),
            "_processor": lambda: "other",
        }
        monkeypatch.setattr(compiler, what, more[what])
    assert compiler.obtain()[0].name.partition("-")[0] != before.name.partition("-")[0]


def torn(path):
    path.write_bytes(path.read_bytes()[:4])


def changed(path):
    path.write_bytes(b"LIBRARY\n")


def linked(path):
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))


def shared(path):
    path.chmod(0o666)


@pytest.mark.parametrize("harm", [torn, changed, linked, shared])
def test_a_library_that_is_not_as_it_was_made_is_made_again(home, cc, harm):
    cc(MAKES)
    path, _ = compiler.obtain()
    harm(path)
    assert cache.find(home, path.name.partition("-")[0]) is None
    again, _ = compiler.obtain()
    assert again == path and not path.is_symlink() and path.read_text() == "library\n"


def test_a_folder_that_others_may_write_is_refused(home, cc):
    cc(MAKES)
    compiler.obtain()
    for folder in (home, home.parent):
        for mode in (0o770, 0o707):
            folder.chmod(mode)
            with pytest.raises(Unavailable, match=f"{folder} may be written by others; chmod 700"):
                compiler.obtain()
        folder.chmod(0o700)


def test_a_folder_below_one_that_others_may_write_is_refused_unless_that_is_sticky(home, cc):
    cc(MAKES)
    compiler.obtain()
    above = home.parent.parent
    above.chmod(0o777)
    with pytest.raises(Unavailable, match="above the folder for them, may be written by others"):
        compiler.obtain()
    above.chmod(0o1777)
    compiler.obtain()


def test_a_folder_or_library_of_another_account_is_refused(home, cc, monkeypatch):
    cc(MAKES)
    path, _ = compiler.obtain()
    me = os.geteuid()
    monkeypatch.setattr(cache.os, "geteuid", lambda: me + 1)
    with pytest.raises(Unavailable, match="belongs to another account"):
        compiler.obtain()
    assert cache._digest(path) == ""


def test_a_link_in_the_place_of_the_folder_is_refused(home, cc, tmp_path):
    cc(MAKES)
    (tmp_path / "elsewhere").mkdir()
    home.parent.mkdir(parents=True)
    home.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unavailable, match="is no folder"):
        compiler.obtain()


def test_a_folder_that_cannot_be_made_is_a_reason(home, cc):
    cc(MAKES)
    home.parent.parent.write_text("no folder")
    assert "there is no folder for them" in library().reason


def test_without_a_compiler_there_is_a_reason(home, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    assert library().reason == "no C compiler was found (cc, gcc, clang)"


def test_a_compiler_that_fails_is_a_reason_and_leaves_nothing(home, cc):
    cc("echo warming up; echo 'kernels.c:1: error: no room' >&2; exit 4")
    assert library().reason.endswith("failed: kernels.c:1: error: no room")
    assert list(home.iterdir()) == []


def test_a_compiler_that_makes_nothing_is_a_reason(home, cc):
    cc("exit 0")
    assert library().reason.endswith("made no library")


def test_what_a_compiler_makes_and_cannot_be_loaded_is_a_reason(home, cc):
    cc(MAKES)
    assert "library" not in library().reason.split("/") and library().code is None and library().reason


def test_a_compiler_that_hangs_is_ended_with_what_it_started(home, cc, tmp_path, monkeypatch):
    cc(f"sleep 1000 & echo $! > {tmp_path}/child; wait")
    found = compiler.find()
    monkeypatch.setattr(compiler, "find", lambda: found)
    monkeypatch.setattr(compiler, "TIMEOUT_S", 3.0)
    assert library().reason.endswith("took more than 3 s")
    until(lambda: ended(int((tmp_path / "child").read_text())))
    assert list(home.iterdir()) == []


def ended(pid):
    """It is gone, or nobody has fetched its status yet."""
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


def obtaining():
    return subprocess.Popen([sys.executable, "-c", OBTAIN], stdout=subprocess.PIPE, text=True)


def test_two_processes_that_compile_at_once_end_with_one_library(home, cc):
    cc(f"sleep 0.3; {MAKES}")
    paths = {process.communicate()[0].strip() for process in [obtaining(), obtaining()]}
    assert paths == {str(path) for path in home.iterdir()} and len(paths) == 1


def test_a_process_that_is_killed_meanwhile_leaves_nothing_that_is_taken_up(home, cc, tmp_path):
    to_output = 'while [ "$1" != -o ]; do shift; done'
    cc(f'{to_output}; printf libr > "$2"; echo $$ > {tmp_path}/begun; exec sleep 1000')
    process = obtaining()
    until(lambda: (tmp_path / "begun").exists() and (tmp_path / "begun").read_text())
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (left,) = home.iterdir()
    os.kill(int((tmp_path / "begun").read_text()), signal.SIGKILL)  # the compiler, in a session of its own
    cc(MAKES)
    path, _ = compiler.obtain()
    assert path.read_text() == "library\n" and set(home.iterdir()) == {left, path}
    old = time.time() - cache.STALE_S - 1
    os.utime(left, (old, old))
    path.unlink()
    compiler.obtain()
    assert list(home.iterdir()) == [path]


def run_of(small_run, family):
    model = {"family": family, "layers": 1, "width": 4, "state_dim": 6}
    return small_run(
        model=model | ({"form": "scan"} if family == "lru" else {}),
        training={"steps": 8},
        reduction={"tolerance": 0.3, "steps": [4]},
    )


def stopped(small_run, family):
    run = run_of(small_run, family)
    run.send("stop", at_step=6)
    assert run.train() == "stopped"
    run.send("resume")
    return run


def used(run):
    """What computes: forms of layers, or scans of complex states."""
    return [event.get("scan") or event["forms"][0] for event in run.events("kernel_chosen")]


@pytest.mark.parametrize("family", ["mamba", "lru"])
def test_a_run_records_kernels_in_c_and_resumes_with_the_same_bits(small_run, c_kernels, family):
    whole, parted = run_of(small_run, family), stopped(small_run, family)
    assert whole.train() == parted.train() == "finished"
    assert whole.events("reduction_applied") and used(whole) == used(parted) == [C, C]
    assert whole.events("kernel_chosen")[0]["compiler"] == library().compiler != ""
    assert parted.final_weights() == whole.final_weights()
    assert not scan_choice._in_c


@pytest.mark.parametrize("family", ["mamba", "lru"])
def test_a_run_that_lost_its_compiler_says_so_and_goes_on_when_asked(
    small_run, c_kernels, family, monkeypatch
):
    run = stopped(small_run, family)
    library.cache_clear()
    installed_kernels.refusal.cache_clear()
    monkeypatch.setenv("CC", "no-such-compiler")
    assert run.train() == "failed"
    (event,) = run.events("run_failed")
    assert event["reason"].startswith(
        "this run computes with the kernel of c, which cannot be used here: no C compiler was found"
    )
    monkeypatch.setenv("HANKELBOARD_KERNELS", "own")
    run.send("resume")
    assert run.train() == "finished"
    assert used(run) == [C, C, OWN]


@pytest.mark.parametrize("family", ["mamba", "lru"])
def test_a_run_without_a_compiler_computes_as_ever_and_says_why_once(small_run, home, family, monkeypatch):
    asked = run_of(small_run, family)
    monkeypatch.setenv("HANKELBOARD_KERNELS", "own")
    assert asked.train() == "finished"
    monkeypatch.delenv("HANKELBOARD_KERNELS")
    monkeypatch.setenv("CC", "no-such-compiler")
    run = run_of(small_run, family)
    assert run.train() == "finished"
    assert used(run) == [OWN, OWN] and run.final_weights() == asked.final_weights()
    first = run.events("kernel_chosen")[0]
    assert first["reason"] == "no C compiler was found (no-such-compiler)"


def test_a_configuration_can_ask_for_ours(small_run, c_kernels):
    run = small_run(
        model={"family": "mamba", "layers": 1, "width": 4, "state_dim": 6},
        training={"steps": 4, "kernels": "own"},
        reduction={"attempts": 0, "steps": []},
    )
    assert run.train() == "finished" and used(run) == [OWN]
    assert "reason" not in run.events("kernel_chosen")[0]


def test_a_kernel_of_a_later_version_is_not_replaced_in_silence():
    with pytest.raises(ConfigError, match="this run computes with the kernel of quantum"):
        installed_kernels._bound((installed_kernels.C_SELECTIVE,), "quantum", None, ())
