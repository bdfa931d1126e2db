"""The S5 layer: initialisation, its forms, and parameters that shrink under it."""

import copy

import numpy as np
import pytest
import scipy.linalg
import torch

from hankelboard.trainer.layers.recurrences.diagonal import lru_sequential
from hankelboard.trainer.layers.recurrences.diagonal_forms import FORMS
from hankelboard.trainer.layers.s5 import S5, legs_modes
from hankelboard.trainer.reduction.linear.hankel import hankel_singular_values
from hankelboard.trainer.reduction.method import Method
from hankelboard.trainer.reduction.surgery import apply_reduction
from hankelboard.trainer.training.objective.nuclear_norm import hankel_nuclear_norm


def s5(width=5, state_dim=8, seed=0, dtype=torch.float64, **options):
    torch.manual_seed(seed)
    return S5(width, state_dim, **options).to(dtype)


def inputs(length=33, batch=2, width=5, dtype=torch.float64):
    return torch.randn(batch, length, width, generator=torch.Generator().manual_seed(1), dtype=dtype)


@pytest.mark.parametrize("modes", [1, 2, 8])
def test_initial_poles_are_those_of_hippo_legs(modes):
    n = 2 * modes
    A = np.zeros((n, n))
    for row in range(n):
        for column in range(row + 1):
            A[row, column] = -np.sqrt((2 * row + 1) * (2 * column + 1)) if row > column else -(row + 1.0)
    P = np.sqrt(np.arange(n) + 0.5)
    normal = A + np.outer(P, P)
    frequencies, vectors = (part.numpy().astype(complex) for part in legs_modes(modes))
    assert normal @ vectors == pytest.approx(vectors * (-0.5 + 1j * frequencies), abs=1e-4)
    assert vectors.conj().T @ vectors == pytest.approx(np.eye(modes), abs=1e-5)
    assert (frequencies.real > 0.0).all()
    assert s5(3, modes).A_im.tolist() == pytest.approx(frequencies.real)


def test_initial_scales():
    layer = s5(200, 100)
    assert layer.log_dt.exp().min() >= 1e-3 and layer.log_dt.exp().max() <= 1e-1
    for real, imaginary in ((layer.B_re, layer.B_im), (layer.C_re, layer.C_im)):
        assert (real.square() + imaginary.square()).mean().item() == pytest.approx(1 / 200, rel=0.05)


def test_a_layer_is_its_continuous_system_held_for_a_step():
    layer, u = s5(2, 1), inputs(12, 1, 2)
    parameters = {name: p.detach().numpy() for name, p in layer.named_parameters()}
    pole = -np.exp(parameters["A_re_log"][0]) + 1j * parameters["A_im"][0]
    B = (parameters["B_re"] + 1j * parameters["B_im"])[0]
    C = (parameters["C_re"] + 1j * parameters["C_im"])[:, 0]
    A = np.array([[pole.real, -pole.imag], [pole.imag, pole.real]])
    exponent = np.block([[A, np.stack([B.real, B.imag])], [np.zeros((2, 4))]])
    held = scipy.linalg.expm(exponent * np.exp(parameters["log_dt"][0]))
    z = np.zeros(2)
    for t, v in enumerate(u[0].numpy()):
        z = held[:2, :2] @ z + held[:2, 2:] @ v
        wanted = 2.0 * np.stack([C.real, -C.imag], axis=1) @ z + parameters["D"] * v
        assert layer(u)[0, t].tolist() == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize(("length", "batch"), [(33, 2), (1, 1), (100, 1)])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_recurrence(dtype, tolerance, length, batch, form):
    layer, found = s5(dtype=dtype, form=form), []
    weights = torch.linspace(-1.0, 1.0, batch * length * 5, dtype=dtype).view(batch, length, 5)
    for run in (layer, lambda u: lru_sequential(u, *layer.modes()) + layer.D * u):
        u = inputs(length, batch, dtype=dtype).requires_grad_()
        layer.zero_grad()
        y = run(u)
        (y * weights).sum().backward()
        found.append([y.detach(), u.grad, *(p.grad.clone() for p in layer.parameters())])
    assert layer.form_used == form
    for here, wanted in zip(*found, strict=True):
        assert (here - wanted).norm() <= tolerance * wanted.norm().clamp_min(1e-2)


def test_moments_point_where_the_gradients_of_the_cut_layer_do():
    layer, u = s5(state_dim=12, dt_max=1.0), inputs(150, 4)
    weights = torch.randn(4, 150, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def gradients(of):
        of.zero_grad()
        (of(u) * weights).sum().backward()
        return {name: p.grad.numpy().copy() for name, p in of.named_parameters()}

    first = gradients(layer)
    reduction = layer.reduce(layer.extract(), 11)
    moved, squares = layer.transport_moments(reduction, first, {k: v**2 for k, v in first.items()})
    cut = copy.deepcopy(layer)
    cut.write_back(reduction)
    true = gradients(cut)
    for name in layer.extract():
        cosine = (moved[name] * true[name]).sum() / np.linalg.norm(moved[name]) / np.linalg.norm(true[name])
        assert cosine > 0.97, name
        assert name == "D" or (squares[name] >= moved[name] ** 2).all()
    assert (moved["D"] == first["D"]).all()


def test_the_system_it_gives_to_a_loss_is_its_real_map():
    layer = s5(3, 4)
    hsv = layer.spectrum(layer.extract())
    assert hankel_nuclear_norm(*layer.system()).item() == pytest.approx(hsv.sum(), rel=1e-3)
    system = layer.realisation(layer.extract())
    both = hankel_singular_values(system.eigenvalues, system.B, system.C)
    assert both.reshape(-1, 2).sum(1) == pytest.approx(hsv, rel=1e-8)


def test_the_method_random_keeps_other_states():
    layer, u = s5(state_dim=16), inputs(200)
    errors = []
    for method in (Method("balanced"), Method("random", seed=1)):
        cut = copy.deepcopy(layer)
        cut.method = method
        assert apply_reduction(cut, None, cut.reduce(cut.extract(), 12)) < 1e-10
        errors.append((cut(u) - layer(u)).norm())
    assert errors[0] < 0.7 * errors[1]


def test_what_cannot_be():
    for arguments, words in (
        ({"width": 0}, "at least 1"),
        ({"state_dim": 0}, "at least 1"),
        ({"form": "fast"}, "allowed are auto, scan, kernel, chunks"),
        ({"dt_min": 0.2}, "dt_min <= dt_max"),
    ):
        with pytest.raises(ValueError, match=words):
            s5(**arguments)
