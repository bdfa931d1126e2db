"""The Hankel nuclear norm: its value, its gradient, and the bound that touches both."""

import numpy as np
import pytest
import scipy.linalg
import torch

from hankelboard.trainer.layers.lru import LRU
from hankelboard.trainer.training.objective.nuclear_norm import Majoriser, hankel_nuclear_norm


def layer(width=3, state_dim=12, seed=0):
    torch.manual_seed(seed)
    return LRU(width, state_dim).double()


def parameters(lru):
    return [p for name, p in lru.named_parameters() if name != "D"]


def gradient(value, lru):
    return torch.cat([part.flatten() for part in torch.autograd.grad(value, parameters(lru))])


@pytest.mark.parametrize(("width", "state_dim"), [(1, 1), (3, 12), (8, 64)])
def test_its_value_is_the_sum_of_the_hankel_singular_values(width, state_dim):
    lru = layer(width, state_dim)
    eigenvalues, B, C = (part.detach().numpy() for part in lru.system())
    A = np.diag(eigenvalues)
    P = scipy.linalg.solve_discrete_lyapunov(A, B @ B.conj().T)
    Q = scipy.linalg.solve_discrete_lyapunov(A.conj().T, C.conj().T @ C)
    expected = np.sqrt(np.maximum(scipy.linalg.eigvals(P @ Q).real, 0.0)).sum()
    assert hankel_nuclear_norm(*lru.system()).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("width", "state_dim"), [(1, 1), (3, 12), (32, 64), (8, 256)])
def test_the_majoriser_equals_the_norm_in_value_and_gradient_where_it_was_made(width, state_dim):
    lru = layer(width, state_dim)
    exact, bound = hankel_nuclear_norm(*lru.system()), Majoriser(*lru.system())(*lru.system())
    assert bound.item() == pytest.approx(exact.item(), rel=1e-8)
    expected, given = gradient(exact, lru), gradient(bound, lru)
    assert ((given - expected).norm() / expected.norm()).item() < 1e-8


def test_its_gradient_is_that_of_finite_differences():
    lru = layer(2, 5)
    exact = gradient(hankel_nuclear_norm(*lru.system()), lru)
    values, step, place = [], 1e-6, 0
    for parameter in parameters(lru):
        flat = parameter.data.view(-1)
        for i in range(len(flat)):
            around = []
            for sign in (1, -1):
                flat[i] += sign * step
                around.append(hankel_nuclear_norm(*lru.system()).item())
                flat[i] -= sign * step
            values.append((around[0] - around[1]) / (2 * step))
            place += 1
    assert torch.allclose(exact, torch.tensor(values, dtype=torch.float64), rtol=1e-5, atol=1e-6)


def test_the_majoriser_is_an_upper_bound_elsewhere():
    bound = Majoriser(*layer(seed=0).system())
    for seed in range(1, 20):
        other = layer(seed=seed)
        assert bound(*other.system()).item() >= hankel_nuclear_norm(*other.system()).item()
    near = layer(seed=0)
    for parameter in parameters(near):
        parameter.data += 1e-3 * torch.randn_like(parameter)
    excess = bound(*near.system()).item() / hankel_nuclear_norm(*near.system()).item() - 1.0
    assert 0.0 <= excess < 1e-2


def test_states_that_nothing_reaches_have_a_gradient():
    lru = layer()
    with torch.no_grad():
        lru.B_re[0], lru.B_im[0], lru.C_re[:, 1], lru.C_im[:, 1] = 0.0, 0.0, 0.0, 0.0
    for norm in (hankel_nuclear_norm, Majoriser(*lru.system())):
        value = norm(*lru.system())
        assert torch.isfinite(value)
        assert torch.isfinite(gradient(value, lru)).all()


def test_descending_along_it_flattens_the_tail():
    lru = layer(4, 16)
    before = np.sort(lru.spectrum(lru.extract()))[::-1]
    optimizer = torch.optim.Adam(parameters(lru), lr=1e-2)
    for step in range(100):
        if step % 20 == 0:
            bound = Majoriser(*lru.system())
        optimizer.zero_grad()
        bound(*lru.system()).backward()
        optimizer.step()
    after = np.sort(lru.spectrum(lru.extract()))[::-1]
    assert after.sum() < before.sum()
    assert after[4:].sum() / after.sum() < before[4:].sum() / before.sum()
