"""Retention: the last ones, the best, what is pinned and what a rollback may need stay."""

from hankelboard.storage import commands
from hankelboard.storage.verification import verify_run

KEYS = {"training": {"steps": 60, "checkpoint_every": 4, "keep_checkpoints": 2}}


def steps(run, cause):
    return [checkpoint.name.step for checkpoint in run.checkpoints(cause)]


def test_the_last_ones_and_the_best_stay(small_run):
    run = small_run(**KEYS, reduction={"steps": [20]})
    run.train()
    kept = steps(run, "scheduled")
    assert kept[-2:] == [52, 56] and len(kept) <= 3
    assert steps(run, "start") == [0] and steps(run, "finish") == [60]
    assert steps(run, "before_reduction") == steps(run, "after_reduction") == [20]
    pruned = run.events("checkpoint_pruned")
    assert len(pruned) == 14 - len(kept) and all(event["bytes"] > 1000 for event in pruned)
    best = max(run.checkpoints(), key=lambda c: c.metrics["val/accuracy"]).metrics["val/accuracy"]
    assert best == max(c.metrics["val/accuracy"] for c in run.checkpoints())
    assert not [finding for finding in verify_run(run.paths) if finding.damage]


def test_zero_keeps_all(small_run):
    run = small_run(training={**KEYS["training"], "keep_checkpoints": 0}, reduction={"steps": [20]})
    run.train()
    assert len(steps(run, "scheduled")) == 14 and not run.events("checkpoint_pruned")


def test_what_a_person_pinned_and_where_a_branch_began_stays(small_run):
    run = small_run(**KEYS, reduction={"attempts": 0, "steps": []})
    run.send("stop", at_step=10)
    run.train()
    pinned, origin = (c.name for c in run.checkpoints("scheduled"))
    commands.add_note(run.paths, "pin", str(pinned), by="ada", via="test")
    run.send("rollback", checkpoint=str(origin))
    run.train()
    assert {str(pinned), str(origin)} <= {str(c.name) for c in run.checkpoints()}
    assert steps(run, "scheduled")[:2] == [4, 8]


def test_nothing_goes_while_the_newer_ones_are_damaged(small_run):
    from hankelboard.trainer.compression.retention import superfluous

    run = small_run(
        training={**KEYS["training"], "keep_checkpoints": 0}, reduction={"attempts": 0, "steps": []}
    )
    run.train()
    assert superfluous(run.paths, run.history, keep=2)
    newest_prunable = superfluous(run.paths, run.history, keep=2)[-1].name
    for checkpoint in run.checkpoints():
        if checkpoint.name.sequence > newest_prunable.sequence:
            (run.paths.checkpoint(checkpoint.name) / "loop.json").write_text("{}")
    assert superfluous(run.paths, run.history, keep=2) == []
