"""bfloat16 changes how linear layers multiply, and nothing about recurrences, parameters and cuts."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from hankelboard.settings.config import parse
from hankelboard.settings.families import FAMILIES
from hankelboard.storage.errors import ConfigError
from hankelboard.trainer.compression.calibration import calibrate
from hankelboard.trainer.data.task import Split, Task
from hankelboard.trainer.layers.recurrences import (
    channel_decay,
    delta_rule,
    diagonal_forms,
    scalar_decay,
    selective,
    siso,
)
from hankelboard.trainer.layers.recurrences.precision import autocast, check_precision, in_float32
from hankelboard.trainer.reduction.surgery import reducible_layers
from hankelboard.trainer.training.model import build_model

CPU = torch.device("cpu")
KEYS = {"model": {"width": 8, "state_dim": 6, "layers": 2, "norm": "layer", "dropout": 0.0}}


def drawn(*shape, dtype=torch.float32, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def network(family, pooling="mean", state_dim=6):
    """A small network of a family and the split that it reads: odd length, odd batch."""
    split = Split(drawn(5, 37, 3), torch.arange(5) % 4)
    task = Task(split, split, split, classes=4)
    torch.manual_seed(0)
    model = {**KEYS["model"], "family": family, "pooling": pooling, "state_dim": state_dim}
    return build_model(parse({"model": model}), task), split


def loss_and_gradients(model, split, precision):
    """Loss of a training step, and the gradients of all parameters that have one."""
    model.zero_grad(set_to_none=True)
    with autocast(CPU, precision):
        loss = cross_entropy(model(split.inputs).float(), split.labels)
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("pooling", ["mean", "masked"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_in_bfloat16_is_near_the_one_in_float32(family, pooling):
    model, split = network(family, pooling)
    wanted, exact = loss_and_gradients(model, split, "float32")
    loss, gradients = loss_and_gradients(model, split, "bfloat16")
    assert loss != wanted and loss == pytest.approx(wanted, rel=0.02)
    assert gradients.keys() == exact.keys()
    for name, gradient in gradients.items():
        assert gradient.dtype == torch.float32 and gradient.isfinite().all(), name
    head = exact["head.weight"]
    assert (gradients["head.weight"] - head).norm() < 0.05 * head.norm()


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_cut_needs_is_measured_without_bfloat16(family):
    """Although the forward pass around it is under autocast here, which a run's calibration is not."""
    model, _ = network(family)
    for _, layer in reducible_layers(model):
        if not layer.offers("observing"):
            continue
        watched = Watched(layer.observer())
        layer.observer = lambda watched=watched: watched
        with autocast(CPU, "bfloat16"):
            calibrate(model, drawn(3, 20, 3))
        assert watched.seen == {(torch.float32, False)}
    for _, layer in reducible_layers(model):
        assert layer.propose(layer.extract()).hsv.dtype == "float64"


class Watched:
    """An observer that notes the types of what it is shown, and whether autocast is on meanwhile."""

    def __init__(self, observer):
        self._observer = observer
        self.seen = set()

    def see(self, *tensors):
        self.seen |= {(tensor.dtype, torch.is_autocast_enabled("cpu")) for tensor in tensors}
        self._observer.see(*tensors)

    def statistics(self):
        return self._observer.statistics()


def decays(*shape):
    return -drawn(*shape, seed=4).abs()


def complex_parts():
    return torch.complex(-0.1 - drawn(3, 4).abs(), drawn(3, 4, seed=1)), torch.complex(
        drawn(3, 4), drawn(3, 4)
    )


def scan_of(form):
    B, C = torch.complex(drawn(4, 3), drawn(4, 3, seed=1)), torch.complex(drawn(3, 4), drawn(3, 4, seed=1))
    eigenvalues = torch.polar(torch.full((4,), 0.9), torch.arange(4.0))
    return lambda u: diagonal_forms.lru_recurrence(u, eigenvalues, B, C, form)


HEADS = (2, 9, 2, 3)
RECURRENCES = {
    "scan": (scan_of("scan"), [drawn(2, 9, 3)]),
    "kernel": (scan_of("kernel"), [drawn(2, 9, 3)]),
    "chunks": (scan_of("chunks"), [drawn(2, 9, 3)]),
    "siso kernel": (
        lambda u: siso.siso_convolution(u, siso.siso_kernel(*complex_parts(), 9)),
        [drawn(2, 9, 3)],
    ),
    "selective": (
        lambda x, B, C: selective.selective_scan(x, -decays(2, 9, 3), -torch.ones(3, 4), B, C),
        [drawn(2, 9, 3), drawn(2, 9, 4, seed=1), drawn(2, 9, 4, seed=2)],
    ),
    "scalar decay": (
        lambda q, k, v: scalar_decay.scalar_decay_scan(q, k, v, decays(2, 9, 2)),
        [drawn(*HEADS), drawn(*HEADS, seed=1), drawn(*HEADS, seed=2)],
    ),
    "channel decay": (
        lambda q, k, v: channel_decay.channel_decay(q, k, v, decays(*HEADS)),
        [drawn(*HEADS), drawn(*HEADS, seed=1), drawn(*HEADS, seed=2)],
    ),
    "delta rule": (
        lambda q, k, v: delta_rule.delta_rule(q, k, v, torch.full((2, 9, 2), 0.5), decays(2, 9, 2)),
        [drawn(*HEADS), 0.5 * drawn(*HEADS, seed=1), drawn(*HEADS, seed=2)],
    ),
}


@pytest.mark.parametrize("name", RECURRENCES)
def test_a_recurrence_under_autocast_is_that_of_single_precision_to_the_bit(name):
    """For inputs of 16 bits: only they are rounded, and their gradients."""
    recurrence, inputs = RECURRENCES[name]
    halves = [each.bfloat16().requires_grad_() for each in inputs]
    singles = [each.detach().float().requires_grad_() for each in halves]
    wanted = recurrence(*singles)
    with autocast(CPU, "bfloat16"):
        y = recurrence(*halves)
    assert y.dtype == torch.float32 and torch.equal(y, wanted)
    wanted.square().sum().backward()
    y.square().sum().backward()
    for half, single in zip(halves, singles, strict=True):
        assert half.grad.dtype == torch.bfloat16 and torch.equal(half.grad, single.grad.bfloat16())


def test_double_precision_passes_through():
    x = drawn(2, 3, dtype=torch.float64)
    with autocast(CPU, "bfloat16"):
        assert in_float32(lambda x, factor: factor @ x)(x, factor=drawn(3, 2).double()).dtype == x.dtype


def test_float32_enters_no_autocast():
    with autocast(CPU, "float32"):
        assert not torch.is_autocast_enabled("cpu")


def test_a_gpu_without_bfloat16_is_refused_with_advice(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "an old one")
    with pytest.raises(ConfigError, match=r"an old one has no bfloat16; set training\.precision = float32"):
        check_precision(torch.device("cuda"), "bfloat16")
    check_precision(torch.device("cuda"), "float32")
    check_precision(CPU, "bfloat16")


def test_a_run_in_bfloat16_is_cut_and_resumed_with_the_same_bits(small_run):
    training = {"steps": 20, "precision": "bfloat16"}
    reduction = {"tolerance": 0.3, "steps": [6]}
    keys = {"model": {"family": "mamba"}, "training": training, "reduction": reduction}
    whole, parted = small_run(**keys), small_run(**keys)
    assert whole.train() == "finished"
    assert whole.events("reduction_applied")
    parted.send("stop", at_step=12)
    assert parted.train() == "stopped"
    parted.send("resume")
    assert parted.train() == "finished"
    assert parted.final_weights() == whole.final_weights()


def test_the_precision_of_a_run_is_that_of_its_training_and_its_evaluation(small_run):
    nothing = {"attempts": 0, "steps": []}
    plain, halved = (
        small_run(training={"steps": 2, "precision": precision}, reduction=nothing)
        for precision in ("float32", "bfloat16")
    )
    assert plain.train() == halved.train() == "finished"
    for exact, rounded in zip(plain.live_path(), halved.live_path(), strict=True):
        for loss, wanted in zip(rounded[1:3], exact[1:3], strict=True):
            assert loss == pytest.approx(wanted, rel=0.02) and (loss != wanted or loss == -1.0)
    tests = [run.events("run_finished")[0]["test"]["loss"] for run in (plain, halved)]
    assert tests[0] != tests[1] and tests[0] == pytest.approx(tests[1], rel=0.02)
    assert plain.final_weights() != halved.final_weights()
