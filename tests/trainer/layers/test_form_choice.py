"""The form of a recurrence is chosen once, recorded before it is used, and kept when a run resumes."""

import pytest

from hankelboard.trainer.layers import diagonal_layer
from hankelboard.trainer.layers.recurrences.diagonal_forms import FORMS, lru_output


def other_than(form):
    return "kernel" if form == "scan" else "scan"


def test_the_form_is_recorded_before_the_first_step_and_at_every_cut(small_run):
    run = small_run()
    run.train()
    chosen = run.events("kernel_chosen")
    assert [event["step"] for event in chosen] == [0, 20, 40]
    assert all(len(event["forms"]) == len(run.history.state_dims) for event in chosen)
    kinds = [e["kind"] for e in run.events("kernel_chosen", "checkpoint_published", "reduction_applied")]
    assert kinds[:2] == ["kernel_chosen", "checkpoint_published"]
    for at, kind in enumerate(kinds):
        if kind == "reduction_applied":
            assert kinds[at - 1] == "kernel_chosen"


def test_a_resumed_run_keeps_the_form_although_it_would_choose_another_now(small_run, monkeypatch):
    whole, halved = small_run(reduction={"policy": "keep"}), small_run(reduction={"policy": "keep"})
    whole.train()
    halved.send("stop", at_step=35)
    halved.train()
    (chosen,) = halved.events("kernel_chosen")
    monkeypatch.setattr(diagonal_layer, "choose_form", lambda *shape: other_than(chosen["forms"][0]))
    halved.send("resume")
    assert halved.train() == "finished"
    assert halved.events("kernel_chosen") == [chosen]
    assert halved.final_weights() == whole.final_weights()
    assert halved.live_path() == whole.live_path()


def test_a_cut_chooses_the_form_anew_and_a_run_resumed_after_it_keeps_that(small_run, monkeypatch):
    monkeypatch.setattr(
        diagonal_layer, "choose_form", lambda b, length, h, n: "scan" if n == 12 else "chunks"
    )
    whole, halved = (small_run(reduction={"steps": [20]}) for _ in range(2))
    whole.train()
    halved.send("stop", at_step=30)
    halved.train()
    monkeypatch.setattr(diagonal_layer, "choose_form", lambda *shape: "kernel")
    halved.send("resume")
    assert halved.train() == "finished"
    for run in (whole, halved):
        assert [event["forms"] for event in run.events("kernel_chosen")] == [["scan"] * 2, ["chunks"] * 2]
    assert halved.final_weights() == whole.final_weights()
    assert halved.live_path() == whole.live_path()


def test_going_back_before_a_cut_goes_back_to_its_form(small_run, monkeypatch):
    """Full layers are scanned here and cut ones not; after resuming, full ones would not be either."""
    monkeypatch.setattr(
        diagonal_layer, "choose_form", lambda b, length, h, n: "scan" if n == 12 else "kernel"
    )
    run = small_run(reduction={"steps": [20]})
    run.send("stop", at_step=30)
    run.train()
    before = next(c for c in run.checkpoints() if c.cause == "before_reduction")
    monkeypatch.setattr(diagonal_layer, "choose_form", lambda *shape: "kernel")
    used = []
    monkeypatch.setattr(diagonal_layer, "lru_output", lambda *a: used.append(a[-1]) or lru_output(*a))
    run.send("resume")
    run.send("rollback", checkpoint=str(before.name))
    run.train()
    assert [event["forms"] for event in run.events("kernel_chosen")] == [["scan"] * 2, ["kernel"] * 2]
    assert run.history.state_dims == [12, 12] and set(used) == {"scan"}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_that_is_asked_for_is_the_one_recorded(small_run, form):
    run = small_run(model={"form": form}, training={"steps": 5}, reduction={"attempts": 0, "steps": []})
    run.train()
    assert [event["forms"] for event in run.events("kernel_chosen")] == [[form, form]]
