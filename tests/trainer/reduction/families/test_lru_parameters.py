"""LRU parameters to a system and back, and Adam's moments across a cut."""

import numpy as np
import pytest
import torch

from hankelboard.trainer.reduction.families import lru_parameters
from hankelboard.trainer.reduction.families.lru_parameters import (
    SYSTEM_NAMES,
    parameters_from_system,
    system_from_parameters,
    transport_first_moments,
    transport_second_moments,
)
from hankelboard.trainer.reduction.families.lru_reduction import (
    propose,
    reduce,
    spectrum,
    transport_moments,
    verify,
)
from hankelboard.trainer.reduction.linear.hankel import frequency_grid, frequency_response


def random_parameters(n, width, seed=0, moduli=(0.5, 0.99), phase=2 * np.pi):
    """An LRU as it is initialised, and with γ moved away from sqrt(1 − |λ|²) as training does."""
    rng = np.random.default_rng(seed)
    nu, theta = -np.log(rng.uniform(*moduli, n)), rng.uniform(0.01, phase, n)
    return {
        "nu_log": np.log(nu),
        "theta_log": np.log(theta),
        "gamma_log": 0.5 * np.log(-np.expm1(-2 * nu)) + rng.uniform(-0.2, 0.2, n),
        "B_re": rng.standard_normal((n, width)) / np.sqrt(2 * width),
        "B_im": rng.standard_normal((n, width)) / np.sqrt(2 * width),
        "C_re": rng.standard_normal((width, n)) / np.sqrt(n),
        "C_im": rng.standard_normal((width, n)) / np.sqrt(n),
        "D": rng.standard_normal(width),
    }


def outputs(parameters, u):
    """y = Re(C x) + D∘u by the plain recurrence; u (batch, time, H), all float64."""
    p = parameters
    eigenvalues = torch.exp(torch.complex(-torch.exp(p["nu_log"]), torch.exp(p["theta_log"])))
    B = torch.exp(p["gamma_log"])[:, None] * torch.complex(p["B_re"], p["B_im"])
    C = torch.complex(p["C_re"], p["C_im"])
    driven = u.to(torch.complex128) @ B.T
    x, ys = torch.zeros_like(driven[:, 0]), []
    for k in range(u.shape[1]):
        x = eigenvalues * x + driven[:, k]
        ys.append((x @ C.T).real)
    return torch.stack(ys, 1) + p["D"] * u


def gradients(parameters, u, target):
    """Gradient of a non-linear loss with respect to every parameter."""
    tensors = {name: torch.tensor(values, requires_grad=True) for name, values in parameters.items()}
    ((torch.tanh(outputs(tensors, u)) - target) ** 2).mean().backward()
    return {name: tensor.grad.numpy() for name, tensor in tensors.items()}


def batches(width, count):
    generator = torch.Generator().manual_seed(3)
    for _ in range(count):
        u, target = torch.randn(2, 4, 30, width, generator=generator, dtype=torch.float64)
        yield u, torch.tanh(target)


def cosine_and_ratio(a, b):
    a, b = a.ravel(), b.ravel()
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b), np.linalg.norm(a) / np.linalg.norm(b)


def test_parameters_to_system_and_back_is_the_same_map():
    system = system_from_parameters(random_parameters(12, 3))
    again = system_from_parameters(parameters_from_system(system.eigenvalues, system.B, system.C))
    omegas = frequency_grid(system)
    before, after = frequency_response(system, omegas), frequency_response(again, omegas)
    assert np.abs(after - before).max() < 1e-12 * np.abs(before).max()


@pytest.mark.parametrize(
    ("eigenvalue", "theta"),
    [
        (0.5, 2 * np.pi),
        (0.5 + 1e-17j, 2 * np.pi),
        (-0.5, np.pi),
        (0.5j, np.pi / 2),
        (-0.5j, 3 * np.pi / 2),
        (0.0, 2 * np.pi),
        (1e-320, 2 * np.pi),
        (np.exp(-1e-12), 2 * np.pi),
    ],
)
def test_every_eigenvalue_is_written_with_finite_parameters(eigenvalue, theta):
    parameters = parameters_from_system(np.array([eigenvalue]), np.array([[2.0]]), np.array([[3.0]]))
    assert all(np.isfinite(values).all() for values in parameters.values())
    assert np.exp(parameters["theta_log"][0]) == pytest.approx(theta, rel=1e-14)
    system = system_from_parameters(parameters)
    np.testing.assert_allclose(system.eigenvalues, [eigenvalue], rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(system.B, [[2.0]], rtol=1e-12)
    np.testing.assert_allclose(np.exp(parameters["gamma_log"]), np.sqrt(1 - abs(eigenvalue) ** 2), rtol=1e-4)


@pytest.mark.parametrize("name", ["nu_log", "theta_log", "gamma_log", "B_re", "B_im", "C_re", "C_im"])
def test_a_nan_in_any_parameter_is_refused(name):
    parameters = random_parameters(3, 2)
    parameters[name].flat[0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        propose(parameters)


def test_a_layer_without_input_has_no_proposal():
    parameters = random_parameters(3, 2)
    parameters["B_re"][:], parameters["B_im"][:] = 0.0, 0.0
    with pytest.raises(ValueError, match="no rank can be proposed"):
        propose(parameters)
    with pytest.raises(ValueError, match="passes nothing on"):
        reduce(parameters, 2)


@pytest.mark.parametrize(("n", "width"), [(1, 1), (2, 3), (9, 2)])
def test_a_proposal_has_an_entry_for_every_rank(n, width):
    parameters = random_parameters(n, width)
    table = propose(parameters)
    columns = (
        table.discarded_share,
        table.realisable,
        table.condition,
        table.parameters,
        table.realised_modes,
    )
    assert {len(column) for column in (*columns, table.error_bound)} == {n + 1}
    assert (table.discarded_share[0], table.discarded_share[n]) == (1.0, 0.0)
    assert table.realisable == [False] + [True] * n
    assert table.parameters[n] == sum(values.size for values in parameters.values())
    for rank in range(1, n + 1):
        cut = reduce(parameters, rank)
        assert table.parameters[rank] == sum(values.size for values in cut.parameters.values())


def test_the_monitored_spectrum_is_that_of_the_proposal():
    parameters = random_parameters(12, 2)
    hsv = propose(parameters).hsv
    np.testing.assert_allclose(spectrum(parameters), hsv, atol=1e-7 * hsv[0])


@pytest.mark.parametrize("rank", [1, 6, 15])
def test_the_written_back_parameters_are_the_dense_reduced_system(rank):
    parameters = random_parameters(16, 2, moduli=(0.9, 0.999))
    cut = reduce(parameters, rank)
    assert verify(cut.parameters, cut) < 1e-10
    damaged = cut.parameters | {"B_re": cut.parameters["B_re"] * 1.01}
    assert verify(damaged, cut) > 1e-4
    assert verify(parameters, cut) == np.inf or rank == 16


@pytest.mark.parametrize("n", [1, 5, 48])
def test_rank_n_is_the_layer_as_it_is_moments_included(n):
    parameters = random_parameters(n, 1)
    cut = reduce(parameters, n)
    first, second = transport_moments(parameters, cut, parameters, {k: v**2 for k, v in parameters.items()})
    for name, values in parameters.items():
        np.testing.assert_array_equal(cut.parameters[name], values)
        np.testing.assert_array_equal(first[name], values)
        np.testing.assert_array_equal(second[name], values**2)
    assert verify(cut.parameters, cut) == 0.0


def test_rank_n_keeps_the_digits_of_a_mode_almost_on_the_circle():
    parameters = random_parameters(3, 2)
    parameters["nu_log"][0] = np.log(1e-18)
    cut = reduce(parameters, 3)
    np.testing.assert_array_equal(cut.parameters["nu_log"], parameters["nu_log"])
    assert verify(cut.parameters, cut) == 0.0
    assert propose(parameters).realisable[3] is True


def test_the_optimizer_sees_input_rows_of_the_median_norm_from_before():
    parameters = random_parameters(16, 4)
    cut = reduce(parameters, 7)
    rows = [np.hypot(p["B_re"], p["B_im"]) for p in (parameters, cut.parameters)]
    before, after = (np.linalg.norm(row, axis=1) for row in rows)
    np.testing.assert_allclose(after, np.median(before), rtol=1e-12)


def test_the_loss_right_after_the_write_back_is_that_of_the_dense_reduced_system():
    parameters = random_parameters(20, 3, moduli=(0.9, 0.999))
    cut = reduce(parameters, 8)
    u, target = next(batches(3, 1))
    A, B, C = (torch.tensor(M) for M in (cut.truncation.A_r, cut.truncation.B_r, cut.truncation.C_r))
    x, ys = torch.zeros(4, 8, dtype=torch.complex128), []
    for k in range(u.shape[1]):
        x = x @ A.T + u[:, k].to(torch.complex128) @ B.T
        ys.append((x @ C.T).real)
    dense = torch.stack(ys, 1) + torch.tensor(parameters["D"]) * u
    written = outputs({name: torch.tensor(values) for name, values in cut.parameters.items()}, u)
    losses = [((torch.tanh(y) - target) ** 2).mean().item() for y in (dense, written)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-10)


def overlapping(seed=0):
    """24 slow SISO modes in a narrow band: every reduced mode mixes many old ones, tail(14) is negligible."""
    return random_parameters(24, 1, seed, moduli=(0.9, 0.999), phase=0.3), 14


def negligible_states(seed=0):
    """Eight modes that matter and four that are hardly driven nor seen."""
    parameters = random_parameters(12, 3, seed)
    for name in ("B_re", "B_im"):
        parameters[name][8:] *= 1e-5
    for name in ("C_re", "C_im"):
        parameters[name][:, 8:] *= 1e-5
    return parameters, 8


@pytest.mark.parametrize("make", [overlapping, negligible_states])
def test_transported_gradients_are_the_gradients_of_the_reduced_layer(make):
    parameters, rank = make()
    cut = reduce(parameters, rank)
    assert propose(parameters).discarded_share[rank] < 1e-4
    for u, target in batches(parameters["D"].size, 3):
        transported = transport_first_moments(parameters, cut.truncation, gradients(parameters, u, target))
        true = gradients(cut.parameters, u, target)
        for name in (*SYSTEM_NAMES, "D"):
            cosine, ratio = cosine_and_ratio(transported[name], true[name])
            assert cosine > 0.999 and abs(ratio - 1.0) < 0.02, (name, cosine, ratio)


@pytest.mark.parametrize("make", [overlapping, negligible_states])
def test_transported_second_moments_have_the_size_of_the_true_ones(make):
    parameters, rank = make()
    cut = reduce(parameters, rank)
    width = parameters["D"].size
    before = [gradients(parameters, *batch) for batch in batches(width, 12)]
    after = [gradients(cut.parameters, *batch) for batch in batches(width, 12)]
    first, second, true = (
        {name: np.mean([power(g[name]) for g in samples], axis=0) for name in parameters}
        for samples, power in ((before, np.copy), (before, np.square), (after, np.square))
    )
    average, square = transport_moments(parameters, cut, first, second)
    for name in SYSTEM_NAMES:
        ratios = np.sqrt(square[name] / true[name])
        assert 0.5 < np.median(ratios) < 2.0, name
        assert (square[name] >= average[name] ** 2).all()
    np.testing.assert_array_equal(square["D"], second["D"])


def test_second_moments_of_a_rotation_mix_real_and_imaginary_parts():
    """One mode turned by 90 degrees: what was the variance of Re is that of Im."""
    real, imaginary = lru_parameters._squared(np.array([[2.0j]]), np.array([[3.0]]), np.array([[5.0]]))
    np.testing.assert_array_equal([real, imaginary], [[[20.0]], [[12.0]]])


def test_second_moments_agree_with_sampled_independent_gradients():
    parameters = random_parameters(6, 2)
    cut = reduce(parameters, 3)
    rng = np.random.default_rng(0)
    deviation = {name: rng.uniform(0.5, 2.0, values.shape) for name, values in parameters.items()}
    samples = [
        transport_first_moments(
            parameters, cut.truncation, {k: s * rng.standard_normal(s.shape) for k, s in deviation.items()}
        )
        for _ in range(2000)
    ]
    second = transport_second_moments(parameters, cut.truncation, {k: s**2 for k, s in deviation.items()})
    for name in ("B_re", "B_im", "C_re", "C_im"):
        variance = np.mean([sample[name] ** 2 for sample in samples], axis=0)
        np.testing.assert_allclose(second[name], variance, rtol=0.15)


@pytest.mark.parametrize("extreme", ["zero", "circle", "small angle", "duplicate"])
def test_transported_moments_are_finite_whatever_the_old_eigenvalues_are(extreme):
    parameters = random_parameters(8, 2)
    match extreme:
        case "zero":
            parameters["nu_log"][0] = np.log(1e4)
        case "circle":
            parameters["nu_log"][0] = np.log(1e-12)
        case "small angle":
            parameters["theta_log"][0] = -500.0
        case "duplicate":
            for name in ("nu_log", "theta_log"):
                parameters[name][1] = parameters[name][0]
    cut = reduce(parameters, 4)
    ones = {name: np.ones_like(values) for name, values in parameters.items()}
    first, second = transport_moments(parameters, cut, ones, ones)
    for name, values in cut.parameters.items():
        assert first[name].shape == second[name].shape == values.shape
        assert (
            np.isfinite(values).all() and np.isfinite(first[name]).all() and np.isfinite(second[name]).all()
        )
        assert (second[name] >= 0.0).all()


def test_moments_that_are_missing_count_as_zero_and_stay_missing():
    parameters = random_parameters(5, 2)
    cut = reduce(parameters, 2)
    first, second = transport_moments(parameters, cut, {"B_re": parameters["B_re"]}, {})
    assert (set(first), set(second)) == ({"B_re"}, set())
    complete = {name: np.zeros_like(values) for name, values in parameters.items()} | {
        "B_re": parameters["B_re"]
    }
    expected = transport_first_moments(parameters, cut.truncation, complete)
    np.testing.assert_array_equal(first["B_re"], expected["B_re"])
