"""The S4D layer: initialisation, its forms, and channels that shrink under it."""

import copy

import numpy as np
import pytest
import scipy.linalg
import torch

from hankelboard.trainer.layers.s4d import S4D
from hankelboard.trainer.reduction.method import Method
from hankelboard.trainer.reduction.surgery import apply_reduction


def s4d(width=5, state_dim=8, seed=0, dtype=torch.float64, **options):
    torch.manual_seed(seed)
    return S4D(width, state_dim, **options).to(dtype)


def inputs(length=33, batch=2, width=5, dtype=torch.float64):
    return torch.randn(batch, length, width, generator=torch.Generator().manual_seed(1), dtype=dtype)


def test_initial_poles_are_those_of_the_paper():
    layer = s4d(1000, 4)
    assert layer.A_im[0].tolist() == pytest.approx([0.0, np.pi, 2 * np.pi, 3 * np.pi], rel=1e-6)
    assert layer.A_re_log.exp().unique().tolist() == pytest.approx([0.5], rel=1e-6)
    assert layer.log_dt.exp().min() >= 1e-3 and layer.log_dt.exp().max() <= 1e-1
    assert layer.log_dt.exp().median().item() == pytest.approx(1e-2, rel=0.2)
    wanted = [8 / np.pi * (8 / (2 * n + 1) - 1) for n in range(4)]
    assert s4d(2, 4, init="inv").A_im[1].tolist() == pytest.approx(wanted, rel=1e-6)


def test_a_channel_is_its_continuous_system_held_for_a_step():
    layer, u = s4d(1, 2), inputs(12, 1, 1)
    a, omega = layer.A_re_log[0].exp().detach().numpy(), layer.A_im[0].detach().numpy()
    A = np.diag(np.concatenate([-a + 1j * omega, -a - 1j * omega]))
    C = (layer.C_re + 1j * layer.C_im)[0].detach().numpy()
    held = scipy.linalg.expm(np.block([[A, np.ones((4, 1))], [np.zeros((1, 5))]]) * layer.log_dt.exp().item())
    x = np.zeros(4, complex)
    for t, v in enumerate(u[0, :, 0].numpy()):
        x = held[:4, :4] @ x + held[:4, 4] * v
        wanted = np.concatenate([C, C.conj()]) @ x + layer.D.item() * v
        assert layer(u)[0, t, 0].item() == pytest.approx(wanted.real, abs=1e-12)


def test_moments_point_where_the_gradients_of_the_cut_layer_do():
    layer, u = s4d(state_dim=12, init="inv"), inputs(150, 4)
    weights = torch.randn(4, 150, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def gradients(of):
        of.zero_grad()
        (of(u) * weights).sum().backward()
        return {name: p.grad.numpy().copy() for name, p in of.named_parameters()}

    first = gradients(layer)
    reduction = layer.reduce(layer.extract(), 9)
    moved, squares = layer.transport_moments(reduction, first, {k: v**2 for k, v in first.items()})
    cut = copy.deepcopy(layer)
    cut.write_back(reduction)
    true = gradients(cut)
    for name in ("A_re_log", "A_im", "C_re", "C_im"):
        assert cosine(moved[name], true[name]) > 0.99
        assert cosine(first[name][:, :9], true[name]) < 0.9  # a slice is something else
        assert (squares[name] >= moved[name] ** 2).all()
    assert (moved["log_dt"] == first["log_dt"]).all()


def cosine(a, b):
    return (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)


def test_the_method_random_keeps_other_states():
    layer, u = s4d(state_dim=16), inputs(200)
    errors = []
    for method in (Method("balanced"), Method("random", seed=1)):
        cut = copy.deepcopy(layer)
        cut.method = method
        assert apply_reduction(cut, None, cut.reduce(cut.extract(), 6)) < 1e-10
        errors.append((cut(u) - layer(u)).norm())
    assert errors[0] < 0.5 * errors[1]


def test_what_cannot_be():
    for arguments, words in (
        ({"width": 0}, "at least 1"),
        ({"state_dim": 0}, "at least 1"),
        ({"init": "legs"}, "allowed are lin, inv"),
        ({"dt_min": 0.2}, "dt_min <= dt_max"),
    ):
        with pytest.raises(ValueError, match=words):
            s4d(**arguments)
