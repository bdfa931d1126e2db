"""Adam's average squares after a cut, against those of the same gradients, each carried over by itself."""

import numpy as np
import pytest
import torch

from hankelboard.trainer.compression.calibration import calibrate
from hankelboard.trainer.reduction.moments import squares, variances
from tests.trainer.layers.test_cuts_of_every_family import WIDTH, calibrated, cut, inputs

STEPS = 100
TRANSPORTED = ("lru", "s4d", "s5", "attention", "mamba2", "gla")
"""Families whose cut changes coordinates; Mamba keeps states as they are, DeltaNet its parameters."""


def gradients_of(layer, core):
    """Gradients of STEPS batches of a task that the layer has yet to learn."""
    generator = torch.Generator().manual_seed(5)
    noise = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    mix = noise(WIDTH, WIDTH) / WIDTH**0.5
    for _ in range(STEPS):
        x = noise(3, 21, WIDTH)
        layer.zero_grad()
        (layer(x) - torch.roll(x, 2, 1) @ mix - noise(*x.shape)).pow(2).mean().backward()
        yield {name: p.grad.numpy().copy() for name, p in core.named_parameters() if p.grad is not None}


def average(samples, beta):
    """As Adam has it, bias-corrected."""
    weights = beta ** np.arange(len(samples) - 1, -1, -1)
    return np.tensordot(weights, np.array(samples), axes=1) / weights.sum()


def logarithmic_error(squares, true):
    seen = true > 0.0
    return np.abs(np.log(squares[seen] / true[seen])).mean()


def layer_to_cut(family):
    """Mamba-2 has the maps that a cut changes only after a first one."""
    if family != "mamba2":
        return calibrated(family)
    layer, core, _ = cut(family, 6)
    calibrate(layer, inputs())
    return layer, core


@pytest.mark.parametrize("family", TRANSPORTED)
def test_they_are_nearer_to_the_true_ones_than_the_larger_of_both_parts(family):
    layer, core = layer_to_cut(family)
    samples = list(gradients_of(layer, core))
    reduction = core.reduce(core.extract(), 4)
    moved = [core.transport_moments(reduction, sample, {})[0] for sample in samples]
    errors = {}
    for step in range(20, STEPS + 1, 10):  # of a cut; averages of the gradient forget in 10 steps
        first, second = (
            {name: average([sample[name] ** power for sample in samples[:step]], beta) for name in samples[0]}
            for power, beta in ((1, 0.9), (2, 0.999))
        )
        m, v = core.transport_moments(reduction, first, second)
        nothing = {name: np.zeros_like(values) for name, values in first.items()}
        incoherent = core.transport_moments(reduction, nothing, second)[1]  # Σ w² v
        for name in v:
            if v[name].shape != second[name].shape:
                true = average([sample[name] ** 2 for sample in moved[:step]], 0.999)
                former = np.maximum(incoherent[name], m[name] ** 2)
                found = [logarithmic_error(rule, true) for rule in (v[name], former)]
                errors.setdefault(name, []).append(found)
                assert (v[name] >= m[name] ** 2).all()
    assert errors
    for name, found in errors.items():
        ours, former = np.mean(found, axis=0)
        kept_as_it_is = max(ours, former) < 1e-12  # as GLA's queries
        assert ours < former or kept_as_it_is, (name, ours, former)


def test_of_gradients_that_do_not_vary_the_square_is_that_of_the_average():
    m = {"a": np.array([1.0, -2.0])}
    assert (variances(m, {"a": m["a"] ** 2})["a"] == 0.0).all()
    assert squares({"a": np.array([3.0])}, {"a": np.array([0.5]), "b": np.array([2.0])}) == {
        "a": 9.5,
        "b": 2.0,
    }


def test_what_adam_has_no_average_of_varies_about_0():
    assert variances({}, {"a": np.array([4.0])}) == {"a": 4.0}
