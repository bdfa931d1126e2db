"""Zero-order hold in torch: against scipy, its digits in single precision, its gradients."""

import numpy as np
import pytest
import scipy.signal
import torch

from hankelboard.trainer.layers.recurrences.zero_order_hold import hold, poles


@pytest.mark.parametrize(("a", "omega", "dt"), [(0.5, 3.0, 0.1), (2.0, 0.0, 0.5), (1e-3, 40.0, 1e-3)])
def test_it_is_the_discretisation_of_scipy(a, omega, dt):
    A = np.array([[-a, -omega], [omega, -a]])
    discrete, B, *_ = scipy.signal.cont2discrete(
        (A, np.array([[1.0], [0.0]]), np.eye(2), np.zeros((2, 1))), dt
    )
    single = torch.tensor([a], dtype=torch.float64).log(), torch.tensor([omega], dtype=torch.float64)
    logarithms, gain = hold(poles(*single), torch.tensor([dt], dtype=torch.float64))
    eigenvalue, phi = logarithms.exp().item(), gain.item()
    assert [eigenvalue.real, eigenvalue.imag] == pytest.approx(discrete[:, 0], abs=1e-13)
    assert [phi.real, phi.imag] == pytest.approx(B[:, 0], abs=1e-13)


def test_short_steps_keep_their_digits_in_single_precision():
    A = poles(torch.full((50,), np.log(0.5)), torch.linspace(0.0, 150.0, 50))
    dt = torch.tensor(1e-4)
    found = hold(A, dt)[1].to(torch.complex128)
    exact = (torch.exp(dt.double() * A.to(torch.complex128)) - 1.0) / A.to(torch.complex128)
    assert ((found - exact).abs() / exact.abs()).max() < 1e-6


def test_gradients_are_those_of_finite_differences():
    given = [torch.randn(3, dtype=torch.float64, requires_grad=True) for _ in range(3)]

    def both(a, omega, log_dt):
        logarithms, gain = hold(poles(a, omega), log_dt.exp())
        return torch.view_as_real(torch.stack((logarithms, gain)))

    assert torch.autograd.gradcheck(both, given)
