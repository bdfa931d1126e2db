"""What the pages say of a run that is not well: gone, ended by a signal, failed, lost its loss, archived."""

import os

import pytest

from hankelboard.app import pages
from hankelboard.app.charts import metric_tables, spectra_tables
from hankelboard.app.data import runs as data
from hankelboard.app.words import labels
from hankelboard.storage.commands import add_note, command_ids, read_command, send_command
from tests.app.conftest import SyntheticRun, text_of

NO_PROCESS = 2**22 + 1


@pytest.fixture
def run(runs):
    return SyntheticRun(runs, "Digits at night").start().train(200)


def states(page):
    return list(page.dataframe[0].value["State"])


def figures(page):
    return {metric.label: metric.value for metric in page.metric}


def test_of_a_dead_process_one_reads_when_it_was_last_seen_and_what_is_trained_again(open_page, run):
    run.checkpoint("scheduled")
    run.train(340)
    run.status("running", pid=NO_PROCESS)
    for page in pages.of_one_run():
        told = text_of(open_page(page.name, run=run.id))
        assert "the last sign of life was at step 340" in told
        assert "newest checkpoint, of step 200; the 140 steps after it are trained again" in told


def test_a_checkpoint_of_a_branch_that_was_left_is_not_where_a_dead_run_goes_on(open_page, run):
    early = run.checkpoint("scheduled")
    run.train(600)
    run.checkpoint("scheduled")
    run.roll_back(early, run.dims)
    run.train(250)
    run.status("running", pid=NO_PROCESS)
    assert "of step 200; the 50 steps after it" in text_of(open_page("run", run=run.id))


def test_what_waits_for_a_person_is_said_although_no_process_is_at_it(open_page, run):
    run.propose()
    run.event("attempt_ended", reason="the process was asked to end")
    page = open_page("runs")
    assert states(page) == ["interrupted · proposal"] and figures(page)["Waiting for you"] == "1"
    assert "Digits at night**: no process is at it now" in text_of(page)


REFUSED = "not resumed: my_model.py (model.family) changed since the last attempt. Put it back, or go on"


def test_a_run_that_is_not_resumed_waits_for_a_person_who_accepts_what_changed(open_page, run):
    run.event("resume_refused", reason=REFUSED)
    page = open_page("runs")
    assert states(page) == ["waits for you"] and figures(page)["Waiting for you"] == "1"
    assert "Digits at night waits for you" in text_of(page)
    page = open_page("run", run=run.id)
    assert "This run waits for you" in text_of(page) and "my_model.py" in text_of(page)
    assert "A worker resumes it" not in text_of(page)
    page.button(key="accept_changes").click().run()
    (command,) = [read_command(run.paths, name) for name in command_ids(run.paths)]
    assert command.kind == "resume" and command.accept_changes
    run.event("changes_accepted", changes=["my_model.py (model.family)"], by="ada")
    run.event("attempt_started", checkpoint=run.checkpoint("scheduled"), state_dims=run.dims, policy="ask")
    run.status("running")
    page = open_page("run", run=run.id)
    assert "waits for you" not in text_of(page)
    assert "Trained on by ada with what changed: my_model.py (model.family)" in text_of(page)


def test_what_else_changed_is_said_until_the_next_process(open_page, run):
    started = {"checkpoint": None, "state_dims": run.dims, "policy": "ask"}
    run.event("attempt_started", **started)
    run.event("changes_noticed", changes=["torch 2.12.0 → 2.13.0"])
    assert "before this one there changed: torch 2.12.0 → 2.13.0" in text_of(open_page("run", run=run.id))
    run.event("attempt_started", **started)
    assert not open_page("run", run=run.id).info


def test_a_stopped_run_asks_for_nothing(open_page, run):
    run.propose()
    run.event("run_stopped", reason="stop")
    assert figures(open_page("runs"))["Waiting for you"] == "0"


def test_a_loss_that_is_no_number_is_trouble_also_when_the_run_ends_well(open_page, run):
    run.event("loss_not_finite")
    run.finish()
    page = open_page("runs")
    assert states(page) == ["finished · loss not finite"] and figures(page)["In trouble"] == "1"
    assert "not a finite number at step 200" in text_of(open_page("run", run=run.id))


def test_a_rollback_to_before_it_leaves_the_lost_loss_behind(open_page, run):
    early = run.checkpoint("scheduled")
    run.train(300)
    run.event("loss_not_finite")
    run.roll_back(early, run.dims)
    assert not open_page("run", run=run.id).warning


def test_why_training_failed_stands_first_and_no_empty_charts_below(open_page, runs):
    run = SyntheticRun(runs)
    run.event("run_failed", reason="data.folder: no such folder")
    page = open_page("run", run=run.id)
    assert "Training failed: data.folder: no such folder" in page.error[0].value.replace("\\", "")
    assert "Nothing was recorded yet" in text_of(page) and not page.get("vega_lite_chart")


def test_a_run_that_no_worker_takes_is_not_called_queued(open_page, runs):
    SyntheticRun(runs, queued=False)
    page = open_page("runs")
    assert states(page) == ["not queued"] and figures(page)["Queued"] == "0"
    assert "Runs wait to be trained" not in text_of(page)


def test_what_is_archived_neither_counts_nor_asks(open_page, run):
    run.propose()
    run.event("run_failed", reason="out of memory")
    add_note(run.paths, "archive", True, by="ada", via="test")
    page = open_page("runs")
    assert figures(page)["In trouble"] == "0" and "Look at the evidence" not in text_of(page)
    assert "Archived" in text_of(open_page("run", run=run.id))


def test_after_a_rollback_the_test_figures_of_the_end_that_was_left_are_gone(open_page, run):
    early = run.checkpoint("scheduled")
    run.train(2000)
    run.finish()
    assert "Test accuracy" in figures(open_page("run", run=run.id))
    run.roll_back(early, run.dims)
    assert "Test accuracy" not in figures(open_page("run", run=run.id))


def test_the_reason_for_a_command_is_kept_before_the_readers_eyes(open_page, run):
    send_command(run.paths, "pause", by="ada", via="test", reason="the fan is loud")
    assert "because: the fan is loud" in text_of(open_page("run", run=run.id))


def test_one_snapshot_and_how_far_it_is_drawn(open_page, runs):
    run = SyntheticRun(runs).start().train(30)
    told = text_of(open_page("spectra", run=run.id))
    assert "one snapshot at step 0" in told and "The run is at step 30: up to there" in told


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.0827, "82.7 ms"), (0.9996, "1 s"), (1.08, "1.08 s"), (None, "–")]
)
def test_a_long_step_is_told_in_seconds(seconds, told):
    assert labels.seconds_per_step(seconds) == told


def test_after_a_rollback_to_before_a_cut_nothing_of_the_cut_is_on_the_live_path(open_page, run):
    run.propose()
    run.decide(1)
    run.answer(1)
    cut = list(run.dims)
    pinned = next(item for item in data.checkpoints(run.id)[0] if item["cause"] == "before_reduction")
    run.train(300)
    run.roll_back(pinned["name"], [64, 64], undone=[1])
    run.train(250)
    data.forget(run.id)
    assert {record["state_dim"] for record in spectra_tables.by_layer(run.id)[0]} == {64}
    left = [item["state_dims"] for item in data.checkpoints(run.id)[0] if not item["live"]]
    assert left == [cut]
    assert not data.was_cut_after(run.id, 200)
    assert "Best on validation" in figures(open_page("run", run=run.id))


def test_a_cut_that_was_undone_is_marked_at_the_rollback_that_undid_it(run):
    run.propose()
    run.decide(1)
    run.answer(1)
    pinned = next(item for item in data.checkpoints(run.id)[0] if item["cause"] == "before_reduction")
    run.roll_back(pinned["name"], [64, 64], undone=[1])
    data.forget(run.id)
    marks = metric_tables.marks_table(run.id, "loss").to_pylist()
    assert [mark["sign"] for mark in marks if mark["step"] == 200 and mark["sign"]] == ["▼↺"]


SPEAK_FOR_THEMSELVES = (
    "starting", "running", "paused", "stopping", "finished", "failed", "cancelled", "unreadable",
)  # fmt: skip


def test_every_state_that_needs_explaining_is_in_the_glossary(open_page):
    told = text_of(open_page("glossary"))
    states = {label for label, _, _ in labels.STATES.values()} - set(SPEAK_FOR_THEMSELVES)
    for state in (*states, "not queued", "loss not finite"):
        assert f"**{state}.**" in told


def test_in_a_folder_that_is_read_only_nothing_is_offered_that_needs_writing(open_page, run, monkeypatch):
    run.propose()
    run.event("attempt_ended", reason="the process was asked to end")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    told = text_of(open_page("runs"))
    assert labels.READ_ONLY in told and labels.WORKER_HINT not in told
    links = [link.proto.label for link in open_page("runs").get("page_link")]
    assert links == ["Look at the evidence"]
    assert open_page("new_run").button(key="create").disabled
    assert "You decide as" not in text_of(open_page("system"))
    for page in ("run", "system"):
        assert "start one with" not in text_of(open_page(page, run=run.id))


def test_figures_of_a_proposal_that_training_left_behind_name_their_step(open_page, run):
    run.propose()
    assert "Training went on" not in text_of(open_page("truncation", run=run.id))
    run.train(340)
    told = text_of(open_page("truncation", run=run.id))
    assert "Training went on, to step 340: all figures and spectra below are of step 200" in told
