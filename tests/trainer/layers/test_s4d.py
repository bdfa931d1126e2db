"""The S4D layer: initialisation, its forms, and channels that shrink under it."""

import copy

import numpy as np
import pytest
import scipy.linalg
import torch

from hankelboard.trainer.layers.recurrences.siso import siso_sequential
from hankelboard.trainer.layers.s4d import S4D
from hankelboard.trainer.reduction.method import Method
from hankelboard.trainer.reduction.reducible import Reducible
from hankelboard.trainer.reduction.surgery import apply_reduction, reducible_layers


def s4d(width=5, state_dim=8, seed=0, dtype=torch.float64, **options):
    torch.manual_seed(seed)
    return S4D(width, state_dim, **options).to(dtype)


def inputs(length=33, batch=2, width=5, dtype=torch.float64):
    return torch.randn(batch, length, width, generator=torch.Generator().manual_seed(1), dtype=dtype)


def test_it_is_reducible_and_not_a_whole_block():
    layer = s4d()
    assert isinstance(layer, Reducible) and layer.offers("inspect")
    assert reducible_layers(layer) == [("", layer)]
    assert not layer.gated
    assert (layer.state_dim, layer.width, layer.importance) == (8, 5, "hsv")


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


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize(("length", "batch"), [(33, 2), (1, 1), (100, 1)])
def test_parallel_sequential_and_step_form_are_one(dtype, tolerance, length, batch):
    layer, found = s4d(dtype=dtype), []
    weights = torch.linspace(-1.0, 1.0, batch * length * 5, dtype=dtype).view(batch, length, 5)
    for form in (layer, lambda u: siso_sequential(u, *layer.modes()) + layer.D * u, by_steps(layer)):
        u = inputs(length, batch, dtype=dtype).requires_grad_()
        layer.zero_grad()
        y = form(u)
        (y * weights).sum().backward()
        found.append([y.detach(), u.grad, *(p.grad.clone() for p in layer.parameters())])
    for sequential in found[1:]:
        for here, wanted in zip(found[0], sequential, strict=True):
            assert (here - wanted).norm() <= tolerance * wanted.norm().clamp_min(1e-2)


def by_steps(layer):
    def run(u):
        state, outputs = None, []
        for v in u.unbind(1):
            y, state = layer.step(v, state)
            outputs.append(y)
        return torch.stack(outputs, 1)

    return run


def test_it_does_not_look_ahead():
    layer, u = s4d(), inputs()
    changed = u.clone()
    changed[:, 20:] += 1.0
    before, after = layer(u), layer(changed)
    assert torch.allclose(before[:, :20], after[:, :20], atol=1e-12)
    assert not torch.allclose(before[:, 20:], after[:, 20:])


@pytest.mark.parametrize("init", ["lin", "inv"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_cuts_one_after_the_other_are_exact_and_training_goes_on(dtype, tolerance, init):
    layer, u = s4d(dtype=dtype, init=init), inputs(dtype=dtype)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-2, fused=True)
    for rank in (8, 5, 2, 1):
        if rank < 8:
            log_dt, D = layer.log_dt, layer.D
            assert apply_reduction(layer, optimizer, layer.reduce(layer.extract(), rank)) < tolerance
            assert layer.log_dt is log_dt and layer.D is D
        for _ in range(3):
            optimizer.zero_grad()
            loss = (layer(u) - u).pow(2).mean()
            loss.backward()
            optimizer.step()
        assert layer.state_dim == rank
        assert torch.isfinite(loss)
    assert {p for group in optimizer.param_groups for p in group["params"]} == set(layer.parameters())


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
