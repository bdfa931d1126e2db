"""Web and worker of `hankelboard up`: who dies is started again, and both end when asked."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from hankelboard.storage import lifeline
from hankelboard.trainer.cli import side_by_side
from hankelboard.trainer.cli.port_holder import port_holder
from hankelboard.trainer.cli.side_by_side import Kept, SideBySide
from tests.waiting import PATIENCE_S, until

SLEEP = "import time; time.sleep(600)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); " + SLEEP


def kept(name, script=SLEEP, patience_s=20.0):
    return Kept(name=name, command=[sys.executable, "-c", script], patience_s=patience_s)


@pytest.fixture
def keep(monkeypatch):
    """Keeps processes in a thread: keep(web, worker). All are ended after the test."""
    monkeypatch.setattr(side_by_side, "LOOK_S", 0.01)
    monkeypatch.setattr(side_by_side, "PAUSE_S", 0.05)
    begun = []

    def begin(*processes):
        both = SideBySide(processes, os.environ)
        codes = []
        thread = threading.Thread(target=lambda: codes.append(both.run()), daemon=True)
        thread.start()
        begun.append((both, thread))
        until(lambda: all(one.process for one in processes) or codes)
        return both, thread, codes

    yield begin
    for both, thread in begun:
        both.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_a_killed_worker_is_started_again_and_the_pages_stay(keep, monkeypatch, capfd):
    monkeypatch.setattr(side_by_side, "START_S", 0.0)
    web, worker = kept("web"), kept("worker")
    keep(web, worker)
    pages, killed = web.process.pid, worker.process.pid
    os.kill(killed, signal.SIGKILL)
    until(lambda: worker.starts == 2 and worker.process)
    assert worker.process.pid != killed and worker.process.poll() is None
    assert web.process.pid == pages and web.process.poll() is None
    assert "worker ended with -9; it is started again" in capfd.readouterr().out


def test_what_cannot_even_start_ends_both_with_an_error(keep, monkeypatch, capfd):
    monkeypatch.setattr(side_by_side, "START_S", PATIENCE_S)
    web, worker = kept("web", "raise SystemExit(3)"), kept("worker")
    _, thread, codes = keep(web, worker)
    thread.join(PATIENCE_S)
    assert codes == [1] and worker.process.poll() is not None
    assert "web ended with 3 right after its start" in capfd.readouterr().out


def test_what_dies_at_once_again_and_again_waits_longer(keep, monkeypatch):
    monkeypatch.setattr(side_by_side, "START_S", 0.0)
    worker = kept("worker")
    keep(worker)
    monkeypatch.setattr(side_by_side, "START_S", PATIENCE_S)
    worker.starts, killed_at = 2, time.monotonic()
    worker.process.kill()
    until(lambda: worker.due_at > killed_at)
    assert worker.due_at - killed_at >= side_by_side.LONG_PAUSE_S


def test_both_end_when_asked_and_who_does_not_listen_is_killed(keep, capfd):
    web, worker = kept("web", DEAF, patience_s=0.2), kept("worker")
    both, thread, codes = keep(web, worker)
    said = []
    until(lambda: said.append(capfd.readouterr().out) or "deaf" in "".join(said))
    both.stop()
    thread.join(PATIENCE_S)
    assert codes == [0]
    assert worker.process.returncode == -signal.SIGTERM and web.process.returncode == -signal.SIGKILL
    assert "web did not end within 0.2 s" in capfd.readouterr().out


SCRIPT = """
import os, signal, sys
from hankelboard.trainer.cli.side_by_side import Kept, SideBySide
{first}
both = SideBySide([Kept(name="web", command=[sys.executable, "-c", {web!r}], patience_s=0.2)], os.environ)
both.stop_at_signals()
sys.exit(both.run())
"""


def alone(tmp_path, first=""):
    """A process that keeps one which does not listen, as `up` does; and the id of that one."""
    told = tmp_path / "pid"
    web = (
        "import os, pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"pathlib.Path({str(told)!r}).write_text(f'{{os.getpid()}}.'); time.sleep(600)"
    )
    script = SCRIPT.format(first=first, web=web)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    until(lambda: told.exists() and told.read_text().endswith("."))
    return process, int(told.read_text().rstrip("."))


def lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_all_end_when_nobody_reads_any_more_what_is_said(tmp_path, number):
    process, child = alone(tmp_path, "signal.signal(signal.SIGHUP, signal.SIG_DFL)")  # also under nohup
    process.stdout.close()  # as a terminal that was closed: what is written fails
    process.send_signal(number)
    process.wait(PATIENCE_S)
    assert not lives(child)


def test_nohup_outlives_its_terminal(tmp_path):
    process, child = alone(tmp_path, "signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None and lives(child)
    process.terminate()
    assert process.wait(PATIENCE_S) == 0 and not lives(child)
    process.stdout.close()


FOLLOWS = (
    "import os, pathlib, signal, sys, time\n"
    "from hankelboard.storage import lifeline\n"
    "def note(what): pathlib.Path({folder!r}, what).write_text(str(os.getpid()))\n"
    "def end(*_): note('saved'); os._exit(0)\n"
    "signal.signal(signal.SIGTERM, end if {obeys} else signal.SIG_IGN)\n"
    "lifeline.follow(0.2)\n"
    "assert lifeline.VARIABLE not in os.environ\n"
    "note('begun.tmp'); os.rename(os.path.join({folder!r}, 'begun.tmp'), os.path.join({folder!r}, 'begun'))\n"
    "time.sleep(600)\n"
)


@pytest.mark.parametrize("obeys", [True, False])
def test_when_it_is_killed_those_that_it_kept_end_as_if_asked_to(tmp_path, obeys):
    script = SCRIPT.format(first="", web=FOLLOWS.format(folder=str(tmp_path), obeys=obeys))
    process = subprocess.Popen([sys.executable, "-c", script])
    until(lambda: (tmp_path / "begun").exists())
    kept = int((tmp_path / "begun").read_text())
    process.kill()
    process.wait(PATIENCE_S)
    until(lambda: not lives(kept))
    assert (tmp_path / "saved").exists() == obeys


def test_who_was_started_otherwise_does_not_end(monkeypatch):
    threads = threading.active_count()
    for number in ("", "x", "999", "-1"):
        monkeypatch.setenv(lifeline.VARIABLE, number)
        lifeline.follow(0.0)
    assert threading.active_count() == threads


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says who listens")
def test_who_listens_on_a_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert port_holder(port).startswith(f"process {os.getpid()} (")
    assert port_holder(port) == ""


def test_a_process_that_ends_while_it_is_looked_at_hides_no_other(tmp_path):
    for name in ("net", "10", "20/fd"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "net" / "tcp").write_text("head\n0: 0100007F:1F90 00000000:0000 0A 0 0 0 0 0 77\n")
    (tmp_path / "20" / "fd" / "3").symlink_to("socket:[77]")
    (tmp_path / "20" / "cmdline").write_bytes(b"python\0-m\0hankelboard")
    assert port_holder(8080, tmp_path) == "process 20 (python -m hankelboard)"
