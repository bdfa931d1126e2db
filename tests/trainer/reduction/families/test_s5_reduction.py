"""Cutting S5: exact write-back, shares and the bound of the real map, edge cases."""

import numpy as np
import pytest

from hankelboard.trainer.reduction.families.s5_reduction import (
    inspect,
    propose,
    real_map,
    reduce,
    spectrum,
    system_of,
    transport_moments,
    verify,
)
from hankelboard.trainer.reduction.linear.hankel import frequency_response, hankel_singular_values
from hankelboard.trainer.reduction.linear.subspaces import balanced_in_canonical_scale, overlap
from hankelboard.trainer.reduction.method import Method

RANDOM = Method("random", seed=3)


def layer(width=3, modes=8, seed=0):
    draw = np.random.default_rng(seed)
    return {
        "log_dt": np.log(draw.uniform(0.05, 0.5, modes)),
        "A_re_log": np.log(0.5) + 0.5 * draw.standard_normal(modes),
        "A_im": 3.0 * draw.standard_normal(modes),
        "B_re": draw.standard_normal((modes, width)),
        "B_im": draw.standard_normal((modes, width)),
        "C_re": draw.standard_normal((width, modes)),
        "C_im": draw.standard_normal((width, modes)),
        "D": draw.standard_normal(width),
    }


def outputs(parameters, u):
    """2 Re(C x), one step after the other."""
    system = system_of(parameters)
    x, y = np.zeros(system.state_dim, complex), []
    for v in u:
        x = system.eigenvalues * x + system.B @ v
        y.append(2.0 * (system.C @ x).real)
    return np.array(y)


@pytest.mark.parametrize("rank", [1, 2, 4, 7])
@pytest.mark.parametrize("method", [Method(), RANDOM])
def test_the_layer_written_back_is_the_dense_system(rank, method):
    parameters, u = layer(), np.random.default_rng(1).standard_normal((60, 3))
    reduction = reduce(parameters, rank, method)
    modes = reduction.modes
    assert reduction.parameters["B_re"].shape == (rank, 3)
    z, wanted = np.zeros(modes.order), []
    for v in u:
        z = modes.A_r @ z + modes.B_r @ v
        wanted.append(modes.C_r @ z)
    assert outputs(reduction.parameters, u) == pytest.approx(np.array(wanted), abs=1e-10)
    assert verify(reduction.parameters, reduction) < 1e-11


def test_steps_are_the_median_and_rows_of_the_input_matrix_have_the_median_norm():
    parameters = layer()
    after = reduce(parameters, 4).parameters
    assert np.exp(after["log_dt"]) == pytest.approx(np.full(4, np.median(np.exp(parameters["log_dt"]))))
    before = np.linalg.norm(parameters["B_re"] + 1j * parameters["B_im"], axis=1)
    rows = np.linalg.norm(after["B_re"] + 1j * after["B_im"], axis=1)
    assert rows == pytest.approx(np.full(4, np.median(before)))
    assert (after["D"] == parameters["D"]).all()


@pytest.mark.parametrize("rank", [1, 3, 5, 7])
def test_the_error_lies_between_the_next_value_and_twice_the_tail(rank):
    parameters = layer(seed=rank)
    reduction = reduce(parameters, rank)
    omegas = np.linspace(0.0, np.pi, 2001)
    full, cut = (frequency_response(real_map(of), omegas) for of in (parameters, reduction.parameters))
    error = np.linalg.norm(full - cut, ord=2, axis=(1, 2)).max()
    seen = inspect(parameters, reduction, parameters)
    low, high = seen["error_interval"]
    assert 0.98 * low <= error <= high * (1 + 1e-9)
    assert high == pytest.approx(propose(parameters).error_bound[rank], rel=1e-9)
    assert seen["gain"] == pytest.approx(np.linalg.norm(full, ord=2, axis=(1, 2)).max(), rel=0.02)
    assert max(seen["response"]["error"]) == pytest.approx(error, rel=0.1)
    assert seen["stability"]["overlap"] == pytest.approx(1.0)
    assert seen["stability"]["weyl"] < 1e-6 * seen["gain"]


def test_stability_is_not_told_across_a_cut_nor_of_random_choices():
    parameters = layer()
    reduction = reduce(parameters, 3)
    assert inspect(parameters, reduction, None)["stability"] is None
    assert inspect(reduction.parameters, reduce(reduction.parameters, 2), parameters)["stability"] is None
    assert "stability" not in inspect(parameters, reduce(parameters, 3, RANDOM), parameters)


def test_overlap_is_that_of_the_states_that_the_rank_holds():
    earlier, parameters = layer(seed=1), layer()
    moved = {name: 0.7 * values + 0.3 * earlier[name] for name, values in parameters.items()}
    reduction = reduce(moved, 3)
    systems = [balanced_in_canonical_scale(real_map(of)) for of in (parameters, moved)]
    wanted = overlap(*systems, reduction.modes.order)
    assert wanted < 0.95
    assert inspect(moved, reduction, parameters)["stability"]["overlap"] == pytest.approx(wanted)


def test_shares_are_tails_of_the_real_map():
    parameters = layer()
    system, table = real_map(parameters), propose(parameters)
    hsv = hankel_singular_values(system.eigenvalues, system.B, system.C)
    assert table.hsv == pytest.approx(hsv.reshape(8, 2).sum(axis=1), rel=1e-8)
    assert spectrum(parameters) == pytest.approx(table.hsv)
    for rank in range(1, 8):
        lost = hsv[reduce(parameters, rank).modes.order :].sum()
        assert table.discarded_share[rank] == pytest.approx(lost / hsv.sum(), rel=1e-8)
    assert (table.discarded_share[0], table.discarded_share[8], table.error_bound[8]) == (1.0, 0.0, 0.0)
    assert table.realisable == [False, *[True] * 8] and table.realised_modes == list(range(9))
    assert table.parameters[8] == sum(values.size for values in parameters.values())
    assert table.parameters[3] == sum(v.size for v in reduce(parameters, 3).parameters.values())


def test_a_random_choice_discards_more_and_has_no_bound():
    table, best = propose(layer(), RANDOM), propose(layer())
    assert table.error_bound is None
    assert table.discarded_share[3] > 1.2 * best.discarded_share[3]
    assert table.discarded_share == sorted(table.discarded_share, reverse=True)


def test_the_full_rank_is_the_layer_as_it_is():
    parameters = layer()
    whole = reduce(parameters, 8)
    assert all((whole.parameters[name] == values).all() for name, values in parameters.items())
    assert verify(parameters, whole) == 0.0
    given = {name: np.ones_like(values) for name, values in parameters.items()}
    assert transport_moments(parameters, whole, given, given) == (given, given)
    assert inspect(parameters, whole, None)["error_interval"] == [0.0, 0.0]


def test_states_that_nothing_reads_are_cut_without_a_trace():
    """Exactly singular Gramians, and moments that are exact because nothing is lost."""
    parameters, u = layer(2, 6), np.random.default_rng(1).standard_normal((40, 2))
    parameters["C_re"][:, 3:] = parameters["C_im"][:, 3:] = 0.0
    parameters["B_re"][1] = parameters["B_im"][1] = 0.0
    reduction = reduce(parameters, 3)
    assert reduction.modes.padding.sum() == 1
    assert outputs(reduction.parameters, u) == pytest.approx(outputs(parameters, u), abs=1e-9)
    given = {name: np.ones_like(values) for name, values in parameters.items()}
    for part in transport_moments(parameters, reduction, given, given):
        assert all(np.isfinite(values).all() for values in part.values())
        assert {name: part[name].shape for name in part} == {
            name: values.shape for name, values in reduction.parameters.items()
        }


def test_a_layer_that_passes_nothing_on_is_not_cut():
    parameters = layer() | {"C_re": np.zeros((3, 8)), "C_im": np.zeros((3, 8))}
    for ask in (propose, lambda given: reduce(given, 3)):
        with pytest.raises(ValueError, match="passes nothing on"):
            ask(parameters)


@pytest.mark.parametrize("name", ["A_re_log", "A_im", "B_im", "C_re", "log_dt"])
def test_what_is_not_finite_is_refused(name):
    parameters = layer()
    parameters[name].flat[0] = np.nan
    for ask in (propose, spectrum, lambda given: reduce(given, 3)):
        with pytest.raises(ValueError, match="not finite"):
            ask(parameters)
