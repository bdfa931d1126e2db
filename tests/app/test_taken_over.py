"""A run whose journals a later attempt took over: pages follow it."""

import errno

from hankelboard.app.data.run_cache import RunCache
from hankelboard.app.data.run_index import RunIndex
from hankelboard.app.live.safety_scan import SafetyScan
from hankelboard.app.live.watch import METRICS, Watch
from hankelboard.storage.journal import Journal
from hankelboard.storage.layout import RunPaths, run_paths
from hankelboard.storage.runs import create_run, is_held
from hankelboard.storage.status import process_identity, write_status
from hankelboard.storage.summary import summarise
from hankelboard.storage.verification import verify_run


def write(paths, *records, to="events"):
    with Journal(getattr(paths, to)) as journal:
        for record in records:
            journal.append({"step": 0, "branch": 0, "attempt": 0, **record}, durable=True)


def new_run(folder):
    paths = run_paths(folder, create_run(folder, name="a run", config={}).id)
    write(paths, {"kind": "attempt_started", "state_dims": [4], "policy": "ask"})
    write(paths, {"val/accuracy": 0.5}, to="metrics")
    return paths


def test_events_and_metrics_are_those_of_the_attempt_that_took_over(tmp_path):
    paths = new_run(tmp_path)
    cache, old = RunCache(paths), paths.events
    cache.refresh()
    assert cache.columns.metrics() == ["val/accuracy"] and len(cache.events) == 1
    paths.taken_over(1).mkdir(parents=True)
    write(paths, {"kind": "attempt_started", "state_dims": [4], "policy": "ask"}, {"kind": "paused"})
    with old.open("ab") as file:
        file.write(b'{"kind":"run_finished","step":9,"branch":0,"attempt":0}\n')
    cache.refresh()
    assert [event["kind"] for event in cache.events] == ["attempt_started", "paused"]
    assert cache.history.state == "paused" and cache.columns.metrics() == []


def test_a_late_event_of_an_older_attempt_is_not_on_the_timeline(tmp_path):
    paths = new_run(tmp_path)
    started = {"kind": "attempt_started", "state_dims": [4], "policy": "ask", "attempt": 1}
    write(paths, started, {"kind": "run_stopped"})
    cache = RunCache(paths)
    cache.refresh()
    assert [event["attempt"] for event in cache.events] == [0, 1] and cache.history.state == "running"


def test_a_run_that_beats_is_not_dead_although_its_pid_is_not_seen(tmp_path):
    """A machine of the same name, for example."""
    paths = new_run(tmp_path)
    cache, gone = RunCache(paths), {**process_identity(), "pid": 999_999_999}
    states = []
    for beat in (1, 2):
        write_status(paths, {"attempt": 0, "beat": beat, "expect_next_s": 5.0, "state": "running", **gone})
        cache.refresh()
        states.append(cache.summary()["state"])
    assert states == ["dead", "running"] and cache.summary()["living"]


def test_changes_of_such_journals_are_called_by_their_names(tmp_path):
    watch = Watch(tmp_path)
    run = tmp_path.resolve() / "a-run"
    assert watch._place_of(str(run / "attempts" / "000001" / "metrics.jsonl")) == ("a-run", METRICS)
    assert watch._place_of(str(run / "attempts" / "000001.json")) == ("a-run", "attempts")


def test_attempts_that_cannot_be_listed_are_said_and_other_runs_are_shown(tmp_path, monkeypatch):
    paths, other = new_run(tmp_path), new_run(tmp_path)
    paths.attempts.mkdir(exist_ok=True)
    listed = RunPaths.attempt_files

    def refused(self):
        if self.run_id == paths.run_id:
            raise PermissionError(errno.EACCES, "Permission denied")
        return listed(self)

    monkeypatch.setattr(RunPaths, "attempt_files", refused)
    index = RunIndex(refreshed)
    rows, left = index.rows({each.run_id: each for each in (paths, other)})
    assert left == 0 and [row["problem"] for row in rows] == [
        "attempts cannot be read: Permission denied", ""
    ]  # fmt: skip
    scan = SafetyScan(tmp_path, lambda run_id: False).round(0.0, all_living=True)
    assert {paths.run_id, other.run_id} <= set(scan.first_seen)
    assert summarise(paths).state == "unreadable" and summarise(other).state != "unreadable"
    assert is_held(paths), "what is not known is not free"
    findings = verify_run(paths, strict=True)
    assert [finding.what for finding in findings if finding.damage] == [
        "attempts cannot be listed: Permission denied"
    ]


def refreshed(paths):
    cache = RunCache(paths)
    cache.refresh()
    return cache
