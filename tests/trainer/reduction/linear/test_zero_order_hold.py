"""Zero-order hold in double precision: there and back, real poles, poles at 0, the chain rule."""

import numpy as np
import pytest
import torch

from hankelboard.trainer.layers.recurrences.zero_order_hold import hold, poles
from hankelboard.trainer.reduction.linear.zero_order_hold import (
    Hold,
    HoldGradients,
    continuous_gradients,
    continuous_squares,
    discrete_gradients,
    discrete_squares,
    from_eigenvalues,
    from_parameters,
    step_gradients,
    step_squares,
)


@pytest.mark.parametrize("dt", [1e-4, 1e-1, 3.0])
def test_eigenvalues_come_back_through_the_parameters(dt):
    eigenvalues = np.array([0.9, -0.9, 1e-12, -1e-9, 0.3 + 0.4j, 1.0 - 1e-9, -1.0 + 1e-9])
    written = from_eigenvalues(eigenvalues, np.full(7, dt)).parameters()
    again = from_parameters(*written, np.full(7, dt))
    assert np.abs(again.eigenvalues - eigenvalues).max() < 1e-14
    assert (again.A.real < 0.0).all()


def test_a_pole_at_zero_is_written_finite():
    a, omega = from_eigenvalues(np.zeros(1, complex), np.array([1e-3])).parameters()
    assert np.isfinite([a, omega]).all()
    assert abs(from_parameters(a, omega, np.array([1e-3])).eigenvalues[0]) < 1e-16


def test_a_negative_pole_turns_half_a_circle_in_a_step():
    _, omega = from_eigenvalues(np.array([-0.5 + 0j]), np.array([0.1])).parameters()
    assert omega[0] == pytest.approx(np.pi / 0.1, rel=1e-15)


def test_it_agrees_with_what_the_layers_compute():
    a, omega, log_dt = np.random.default_rng(0).standard_normal((3, 5))
    here = from_parameters(a, omega, np.exp(log_dt))
    logarithms, gain = hold(poles(torch.tensor(a), torch.tensor(omega)), torch.tensor(log_dt).exp())
    assert here.logarithms == pytest.approx(logarithms.numpy(), rel=1e-14)
    assert here.gain == pytest.approx(gain.numpy(), rel=1e-13)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_or_not_stable_is_refused(bad):
    with pytest.raises(ValueError, match="A_im holds a value that is not finite"):
        from_parameters(np.zeros(1), np.array([bad]), np.ones(1))
    with pytest.raises(ValueError, match="modulus 1:"):
        from_eigenvalues(np.array([1.0 + 0j]), np.ones(1))


def random_hold(n=4, seed=0):
    draw = np.random.default_rng(seed)
    return Hold(-draw.random(n) - 0.1 + 3j * draw.standard_normal(n), draw.random(n) + 0.1)


def test_gradients_follow_the_chain_rule_and_come_back():
    draw, here = np.random.default_rng(1), random_hold()
    X, wanted_X, wanted_pole = (
        draw.standard_normal((4, k, 2)) @ [1.0, 1.0j] for k in (3, 3, 1)
    )  # (4, 3), (4, 3), (4, 1)
    A, matrix = (torch.tensor(part, requires_grad=True) for part in (here.A, X))
    eigenvalues = torch.exp(torch.tensor(here.dt) * A)
    carried = matrix * ((eigenvalues - 1.0) / A)[:, None]
    pairs = ((eigenvalues, wanted_pole[:, 0]), (carried, wanted_X))
    sum((part * torch.tensor(weight).conj()).real.sum() for part, weight in pairs).backward()
    given = HoldGradients(wanted_pole[:, 0], wanted_X)
    found = continuous_gradients(here, X, given)
    assert found.eigenvalues == pytest.approx(A.grad.numpy(), rel=1e-10)
    assert found.carried == pytest.approx(matrix.grad.numpy(), rel=1e-10)
    again = discrete_gradients(here, X, found)
    assert again.eigenvalues == pytest.approx(given.eigenvalues, rel=1e-9)
    assert again.carried == pytest.approx(given.carried, rel=1e-9)


def test_gradients_of_the_step_follow_the_chain_rule():
    draw, here = np.random.default_rng(3), random_hold()
    X, wanted = (draw.standard_normal((4, 3, 2)) @ [1.0, 1.0j] for _ in range(2))  # (4, 3)
    log_dt = torch.tensor(np.log(here.dt), requires_grad=True)
    eigenvalues = torch.exp(log_dt.exp() * torch.tensor(here.A))
    carried = torch.tensor(X) * ((eigenvalues - 1.0) / torch.tensor(here.A))[:, None]
    given = HoldGradients(wanted[:, 0].copy(), wanted)
    loss = (eigenvalues * torch.tensor(given.eigenvalues).conj()).real.sum()
    (loss + (carried * torch.tensor(wanted).conj()).real.sum()).backward()
    assert step_gradients(here, X, given) == pytest.approx(log_dt.grad.numpy(), rel=1e-10)


def test_squares_of_the_step_are_those_of_many_independent_gradients():
    draw, here = np.random.default_rng(4), random_hold(1)
    size, X = 200_000, np.array([[2.0 - 1.0j]])
    poles, carried = draw.standard_normal((2, size)) + 1j * draw.standard_normal((2, size))
    many = Hold(np.repeat(here.A, size), np.repeat(here.dt, size))
    moved = step_gradients(many, np.repeat(X, size, axis=0), HoldGradients(poles, carried[:, None]))
    one = HoldGradients(np.array([1.0 + 1.0j]), np.array([[1.0 + 1.0j]]))
    assert step_squares(here, X, one)[0] == pytest.approx((moved**2).mean(), rel=0.02)


def test_squares_are_those_of_many_independent_gradients():
    here, draw = random_hold(1), np.random.default_rng(2)
    size = 200_000
    carried = draw.standard_normal(size) + 0.5j * draw.standard_normal(size)
    turned = carried * here.gain[0].conj()
    wanted = np.mean(turned.real**2) + 1j * np.mean(turned.imag**2)
    given = HoldGradients(np.array([0j]), np.array([[1.0 + 0.25j]]))
    assert continuous_squares(here, given).carried[0, 0] == pytest.approx(wanted, rel=0.02)


def test_squares_of_real_gains_come_back():
    here = Hold(np.array([-0.5 + 0j]), np.array([0.2]))
    given = HoldGradients(np.array([3.0 + 1j]), np.array([[2.0 + 5j]]))
    again = discrete_squares(here, continuous_squares(here, given))
    assert again.carried == pytest.approx(given.carried)
    assert again.eigenvalues == pytest.approx(given.eigenvalues)
