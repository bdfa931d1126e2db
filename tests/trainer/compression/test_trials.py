"""The policy pragmatic: cut a fixed share, and undo it when validation fell too far."""

KEYS = {"policy": "pragmatic", "steps": [20, 30], "share": 0.5}


def test_a_cut_that_does_not_hurt_is_kept_and_the_next_one_follows(small_run):
    run = small_run(reduction={**KEYS, "threshold": 1.0})
    assert run.train() == "finished"
    judged = run.events("reduction_judged")
    assert [event["kept"] for event in judged] == [True, True]
    assert [event["step"] for event in judged] == [30, 40]
    assert [event["to"] for event in run.events("reduction_applied")] == [[6, 6], [3, 3]]
    assert run.events("decision_accepted")[0]["by"] == "policy:pragmatic"


def test_a_cut_that_hurts_is_undone_and_no_more_cuts_follow(small_run, monkeypatch):
    fall_after(monkeypatch, 20)
    run = small_run(reduction={**KEYS, "threshold": 0.05})
    assert run.train() == "finished"
    judged = run.events("reduction_judged")
    assert [(event["step"], event["kept"]) for event in judged] == [(30, False)]
    history = run.history
    assert history.proposals[1].state == "rolled_back" and not judged[0]["now"]
    assert (history.branch, history.state_dims, len(history.proposals)) == (1, [12, 12], 1)
    branch = run.events("branch_started")[0]
    assert (branch["from_step"], branch["by"], branch["command_id"]) == (20, "policy:pragmatic", None)


def test_the_last_cut_is_judged_too(small_run, monkeypatch):
    fall_after(monkeypatch, 50)
    run = small_run(reduction={**KEYS, "steps": [50], "threshold": 0.05, "trial": 1000})
    assert run.train() == "finished"
    assert [event["step"] for event in run.events("reduction_judged")] == [60]
    assert (run.history.branch, run.history.state_dims) == (1, [12, 12])
    assert run.events("run_finished")[0]["branch"] == 1


def test_a_trial_survives_a_stop(small_run, monkeypatch):
    fall_after(monkeypatch, 20)
    run = small_run(reduction={**KEYS, "steps": [20], "threshold": 0.05, "trial": 30})
    run.send("stop", at_step=35)
    assert run.train() == "stopped"
    assert run.train() == "finished"
    assert run.events("reduction_judged")[0]["step"] == 50 and run.history.branch == 1


def fall_after(monkeypatch, step):
    """Validation accuracy is 1, and 0 beyond this step on branch 0."""
    from hankelboard.trainer.compression.monitor import Monitor

    def measure(monitor):
        state = monitor._run.state
        bad = state.step > step and state.branch == 0
        measured = {"loss": 1.0, "accuracy": 0.0 if bad else 1.0}
        state.last = {f"val/{name}": value for name, value in measured.items()}
        return measured

    monkeypatch.setattr(Monitor, "measure", measure)
