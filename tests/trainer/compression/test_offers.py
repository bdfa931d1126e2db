"""A proposal's whole life, with a real trainer on the other side."""

import copy
import re

import pytest
import torch

from hankelboard.storage.errors import AlreadyDecided, NotDecidable
from hankelboard.storage.proposals import ranks_at, read_decision, read_proposal
from hankelboard.storage.summary import summarise
from hankelboard.trainer.compression import offers
from hankelboard.trainer.reduction.surgery import reducible_layers
from hankelboard.trainer.training import evaluation
from tests.trainer.small_run import ENDLESS, at_steps


def test_auto_is_a_decision_like_any_other(small_run):
    run = small_run(reduction={"steps": [20]})
    run.train()
    decision = read_decision(run.paths, 1)
    assert (decision.verdict, decision.by, decision.via) == ("approve", "policy:auto", "trainer")
    outcome = run.history.proposals[1]
    assert outcome.state == "applied"
    # What was measured in turns for the proposal is what the cut is said to save.
    assert outcome.applied["seconds_per_step"] == read_proposal(run.paths, 1)["cost"]["seconds_per_step"]
    summary = summarise(run.paths)
    assert 0 < outcome.applied["train_s"] < summary.train_s
    assert summary.savings["cutting_s"] > 0
    assert summary.savings["cutting_s"] == pytest.approx(run.history.finished["cutting_s"], abs=1e-3)


def test_keep_records_what_would_have_been_cut_and_cuts_nothing(small_run):
    run = small_run(reduction={"policy": "keep"})
    run.train()
    assert run.history.state_dims == [12, 12]
    assert [outcome.state for outcome in run.history.proposals.values()] == ["rejected", "rejected"]
    proposal = read_proposal(run.paths, 1)
    assert proposal["ranks"] == ranks_at(proposal, 0.2) != [12, 12]
    assert {point["tolerance"] for point in proposal["measured"]["points"]} <= {0.1, 0.2}


def test_ask_pauses_and_a_person_approves_other_ranks(small_run):
    run = small_run(reduction={"policy": "ask", "steps": [20]})
    with run.training():
        run.wait_pending(1)
        run.wait(lambda history: history.state == run.status["state"] == "waiting_for_decision")
        assert run.status["step"] == 20
        run.decide(1, "approve", ranks=[5, 7], reason="flat tail")
        run.wait(lambda history: history.state == "finished")
    event = run.events("reduction_applied")[0]
    assert (event["from"], event["to"], event["step"]) == ([12, 12], [5, 7], 20)
    proposed = read_proposal(run.paths, 1)["cost"]["seconds_per_step"]
    assert proposed != event["seconds_per_step"] and min(event["seconds_per_step"].values()) > 0
    accepted = run.events("decision_accepted")[0]
    assert (accepted["by"], accepted["reason"], accepted["apply_at_step"]) == ("ada", "flat tail", 20)
    assert run.live_path()[-1][3:] == (5, 7)
    assert run.status["waiting_s"] > 0
    with pytest.raises(AlreadyDecided, match=r"proposal 1 was already approved by ada at 20\d\d-"):
        run.decide(1, "reject")


def test_a_rejected_proposal_leaves_the_run_as_if_it_had_not_been(small_run):
    asked = small_run(reduction={"policy": "ask", "steps": [20]})
    quiet = small_run(reduction={"attempts": 0, "steps": []})
    with asked.training():
        asked.wait_pending(1)
        asked.decide(1, "reject", reason="not yet")
        asked.wait(lambda history: history.state == "finished")
    quiet.train()
    assert asked.history.proposals[1].state == "rejected"
    assert asked.final_weights() == quiet.final_weights()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no json at all", "the decision file is no decision"),
        ('{"verdict": "perhaps"}', "the decision file is no decision"),
        ('{"verdict": "approve", "ranks": [99, 1]}', "layer 0: rank 99 is outside 1…12"),
        ('{"verdict": "approve", "ranks": [5]}', "1 ranks given, the proposal has 2 layers"),
        ('{"verdict": "approve", "ranks": ["a", {}]}', "the decision file is no decision"),
    ],
)
def test_a_decision_that_makes_no_sense_is_refused_and_the_cut_offered_again(small_run, text, reason):
    run = small_run(reduction={"policy": "ask", "steps": [20]})
    with run.training():
        run.wait_pending(1)
        (run.paths.root / "written").write_text(text)
        (run.paths.root / "written").rename(run.paths.decision(1))
        history = run.wait_pending(2)
        assert history.proposals[1].state == "refused" and reason in history.proposals[1].reason
        assert (history.proposals[2].attempt_step, history.proposals[2].step) == (20, 20)
        with pytest.raises((AlreadyDecided, NotDecidable)):
            run.decide(1, "approve")
        run.decide(2, "approve")
        run.wait(lambda history: history.state == "finished")
    assert run.history.proposals[2].state == "applied"


def test_training_goes_on_while_one_thinks_and_a_stale_approval_is_offered_again(small_run, monkeypatch):
    run = small_run(
        model={"family": "tests.trainer.own:Spreading"},
        training={"steps": ENDLESS, "learning_rate": 0.1, "warmup": 0.0, "evaluate_every": 1000},
        reduction={"policy": "ask", "waiting": "train", "steps": [0], "tolerance": 0.1},
    )
    at_steps(monkeypatch, {60: lambda: run.decide(1, "approve", ranks=[1])})
    with run.training():
        run.wait_pending(2)
        run.send("stop")
    refused = run.history.proposals[1]
    first, second = (read_proposal(run.paths, number) for number in (1, 2))
    assert refused.state == "refused"
    shares = r"would lose [\d.]+ % at rank 1 now, [\d.]+ % when it was"
    assert re.match(rf"stale: layer \d {shares}", refused.reason)
    assert run.events("decision_accepted")[0]["step"] == second["step"] == 60
    assert second["attempt_step"] == first["attempt_step"] == 0
    assert second["layers"][0]["hsv"] != first["layers"][0]["hsv"]


def test_what_is_undecided_at_the_last_step_expires(small_run):
    run = small_run(reduction={"policy": "ask", "waiting": "train", "steps": [40]})
    assert run.train() == "finished"
    assert run.history.proposals[1].state == "expired"
    with pytest.raises(AlreadyDecided, match=r"rejected by policy:timeout at .*: training ended before"):
        run.decide(1, "approve")


def test_at_the_last_step_a_run_can_wait_for_the_decision(small_run):
    run = small_run(reduction={"policy": "ask", "waiting": "train", "steps": [40], "at_end": "wait"})
    with run.training():
        run.wait(lambda history: history.state == "waiting_for_decision" and history.step == 60)
        run.decide(1, "approve")
        run.wait(lambda history: history.state == "finished")
    assert run.events("reduction_applied")[0]["step"] == 60
    assert run.checkpoints()[-1].state_dims == run.history.state_dims != [12, 12]


def test_a_cut_that_cannot_be_saved_before_is_not_made(small_run, monkeypatch):
    run = small_run(reduction={"steps": [20]}, training={"checkpoint_every": 0})
    from hankelboard.trainer.compression.run import Run

    save = Run.save

    def refuse(run, cause, **more):
        return None if cause == "before_reduction" else save(run, cause, **more)

    monkeypatch.setattr(Run, "save", refuse)
    assert run.train() == "finished"
    assert run.history.state_dims == [12, 12]
    assert "no checkpoint to go back to" in run.history.proposals[1].reason


def test_the_loss_right_after_the_cut_is_that_of_the_dense_reduced_system(small_run, monkeypatch):
    """Write-back loses nothing: the network computes what A_r, B_r, C_r computed by a plain loop compute."""
    seen = {}
    cut = offers.cut

    def watched(model, optimizer, ranks, moments):
        if optimizer is not None:
            seen["dense"] = dense_loss(copy.deepcopy(model).double().eval(), ranks, seen["val"])
        return cut(model, optimizer, ranks, moments)

    def kept(model, split, text=False, evaluate=evaluation.evaluate):
        seen["val"] = split
        return evaluate(model, split, text=text)

    monkeypatch.setattr("hankelboard.trainer.training.workload.evaluate", kept)
    monkeypatch.setattr(offers, "cut", watched)
    run = small_run(reduction={"steps": [20]})
    run.train()
    after = run.events("reduction_applied")[0]["after"]["loss"]
    assert after == pytest.approx(seen["dense"], rel=1e-5)
    assert run.checkpoints("after_reduction")[0].metrics["val/loss"] == after
    assert abs(after - run.events("reduction_applied")[0]["before"]["loss"]) > 1e-6  # the cut was one


class Dense(torch.nn.Module):
    """x[l] = A x[l-1] + B u[l], y[l] = Re(C x[l]) + D u[l]; A dense complex."""

    def __init__(self, A, B, C, D):
        super().__init__()
        self.system = [torch.as_tensor(matrix, dtype=torch.complex128) for matrix in (A, B, C)]
        self.D = D

    def forward(self, u):
        A, B, C = self.system
        state = torch.zeros(len(u), len(A), dtype=torch.complex128)
        outputs = []
        for step in range(u.shape[1]):
            state = state @ A.T + u[:, step].to(torch.complex128) @ B.T
            outputs.append((state @ C.T).real)
        return torch.stack(outputs, 1) + self.D * u


def dense_loss(model, ranks, split):
    """Validation loss with every layer replaced by its balanced truncation."""
    import numpy as np

    for (name, layer), rank in zip(reducible_layers(model), ranks, strict=True):
        p = {name: parameter.detach().numpy() for name, parameter in layer.named_parameters()}
        lam = np.exp(-np.exp(p["nu_log"]) + 1j * np.exp(p["theta_log"]))
        B = np.exp(p["gamma_log"])[:, None] * (p["B_re"] + 1j * p["B_im"])
        reduced = classical_truncation(lam, B, p["C_re"] + 1j * p["C_im"], rank)
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, Dense(*reduced, layer.D.detach()))
    return torch.nn.functional.cross_entropy(model(split.inputs.double()), split.labels).item()


def classical_truncation(lam, B, C, rank):
    """Square-root balanced truncation by scipy's dense Lyapunov solver and Cholesky-like factors."""
    import numpy as np
    from scipy.linalg import eigh, solve_discrete_lyapunov, svd

    A = np.diag(lam)
    P = solve_discrete_lyapunov(A, B @ B.conj().T)
    Q = solve_discrete_lyapunov(A.conj().T, C.conj().T @ C)
    factors = []
    for gramian in (P, Q):
        values, vectors = eigh((gramian + gramian.conj().T) / 2)
        factors.append(vectors * np.sqrt(np.clip(values, 0, None)))
    U, sigma, Vh = svd(factors[1].conj().T @ factors[0])
    root = np.sqrt(sigma[:rank])
    left = (U[:, :rank] / root).conj().T @ factors[1].conj().T
    right = factors[0] @ Vh[:rank].conj().T / root
    return left @ A @ right, left @ B, C @ right
