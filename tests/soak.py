"""Longer than `make test` may take: runs and `up` that are killed, and whatever may lie in a run."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from hankelboard.access import tickets
from hankelboard.app.data import runs as data
from hankelboard.settings.config import parse
from hankelboard.settings.preset import find_preset
from hankelboard.settings.toml import merge
from hankelboard.storage import checkpoints
from hankelboard.storage.history import read_history
from hankelboard.storage.layout import run_paths
from hankelboard.storage.runs import create_run
from hankelboard.storage.verification import verify_run
from hankelboard.storage.workers import present
from tests import corruption_sweep
from tests.trainer.frozen import KEYS as FREEZING
from tests.trainer.frozen import KINDS, wake_after_another
from tests.trainer.kill_sweep import Story
from tests.trainer.small_run import SmallRun
from tests.waiting import PATIENCE_S, until
from tests.wrong_types import ODD, Victim, each_fitting, look, odd_lines

KILLS = 15
KEYS = {
    "model": {"width": 16, "state_dim": 24},
    "training": {"steps": 1500, "threads": 1, "checkpoint_every": 100, "seed": 3},
    "reduction": {"policy": "auto", "steps": [200, 500, 900]},
}


def new_run(folder):
    config = parse(merge(find_preset("digits-lru").tables, KEYS))
    return run_paths(folder, create_run(folder, name="soak", config=config.as_dict()).id)


def train(paths, kill_after=None):
    command = [
        sys.executable,
        "-P",
        "-m",
        "hankelboard",
        "run",
        paths.run_id,
        "--runs-dir",
        str(paths.root.parent),
    ]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child.pid, signal.SIGKILL)
    child.wait()


def final_hash(paths):
    name = checkpoints.checkpoint_names(paths)[-1]
    return checkpoints.read_checkpoint(paths, name).files["model.safetensors"]["sha256"]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_weights(tmp_path, seed):
    chance = random.Random(seed)
    quiet, killed = new_run(tmp_path / "quiet"), new_run(tmp_path / "killed")
    train(quiet)
    for _ in range(KILLS):
        train(killed, kill_after=chance.uniform(3.0, 9.0))
        assert not [finding for finding in verify_run(killed) if finding.damage]
    while read_history(killed).state != "finished":
        assert read_history(killed).state != "failed"
        train(killed)
    assert final_hash(killed) == final_hash(quiet)


@pytest.fixture
def victim(tmp_path, monkeypatch):
    monkeypatch.setenv("HANKELBOARD_RUNS", str(tmp_path))
    monkeypatch.setattr(data, "PATIENCE_S", 0.0)
    return Victim(tmp_path)


def test_each_odd_value_that_fits_is_read_by_all(victim):
    for kind, what, changed in each_fitting(victim):
        victim.put(kind, [changed])
        try:
            look(victim, drawn=False)
        except Exception as error:
            raise AssertionError(f"{kind.file.name}: {what}") from error
        victim.restore(kind)


@pytest.mark.parametrize("place", range(len(ODD)))
def test_odd_lines_of_journals_are_left_out_by_all(victim, place):
    for kind in victim.kinds():
        if kind.is_journal:
            victim.put(kind, odd_lines(victim, kind, place))
            look(victim)
            victim.restore(kind)


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    return Story(tmp_path_factory.mktemp("story"))


def test_killed_before_and_after_every_change_of_the_disk(story):
    deaths = list(story.deaths())
    assert story.check_all(deaths) > 0.9 * len(deaths)


def test_killed_at_200_instants_that_nobody_chose(story):
    assert story.check_all(story.instants(200, seed=3)) > 120


def test_whatever_lies_in_any_place_of_a_run_stops_hangs_and_touches_nothing():
    assert corruption_sweep.main([]) == 0


def test_up_that_is_killed_leaves_nothing_behind_and_its_runs_are_saved(tmp_path):
    """The real thing: web, worker and a trainer; the next `up` finds its port free."""
    run = new_run(tmp_path)
    tickets.issue(run)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    hankelboard = [sys.executable, "-P", "-m", "hankelboard"]
    up = subprocess.Popen([*hankelboard, "up", "--port", str(port), "--runs-dir", str(tmp_path)])
    try:
        until(lambda: listens(port) and read_history(run).step >= 100)
    finally:
        up.kill()
        up.wait()
    until(lambda: read_history(run).state == "interrupted")
    assert read_history(run).reason == "the process was asked to end"
    until(lambda: not listens(port) and not present(tmp_path))


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# Several writers.


@pytest.mark.parametrize(("kind", "nth"), KINDS)
def test_frozen_before_a_write_of_any_kind_it_changes_nothing_that_counts(tmp_path, monkeypatch, kind, nth):
    monkeypatch.setattr("hankelboard.trainer.compression.recorder.BEAT_S", 0.01)
    wake_after_another(SmallRun(tmp_path, **FREEZING), kind, nth, monkeypatch)


MACHINE = """
import fcntl, os, socket
if host := os.environ.get("TEST_HOST"):
    socket.gethostname = lambda: host
    def no_locks(descriptor, how):
        raise OSError(37, "No locks available")
    fcntl.flock = no_locks
"""


def workers(runs, *, hosts, jobs="1"):
    """One worker a host, begun at the same time; the environment of each makes it a machine without locks."""
    site = runs / ".site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(MACHINE)
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-P", "-m", "hankelboard", "worker", "--once", "--jobs", jobs,
               "--runs-dir", str(runs)]  # fmt: skip
    started = [
        subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path, "TEST_HOST": host}) for host in hosts
    ]
    assert [worker.wait(PATIENCE_S) for worker in started] == [0] * len(hosts)


def test_two_machines_without_locks_train_a_run_once(tmp_path):
    run = SmallRun(tmp_path, training={"steps": 600})
    workers(tmp_path, hosts=("one", "other"))
    assert run.history.state == "finished"
    assert len(run.events("attempt_started")) == len(run.events("run_finished")) == 1
    assert not [finding for finding in verify_run(run.paths) if finding.damage]
    log = run.paths.log.read_text()
    assert re.search(r"is being trained by another process \(pid \d+ on (one|other)\)", log)


def test_two_workers_on_three_short_runs_finish_each_once(tmp_path):
    runs = [SmallRun(tmp_path, training={"steps": 5}, reduction={"steps": []}) for _ in range(3)]
    workers(tmp_path, hosts=("", ""), jobs="2")
    for run in runs:
        assert (len(run.events("attempt_started")), len(run.events("run_finished"))) == (1, 1)
