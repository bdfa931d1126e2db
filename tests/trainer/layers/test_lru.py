"""The LRU layer: initialisation, forms, and parameters that shrink under it."""

import math

import pytest
import torch
from torch import nn

from hankelboard.trainer.layers.lru import LRU
from hankelboard.trainer.layers.recurrences.diagonal import lru_sequential
from hankelboard.trainer.layers.recurrences.diagonal_forms import FORMS


def layer(width=3, state_dim=8, **options):
    torch.manual_seed(0)
    return LRU(width, state_dim, **options).double()


def test_initial_eigenvalues_lie_in_the_ring():
    torch.manual_seed(0)
    eigenvalues = LRU(1, 5000, r_min=0.4, r_max=0.8, max_phase=math.pi / 5).system()[0]
    assert eigenvalues.abs().min() >= 0.4 - 1e-6
    assert eigenvalues.abs().max() <= 0.8 + 1e-6
    assert eigenvalues.angle().min() > 0
    assert eigenvalues.angle().max() <= math.pi / 5 + 1e-6
    middle = math.sqrt((0.4**2 + 0.8**2) / 2)  # |λ|² is uniform
    assert abs((eigenvalues.abs() < middle).float().mean() - 0.5) < 0.03


@pytest.mark.parametrize("r_min", [0.0, 0.999])
def test_the_ring_may_be_a_disc_or_a_circle(r_min):
    lru = LRU(2, 1000, r_min=r_min, r_max=0.999)
    assert all(torch.isfinite(parameter).all() for parameter in lru.parameters())
    assert lru.system()[0].abs().max() <= 0.999 + 1e-6


def test_initial_scales_are_those_of_the_paper():
    torch.manual_seed(0)
    lru = LRU(50, 400)
    eigenvalues, B, C = lru.system()
    gamma = (1 - eigenvalues.abs() ** 2).sqrt()  # (N,)
    torch.testing.assert_close(lru.gamma_log.exp(), gamma, rtol=1e-3, atol=0)
    torch.testing.assert_close(B, gamma[:, None] * torch.complex(lru.B_re, lru.B_im), rtol=1e-3, atol=1e-6)
    for value, variance in ((lru.B_re, 1 / 100), (lru.B_im, 1 / 100), (C.real, 1 / 400), (C.imag, 1 / 400)):
        assert value.var().item() == pytest.approx(variance, rel=0.05)
    assert lru.D.var().item() == pytest.approx(1.0, rel=0.6)


@pytest.mark.parametrize("form", [*FORMS, "auto"])
def test_output_is_the_recurrence_and_the_feedthrough(form):
    lru, u = layer(form=form), torch.randn(2, 50, 3, dtype=torch.float64)
    expected = lru_sequential(u, *lru.system()) + lru.D * u
    torch.testing.assert_close(lru(u), expected, rtol=1e-10, atol=1e-10)


def test_forms_agree_in_the_gradient_of_every_parameter():
    lru, u = layer(), torch.randn(2, 50, 3, dtype=torch.float64)
    gradients = []
    for form in FORMS:
        lru.form = form
        lru.zero_grad()
        lru(u).square().sum().backward()
        assert lru.form_used == form
        gradients.append({name: parameter.grad for name, parameter in lru.named_parameters()})
    assert gradients[0].keys() == {*lru.ssm_parameters, "C_re", "C_im", "D"}
    for other in gradients[1:]:
        torch.testing.assert_close(gradients[0], other, rtol=1e-9, atol=1e-9)


def test_gradients_are_those_of_finite_differences():
    lru = layer(width=2, state_dim=2)
    names, values = zip(*lru.named_parameters(), strict=True)
    u = torch.randn(1, 6, 2, dtype=torch.float64, requires_grad=True)

    def output(u, *values):
        return torch.func.functional_call(lru, dict(zip(names, values, strict=True)), (u,))

    assert torch.autograd.gradcheck(output, (u, *values))


def test_auto_takes_the_cheaper_form_at_the_shape_at_hand():
    lru = LRU(8, 256)
    assert lru.form_used is None
    lru(torch.randn(50, 20, 8))
    assert lru.form_used == "kernel"
    lru(torch.randn(1, 20, 8))
    assert lru.form_used == "scan"


def test_state_dim_follows_the_parameters():
    lru = layer(state_dim=8)
    for name in ("nu_log", "theta_log", "gamma_log", "B_re", "B_im"):
        setattr(lru, name, nn.Parameter(getattr(lru, name).detach()[:5].clone()))
    for name in ("C_re", "C_im"):
        setattr(lru, name, nn.Parameter(getattr(lru, name).detach()[:, :5].clone()))
    assert (lru.width, lru.state_dim) == (3, 5)
    lru(torch.randn(2, 10, 3, dtype=torch.float64)).sum().backward()
    assert lru.B_re.grad.shape == (5, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "at least 1"),
        ({"state_dim": 0}, "at least 1"),
        ({"r_min": -0.1}, "r_min"),
        ({"r_min": 0.95, "r_max": 0.9}, "r_min"),
        ({"r_max": 1.0}, "r_max"),
        ({"r_min": 0.0, "r_max": 0.0}, "r_max"),
        ({"r_min": math.nan}, "r_min"),
        ({"max_phase": 0.0}, "max_phase"),
        ({"max_phase": 7.0}, "max_phase"),
        ({"form": "fft"}, "auto, scan, kernel"),
    ],
)
def test_arguments_out_of_range_are_refused_with_what_is_allowed(arguments, message):
    with pytest.raises(ValueError, match=message):
        LRU(**{"width": 4, "state_dim": 4} | arguments)


def test_form_set_later_is_checked_too():
    lru = LRU(2, 2)
    with pytest.raises(ValueError, match="auto, scan, kernel"):
        lru.form = "fast"
    assert lru.form == "auto"
