"""The numbers of a proposal on the Truncation page, computed again from the checkpoint before the cut.

Independent of the code that made them: plain NumPy and scipy on the tensors of the file, a loop over time.
"""

import math

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.linalg import solve_discrete_lyapunov
from scipy.special import erf

from hankelboard.settings.config import DataConfig
from hankelboard.storage.proposals import read_proposal, what_if
from hankelboard.trainer.data.digits import load_digits_task
from tests.trainer.compression.test_offers import classical_truncation
from tests.trainer.small_run import SmallRun

LAYERS = 2


@pytest.fixture(scope="module")
def decided(tmp_path_factory):
    """A proposal, and the weights it was made from."""
    run = SmallRun(tmp_path_factory.mktemp("runs"), reduction={"steps": [30], "evidence_samples": 80})
    with pytest.MonkeyPatch.context() as patch:  # all is measured, however long it takes
        patch.setattr("hankelboard.trainer.compression.measurement.LEAST_UNWATCHED_S", math.inf)
        run.train()
    before = run.checkpoints("before_reduction")[0]
    return read_proposal(run.paths, 1), load_file(run.paths.checkpoint(before.name) / "model.safetensors")


def system(weights, layer):
    p = {name: weights[f"blocks.{layer}.mixer.{name}"].astype(np.float64) for name in PARAMETERS}
    A = np.diag(np.exp(-np.exp(p["nu_log"]) + 1j * np.exp(p["theta_log"])))
    B = np.exp(p["gamma_log"])[:, None] * (p["B_re"] + 1j * p["B_im"])
    return A, B, p["C_re"] + 1j * p["C_im"]


PARAMETERS = ("nu_log", "theta_log", "gamma_log", "B_re", "B_im", "C_re", "C_im", "D")


def singular_values(A, B, C):
    P = solve_discrete_lyapunov(A, B @ B.conj().T)
    Q = solve_discrete_lyapunov(A.conj().T, C.conj().T @ C)
    return np.sort(np.sqrt(np.abs(np.linalg.eigvals(P @ Q))))[::-1]


@pytest.mark.parametrize("layer", range(LAYERS))
def test_spectrum_shares_bounds_and_rank(decided, layer):
    proposal, weights = decided
    told = proposal["layers"][layer]
    hsv = singular_values(*system(weights, layer))
    np.testing.assert_allclose(told["hsv"], hsv, rtol=1e-6, atol=1e-7 * hsv[0])
    shares = [hsv[r:].sum() / hsv.sum() for r in range(len(hsv) + 1)]
    np.testing.assert_allclose(told["discarded_share"], shares, atol=1e-7)
    np.testing.assert_allclose(told["error_bound"], [2 * hsv[r:].sum() for r in range(13)], rtol=1e-6)
    assert told["rank"] == next(r for r in range(13) if shares[r] <= proposal["tolerance"])
    assert told["error_interval"] == [
        pytest.approx(hsv[told["rank"]], rel=1e-6), pytest.approx(2 * hsv[told["rank"]:].sum(), rel=1e-6)
    ]  # fmt: skip


@pytest.mark.parametrize("layer", range(LAYERS))
def test_gain(decided, layer):
    proposal, weights = decided
    A, B, C = system(weights, layer)
    omegas = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    gains = [np.linalg.norm((C / (np.exp(1j * w) - np.diag(A))) @ B, 2) for w in omegas]
    assert proposal["layers"][layer]["gain"] == pytest.approx(max(gains), rel=5e-3)


def test_parameters(decided):
    proposal, weights = decided
    total = sum(tensor.size for tensor in weights.values())
    full = [layer["state_dim"] for layer in proposal["layers"]]
    assert what_if(proposal, full)["parameters"] == total == proposal["cost"]["parameters"]["now"]
    width = weights["blocks.0.mixer.D"].size
    saved = sum((12 - rank) * (3 + 4 * width) for rank in proposal["ranks"])
    assert what_if(proposal, proposal["ranks"])["parameters"] == total - saved


def test_loss_and_accuracy_before_and_after_by_a_plain_loop(decided):
    proposal, weights = decided
    task = load_digits_task(DataConfig())
    inputs, labels = task.val.inputs[:80].double().numpy(), task.val.labels[:80].numpy()
    systems = [system(weights, layer) for layer in range(LAYERS)]
    measured = proposal["measured"]
    scores = forward(weights, systems, inputs)
    assert_scores(scores, labels, measured["before"])
    cut = [
        classical_truncation(np.diag(A), B, C, rank)
        for (A, B, C), rank in zip(systems, proposal["ranks"], strict=True)
    ]
    point = next(p for p in measured["points"] if p["ranks"] == proposal["ranks"])
    after = forward(weights, cut, inputs)
    assert_scores(after, labels, point)
    p, q = log_softmax(scores), log_softmax(after)
    assert point["kl"] == pytest.approx((np.exp(p) * (p - q)).sum(1).mean(), rel=1e-2, abs=1e-6)
    low, high = point["loss_change"]
    assert low <= point["loss"] - measured["before"]["loss"] <= high


def forward(weights, systems, inputs):
    """Logits of the network, computed time step by time step."""
    w = {name: tensor.astype(np.float64) for name, tensor in weights.items()}
    x = inputs @ w["encoder.weight"].T + w["encoder.bias"]
    for layer, (A, B, C) in enumerate(systems):
        u, outputs = layer_norm(x), []
        state = np.zeros((len(u), len(A)), dtype=complex)
        for step in range(u.shape[1]):
            state = state @ A.T + u[:, step] @ B.T
            outputs.append((state @ C.T).real)
        y = gelu(np.stack(outputs, 1) + w[f"blocks.{layer}.mixer.D"] * u)
        x = x + glu(y, w, f"blocks.{layer}")
    return x.mean(1) @ w["head.weight"].T + w["head.bias"]


def layer_norm(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def gelu(x):
    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def glu(x, w, block):
    a, b = np.split(x @ w[f"{block}.glu.weight"].T + w[f"{block}.glu.bias"], 2, axis=-1)
    return a / (1 + np.exp(-b))


def log_softmax(logits):
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def assert_scores(logits, labels, told):
    loss = -log_softmax(logits)[np.arange(len(labels)), labels].mean()
    assert told["loss"] == pytest.approx(loss, rel=1e-4)
    assert told["accuracy"] == pytest.approx((logits.argmax(1) == labels).mean(), abs=1e-9)
