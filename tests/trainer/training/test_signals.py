"""A process that is asked to end, at whatever moment, leaves a run that can be resumed and says so."""

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass

import pytest

from hankelboard.storage.runs import is_held
from hankelboard.trainer.compression.signals import AskedToEnd, Signals
from tests.trainer import deaths
from tests.trainer.small_run import ENDLESS
from tests.waiting import PATIENCE_S, until

LONG = {"training": {"steps": ENDLESS}, "reduction": {"attempts": 0, "steps": []}}


@dataclass
class Ignoring(deaths.NotAtAll):
    """The child ends by itself, and was started with a signal ignored, as nohup does; or with none."""

    number: int | None = None

    def prepare(self):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever started these tests
        if self.number is not None:
            signal.signal(self.number, signal.SIG_IGN)


@contextlib.contextmanager
def child_of(run, ignored=None):
    """A process that trains; it has ended after the block."""
    child = deaths._context.Process(target=deaths._train, args=(run.paths, Ignoring(ignored)))
    child.start()
    try:
        yield child
        child.join(PATIENCE_S)
        assert child.exitcode == 0, "it did not end in good order"
    finally:
        child.kill()


def training(run):
    return run.status["state"] == "running" and run.status["step"] > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_process_that_trains_saves_and_leaves_the_run_interrupted(small_run, number):
    run = small_run(**LONG)
    with child_of(run) as child:
        until(lambda: training(run))
        os.kill(child.pid, number)
    assert run.history.state == run.status["state"] == "interrupted"
    assert run.checkpoints("stop")[-1].name.step == run.history.step > 0


def test_a_closed_terminal_ends_nothing_that_nohup_started(small_run):
    run = small_run(**LONG)
    with child_of(run, ignored=signal.SIGHUP) as child:
        until(lambda: training(run))
        os.kill(child.pid, signal.SIGHUP)
        run.wait_beats()
        assert child.is_alive()
        run.send("stop")
    assert run.history.state == "stopped"


SLOW = """
import pathlib, time

def data(marker):
    pathlib.Path(marker).touch()
    while True:
        try:
            time.sleep(60)
        except Exception:
            pass
"""


@pytest.fixture
def loading(small_run, tmp_path):
    """Makes runs whose data take for ever to load, and the file that says that they are at it."""
    (tmp_path / "slow_data.py").write_text(SLOW)

    def make():
        marker = tmp_path / "loading"
        marker.unlink(missing_ok=True)
        data = {"task": "slow_data:data", "path": str(tmp_path), "options": {"marker": str(marker)}}
        return small_run(data=data), marker

    return make


@pytest.mark.parametrize(
    ("number", "state", "kind"),
    [
        (signal.SIGTERM, "interrupted", "attempt_ended"),
        (signal.SIGHUP, "interrupted", "attempt_ended"),
        (signal.SIGINT, "stopped", "run_stopped"),
    ],
)
def test_before_training_a_process_ends_at_once_and_says_so(loading, number, state, kind):
    """Data that take minutes do not keep it, nor people's code that catches every exception."""
    run, marker = loading()
    with child_of(run) as child:
        until(marker.exists)
        os.kill(child.pid, number)
    assert run.history.state == run.status["state"] == state
    (event,) = run.events(kind)
    assert "before training began" in event["reason"] and not is_held(run.paths)


def test_while_torch_is_imported_nothing_was_said_and_the_run_stays_queued(small_run, tmp_path):
    run = small_run()
    marker = tmp_path / "importing"
    slow = f"import pathlib, time\npathlib.Path({str(marker)!r}).touch()\ntime.sleep({PATIENCE_S})\n"
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "torch.py").write_text(slow)
    command = [sys.executable, "-m", "hankelboard", "run", run.paths.run_id, "--runs-dir", str(tmp_path)]
    path = os.pathsep.join([str(tmp_path / "first"), *filter(None, [os.environ.get("PYTHONPATH")])])
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}) as process:
        until(marker.exists)
        process.terminate()
    assert process.returncode == -signal.SIGTERM
    assert run.history.state == "queued" and not run.paths.status.exists() and not is_held(run.paths)


def test_a_signal_whose_exception_was_swallowed_is_not_forgotten():
    with Signals() as signals:
        with contextlib.suppress(AskedToEnd):
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("no exception came")
        with pytest.raises(AskedToEnd):
            signals.hold()


def test_a_signal_between_two_listeners_is_kept():
    heard = []
    with Signals() as signals:
        signals.hold()
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == []
        signals.listen(heard.append)
        assert heard == [signal.SIGTERM]
