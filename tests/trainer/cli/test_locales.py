"""Text in every locale: what is printed ends nothing, and what is written is UTF-8."""

import io
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from hankelboard.storage import proposals
from hankelboard.storage.layout import run_paths
from hankelboard.storage.records import decode, encode
from hankelboard.storage.runs import read_run
from hankelboard.trainer.compression.terminal import say
from hankelboard.trainer.work import worker

HAN = "林黛玉"
NARROW = {
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "ascii": {"PYTHONIOENCODING": "", "PYTHONCOERCECLOCALE": "0"},
}


def narrow(kind, **more):
    """An environment whose terminal cannot show Han characters."""
    cleared = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LC_"))}
    path = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    return {**cleared, **path, "LC_ALL": "C", "PYTHONUTF8": "0", **NARROW[kind], **more}


def command(*arguments, environment):
    whole = [sys.executable, "-P", "-m", "hankelboard", *arguments]
    done = subprocess.run(whole, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_decision_by_a_person_of_han_characters_is_trained_on(small_run, monkeypatch, encoding):
    run = small_run(reduction={"policy": "ask", "steps": [20]})
    terminal = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", terminal)
    with run.training() as outcome:
        run.wait_pending(1)
        proposals.decide(run.paths, 1, "approve", by=HAN, via="test", reason=f"{HAN} says so")
    assert outcome == ["finished"]
    assert rb"\u6797" in terminal.buffer.getvalue()  # the first of these characters, as an escape


@pytest.mark.parametrize("kind", NARROW)
def test_a_run_named_in_han_characters_is_created_and_shown(tmp_path, kind):
    environment = narrow(kind, HANKELBOARD_USER=HAN, HANKELBOARD_RUNS=str(tmp_path))
    run_id = command(
        "new", "--preset", "digits-lru", "--name", HAN, "--no-queue", environment=environment
    ).decode().strip()  # fmt: skip
    assert command("show", run_id, environment=environment)
    shown = json.loads(command("show", run_id, "--json", environment=environment).decode("utf-8"))
    assert command("runs", environment=environment)
    # Latin-1 leaves the locale at ASCII, too: what was typed comes as bytes of no character, and is UTF-8.
    assert shown["name"] == HAN and read_run(run_paths(tmp_path, run_id)).name == HAN


def test_bytes_of_no_character_are_read_as_utf8_where_they_are():
    typed = os.fsencode(HAN).decode("ascii", "surrogateescape")
    assert decode(encode({"by": typed})) == {"by": HAN}
    assert decode(encode({"by": "\udcff!"})) == {"by": "?!"}
    assert decode(encode({"by": "\ud800 " + HAN})) == {"by": "? " + HAN}


class Broken(io.StringIO):
    encoding = "latin-1"

    def write(self, text):
        raise BrokenPipeError


@pytest.mark.parametrize("stream", [Broken(), io.TextIOWrapper(io.BytesIO(), "ascii")])
def test_a_line_for_people_never_raises(stream):
    say(HAN, stream)
    stream.close()
    say(HAN, stream)


def test_the_worker_s_children_speak_utf8(small_run, monkeypatch):
    started = []

    def popen(command, **rest):
        started.append(rest["env"])
        return SimpleNamespace(pid=0)

    keeper = SimpleNamespace(stdin=io.BytesIO())
    monkeypatch.setattr(worker.log_keeper, "start", lambda log: keeper)
    monkeypatch.setattr(worker.subprocess, "Popen", popen)
    run = small_run()
    worker.Worker(run.paths.root.parent)._start(run.paths)
    assert started[0]["PYTHONUTF8"] == "1" and started[0]["PYTHONIOENCODING"].startswith("utf-8")
