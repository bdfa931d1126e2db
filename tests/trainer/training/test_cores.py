"""Cores: what a process may use, by affinity and control groups, is shared by the jobs of a worker."""

import io
import os
from types import SimpleNamespace

import pytest
import torch

from hankelboard.trainer.cli import main
from hankelboard.trainer.training import cores, loop
from hankelboard.trainer.work import worker


@pytest.fixture(autouse=True)
def eight(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


def machine(root, groups, **files):
    """A root folder with control groups."""
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


CGROUP = "sys/fs/cgroup"


@pytest.mark.parametrize(
    ("groups", "files", "cores_there"),
    [
        ("0::/\n", {}, 8),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "700000 100000"}, 3),
        ("0::/not/seen/here\n", {"cpu.max": "200000 100000"}, 2),
        ("4:memory:/x\n3:cpu,cpuacct:/x\n",
         {"cpu,cpuacct/x/cpu.cfs_quota_us": "550000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"}, 5),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ("nonsense\n", {"cpu.max": "x y"}, 8),
        ("", {}, 8),
    ],
)  # fmt: skip
def test_a_quota_of_control_groups_counts(tmp_path, groups, files, cores_there):
    root = machine(tmp_path, groups, **{f"{CGROUP}/{name}": text for name, text in files.items()})
    assert cores.available_cores(root) == cores_there


def test_jobs_share_the_cores_and_each_has_one(tmp_path):
    root = machine(tmp_path, "0::/\n")
    assert [cores.share(8, jobs, root) for jobs in (0, 1, 2, 3, 8, 20)] == [8, 8, 4, 2, 1, 1]
    assert cores.share(4, 1, root) == 4, "PyTorch's own number is not raised"


def test_a_child_is_told_how_many_jobs_there_are(small_run, monkeypatch):
    run, started = small_run(), []

    class Process:
        pid = 0

        def __init__(self, command, **rest):
            started.append(rest["env"])

    monkeypatch.setattr(worker.log_keeper, "start", lambda log: SimpleNamespace(stdin=io.BytesIO()))
    monkeypatch.setattr(worker.subprocess, "Popen", Process)
    worker.Worker(run.paths.root.parent, jobs=3)._start(run.paths)
    assert started[0][worker.JOBS_MARK] == "3"


@pytest.mark.parametrize(("said", "jobs"), [("3", 3), ("", 1), ("many", 1)])
def test_a_run_takes_its_share_before_it_trains(small_run, monkeypatch, said, jobs):
    run, asked = small_run(), []
    monkeypatch.setenv(worker.JOBS_MARK, said)
    monkeypatch.setattr(cores, "take_share", asked.append)
    monkeypatch.setattr(loop, "train_run", lambda *_, **__: asked.append("trains") or "finished")
    assert main(["run", run.paths.run_id, "--runs-dir", str(run.paths.root.parent)]) == 0
    assert asked == [jobs, "trains"]


def test_what_a_person_set_stays(monkeypatch):
    taken = []
    monkeypatch.setattr(cores, "available_cores", lambda root: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    cores.take_share(2)
    monkeypatch.delenv("OMP_NUM_THREADS")
    cores.take_share(2)
    assert taken == [4]
