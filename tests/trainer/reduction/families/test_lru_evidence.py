"""What is shown before a cut, against dense references."""

import control
import numpy as np
import pytest
import torch

from hankelboard.trainer.layers.lru import LRU
from hankelboard.trainer.reduction.families.lru_evidence import inspect, stability
from hankelboard.trainer.reduction.families.lru_parameters import system_from_parameters
from hankelboard.trainer.reduction.linear.hankel import hankel_singular_values


@pytest.fixture
def layer():
    torch.manual_seed(3)
    return LRU(5, 12)


def moved(parameters, scale, seed=0):
    generator = np.random.default_rng(seed)
    return {
        name: value + scale * generator.standard_normal(value.shape) for name, value in parameters.items()
    }


def dense(parameters):
    system = system_from_parameters(parameters)
    return np.diag(system.eigenvalues), system.B, system.C


def response(parameters, omega):
    A, B, C = dense(parameters)
    return C @ np.linalg.solve(np.exp(1j * omega) * np.eye(len(A)) - A, B)


def test_the_curves_are_the_largest_singular_values_of_the_dense_systems(layer):
    parameters = layer.extract()
    reduction = layer.reduce(parameters, 5)
    shown = inspect(parameters, reduction, None)
    curve = shown["response"]
    for index in range(0, len(curve["omega"]), 7):
        omega = curve["omega"][index]
        G = [response(parameters, sign * omega) for sign in (1, -1)]
        G_r = [response(reduction.parameters, sign * omega) for sign in (1, -1)]
        largest = lambda matrices: max(np.linalg.norm(matrix, 2) for matrix in matrices)  # noqa: E731
        assert curve["full"][index] == pytest.approx(largest(G), rel=1e-8)
        assert curve["reduced"][index] == pytest.approx(largest(G_r), rel=1e-8)
        assert curve["error"][index] == pytest.approx(
            largest([a - b for a, b in zip(G, G_r, strict=True)]), rel=1e-6
        )


@pytest.mark.parametrize("rank", range(1, 13))
def test_the_error_lies_in_its_interval_and_the_gain_is_the_peak(layer, rank):
    parameters = layer.extract()
    shown = inspect(parameters, layer.reduce(parameters, rank), None)
    low, high = shown["error_interval"]
    assert max(shown["response"]["error"]) <= high * (1 + 1e-9) + 1e-9
    assert low <= high or rank == 12
    assert max(shown["response"]["full"]) <= shown["gain"] * (1 + 1e-9)
    assert max(shown["response"]["full"]) >= 0.9 * shown["gain"]
    if rank == 12:
        assert (low, high) == (0.0, 0.0) and max(shown["response"]["error"]) < 1e-9 * shown["gain"]


def test_weyls_bound_holds_and_equals_the_largest_hsv_of_the_dense_difference(layer):
    before = layer.extract()
    now = moved(before, 0.02)
    told = stability(before, now, 5)
    sigmas = [hankel_singular_values(*parts(parameters)) for parameters in (before, now)]
    assert np.abs(sigmas[0] - sigmas[1]).max() <= told["weyl"] * (1 + 1e-9)
    (A, B, C), (A2, B2, C2) = dense(before), dense(now)
    zeros = np.zeros_like(A)
    big = np.block([[A, zeros], [zeros, A2]])
    B_, C_ = np.concatenate([B, B2]), np.concatenate([C, -C2], axis=1)
    P, Q = control.dlyap(big, B_ @ B_.conj().T), control.dlyap(big.conj().T, C_.conj().T @ C_)
    largest = np.sqrt(np.abs(np.linalg.eigvals(P @ Q)).max())
    assert told["weyl"] == pytest.approx(largest, rel=1e-6)


def parts(parameters):
    system = system_from_parameters(parameters)
    return system.eigenvalues, system.B, system.C


def test_the_overlap_is_one_for_the_same_system_falls_with_distance_and_does_not_cross_a_cut(layer):
    before = layer.extract()
    overlaps = [stability(before, moved(before, scale), 4)["overlap"] for scale in (0.0, 0.01, 0.3)]
    assert overlaps[0] == pytest.approx(1.0)
    assert 1.0 >= overlaps[0] > overlaps[1] > overlaps[2] >= 0.0
    assert stability(before, moved(before, 0.3), 12)["overlap"] == pytest.approx(1.0)  # all of the space
    assert stability(before, layer.reduce(before, 6).parameters, 4) is None


def test_one_state(layer):
    one = LRU(3, 1)
    shown = inspect(one.extract(), one.reduce(one.extract(), 1), one.extract())
    assert shown["stability"]["overlap"] == pytest.approx(1.0) and shown["stability"]["weyl"] < 1e-9
