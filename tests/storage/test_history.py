import pytest

from hankelboard.storage.history import fold


def event(kind, step=0, branch=0, attempt=0, **fields):
    return {"kind": kind, "step": step, "branch": branch, "attempt": attempt, **fields}


def start(attempt=0, step=0, branch=0, dims=(8,), checkpoint=None):
    return event(
        "attempt_started", step, branch, attempt, state_dims=list(dims), policy="ask", checkpoint=checkpoint
    )


def branch(number, parent, from_step, **fields):
    defaults = {
        "checkpoint": "b0-00000000-a0-0001",
        "command_id": f"c{number}",
        "policy": "ask",
        "state_dims": [8],
    }
    return event(
        "branch_started", from_step, number, parent=parent, from_step=from_step, **defaults, **fields
    )


def proposed(number=1, step=10, branch=0):
    return event("proposal_published", step, branch, proposal=number, attempt_step=step)


def applied(number=1, step=10, to=(4,)):
    return event("reduction_applied", step, proposal=number, **{"from": [8], "to": list(to)})


def accepted(number=1, step=10, verdict="approve"):
    return event(
        "decision_accepted", step, proposal=number, verdict=verdict, ranks=[4], apply_at_step=step, by="a"
    )


@pytest.mark.parametrize(("by_role", "state"), [({}, "expired"), ({"by_role": "said"}, "rejected")])
def test_only_the_deadline_lets_a_proposal_expire_not_a_person_of_that_name(by_role, state):
    rejected = {**accepted(verdict="reject"), "by": "policy:timeout", **by_role}
    assert fold([start(), proposed(), rejected]).proposals[1].state == state


def test_no_journal_means_queued():
    assert fold([]).state == "queued"


def test_a_proposal_is_approved_applied_and_rolled_back():
    events = [start(), proposed(), accepted(), applied()]
    history = fold(events)
    assert history.proposals[1].state == "applied" and history.state_dims == [4]
    history.apply(branch(1, 0, 10, undone=[1]))
    assert history.proposals[1].state == "rolled_back" and history.state_dims == [8] and history.branch == 1
    assert history.proposals[1].reason == "to b0-00000000-a0-0001"


def test_a_rollback_supersedes_what_was_pending_and_answers_its_command():
    history = fold([start(), proposed(), branch(1, 0, 5)])
    assert history.proposals[1].state == "superseded" and history.pending() is None
    assert history.commands["c1"].state == "applied"


def test_what_a_cut_left_at_the_step_of_the_rollback_is_not_on_the_path():
    history = fold([start(), proposed(), accepted(), applied(), branch(1, 0, 10, undone=[1])])
    assert not history.on_path(applied())
    assert not history.on_path({"step": 10, "layer": 0, "state_dim": 4})
    assert not history.on_path({"step": 10, "state_dims": [4]})
    assert history.on_path({"step": 10, "layer": 0, "state_dim": 8})
    assert history.on_path({"step": 10}) and history.on_path({"step": 9, "layer": 0, "state_dim": 4})
    assert history.on_path(applied(), branch=0)


def test_a_rollback_to_right_after_a_cut_keeps_the_cut_on_the_path():
    history = fold([start(), proposed(), accepted(), applied()])
    history.apply(branch(1, 0, 10) | {"state_dims": [4]})
    assert history.on_path(applied())


def test_a_rollback_of_a_finished_run_leaves_its_test_figures_behind():
    history = fold([start(), event("run_finished", 20, test={"accuracy": 0.9})])
    assert history.finished["test"] == {"accuracy": 0.9}
    history.apply(branch(1, 0, 5))
    assert history.finished is None


def test_the_path_of_a_branch_is_its_own_records_and_its_parents_up_to_where_it_left():
    history = fold([start(), branch(1, 0, 50), branch(2, 1, 80), branch(3, 2, 20)])
    assert history.segments() == {3: None, 2: 20, 1: 20, 0: 20}
    assert history.segments(2) == {2: None, 1: 80, 0: 50}
    assert history.on_path({"branch": 0, "step": 20}) and not history.on_path({"branch": 0, "step": 21})
    assert history.on_path({"branch": 1, "step": 80}, branch=2)


def test_the_reach_of_an_attempt_says_of_every_step_what_asking_for_it_says():
    history = fold([
        start(), start(1, 40, checkpoint="c"), branch(1, 0, 30), start(2, 50, branch=1, checkpoint="c"),
        branch(2, 1, 45), start(3, 44, branch=2), start(4, 48, branch=2, checkpoint="c"),
    ])  # fmt: skip
    for number in range(4):
        for attempt in range(6):
            reach = history.reach(number, attempt)
            for step in range(60):
                record = {"branch": number, "attempt": attempt, "step": step}
                assert (step <= reach) == history.on_path(record), record


def test_what_an_earlier_attempt_recorded_beyond_the_resume_is_replaced():
    history = fold([start(), start(attempt=1, step=40, checkpoint="b0-00000040-a0-0002")])
    assert history.on_path({"branch": 0, "step": 40, "attempt": 0})
    assert not history.on_path({"branch": 0, "step": 50, "attempt": 0})
    assert history.on_path({"branch": 0, "step": 50, "attempt": 1})


def test_an_attempt_without_a_checkpoint_replaces_even_the_first_record():
    history = fold([start(), start(attempt=1)])
    assert not history.on_path({"branch": 0, "step": 0, "attempt": 0})
    assert history.on_path({"branch": 0, "step": 0, "attempt": 1})


def test_the_command_that_stopped_a_run_is_answered_by_its_end():
    history = fold([start(), event("command_accepted", 5, command_id="c")])
    assert history.commands["c"].state == "accepted"
    history.apply(event("run_stopped", 5, reason="asked for by ada", command_id="c"))
    assert (history.state, history.commands["c"].state) == ("stopped", "applied")


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("run_finished", "finished"),
        ("run_stopped", "stopped"),
        ("run_failed", "failed"),
        ("run_cancelled", "cancelled"),
    ],
)
def test_how_a_run_ended_is_in_the_journal(kind, state):
    history = fold([start(), event(kind, reason="r")])
    assert history.state == state and history.reason == "r"
    history.apply(start(attempt=1))
    assert history.state == "running"


def test_pause_and_waiting_are_told_apart():
    history = fold([start(), proposed(), event("waiting_started", proposal=1)])
    assert history.state == "waiting_for_decision"
    history.apply(event("paused"))
    assert history.state == "paused" and history.pending().number == 1
    history.apply(event("waiting_ended"))
    assert history.state == "paused"
    history.apply(event("resumed"))
    assert history.state == "running"


def test_unknown_and_incomplete_events_are_counted_not_fatal():
    history = fold([start(), event("from_the_future"), {"kind": "reduction_applied"}, {"kind": ["x"]}, {}])
    assert history.unknown == 4 and history.state == "running"


def died(fault, attempt=0):
    return {**event("attempt_ended", reason="the process is gone", fault=fault), "attempt": attempt}


def saved(step, attempt=0):
    return {**event("checkpoint_published", checkpoint="x"), "step": step, "attempt": attempt}


def test_deaths_in_a_row_are_counted_by_whose_fault_they_were_until_a_run_comes_further():
    history = fold(
        [start(), saved(0), died("own", 1), start(2), died("outside", 3), start(4), died("own", 5)]
    )
    assert (history.deaths, history.kills, history.state) == (2, 1, "interrupted")
    history.apply(saved(0, 6))  # no further than before
    assert (history.deaths, history.kills) == (2, 1)
    history.apply(saved(5, 6))
    assert (history.deaths, history.kills) == (0, 0)
    assert fold([start(), died("own"), event("run_failed", reason="x")]).deaths == 0
    assert fold([start(), event("attempt_ended", reason="asked to")]).deaths == 0


def test_what_died_before_it_began_is_queued_still():
    history = fold([died("own"), died("outside")])
    assert (history.state, history.attempt, history.deaths, history.kills) == ("queued", -1, 1, 1)
