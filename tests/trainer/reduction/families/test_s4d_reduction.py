"""Cutting S4D: per-channel exactness, shares, the bound of a block-diagonal layer, edge cases."""

import numpy as np
import pytest

from hankelboard.trainer.reduction.families.s4d_evidence import inspect
from hankelboard.trainer.reduction.families.s4d_reduction import (
    frequencies,
    propose,
    reduce,
    responses,
    spectrum,
    transport_moments,
    verify,
)
from hankelboard.trainer.reduction.linear import conjugate_pairs
from hankelboard.trainer.reduction.linear.hankel import hankel_singular_values
from hankelboard.trainer.reduction.method import Method

RANDOM = Method("random", seed=3)


def layer(channels=4, modes=6, seed=0, spread=0.3):
    """S4D-Lin with poles that moved a little: its real modes stay real in every other channel."""
    draw = np.random.default_rng(seed)
    noise = spread * draw.standard_normal((2, channels, modes))
    noise[1, ::2, 0] = 0.0
    return {
        "log_dt": np.log(draw.uniform(0.01, 0.3, channels)),
        "A_re_log": np.log(0.5) + noise[0],
        "A_im": np.pi * np.arange(modes) + noise[1],
        "C_re": draw.standard_normal((channels, modes)),
        "C_im": draw.standard_normal((channels, modes)),
        "D": draw.standard_normal(channels),
    }


def impulse_responses(parameters, length=60):
    """K (H, L) by the definition."""
    dt = np.exp(parameters["log_dt"])[:, None]
    A = -np.exp(parameters["A_re_log"]) + 1j * parameters["A_im"]
    powers = np.exp(dt * A)[..., None] ** np.arange(length)
    residues = (parameters["C_re"] + 1j * parameters["C_im"]) * (np.exp(dt * A) - 1.0) / A
    return 2.0 * (residues[..., None] * powers).sum(axis=1).real


@pytest.mark.parametrize("rank", [1, 2, 3, 5])
@pytest.mark.parametrize("method", [Method(), RANDOM])
def test_the_impulse_response_written_back_is_that_of_the_dense_systems(rank, method):
    parameters = layer()
    reduction = reduce(parameters, rank, method)
    assert reduction.parameters["A_im"].shape == (4, rank)
    found = impulse_responses(reduction.parameters)
    for h, modes in enumerate(reduction.channels):
        z, wanted = modes.B_r[:, 0], []
        for _ in range(60):
            wanted.append((modes.C_r @ z)[0])
            z = modes.A_r @ z
        assert found[h] == pytest.approx(wanted, abs=1e-10)
    assert verify(reduction.parameters, reduction) < 1e-11


@pytest.mark.parametrize("rank", [1, 2, 3, 4, 5])
def test_the_error_lies_between_the_largest_next_value_and_the_largest_tail(rank):
    parameters = layer(seed=rank)
    reduction = reduce(parameters, rank)
    omegas = np.broadcast_to(np.linspace(0.0, np.pi, 2001), (4, 2001))
    error = np.abs(responses(parameters, omegas) - responses(reduction.parameters, omegas)).max()
    low, high = inspect(parameters, reduction)["error_interval"]
    assert 0.98 * low <= error <= high * (1 + 1e-9)
    assert high == pytest.approx(propose(parameters).error_bound[rank], rel=1e-9)


def test_shares_are_tails_over_all_channels():
    parameters = layer()
    table = propose(parameters)
    hsv = []
    dt, A = np.exp(parameters["log_dt"])[:, None], -np.exp(parameters["A_re_log"]) + 1j * parameters["A_im"]
    residues = (parameters["C_re"] + 1j * parameters["C_im"]) * (np.exp(dt * A) - 1.0) / A
    for poles, row in zip(np.exp(dt * A), residues, strict=True):
        both, C = np.concatenate([poles, poles.conj()]), np.concatenate([row, row.conj()])
        hsv.append(hankel_singular_values(both, np.ones((12, 1)), C[None]))
    total = np.sum(hsv)
    assert table.hsv == pytest.approx(np.sum(hsv, axis=0).reshape(6, 2).sum(axis=1), rel=1e-9)
    for rank in range(1, 6):
        reduction = reduce(parameters, rank)
        lost = sum(sigma[modes.order :].sum() for sigma, modes in zip(hsv, reduction.channels, strict=True))
        assert table.discarded_share[rank] == pytest.approx(lost / total, rel=1e-8)
    assert (table.discarded_share[0], table.discarded_share[6], table.error_bound[6]) == (1.0, 0.0, 0.0)
    assert table.discarded_share == sorted(table.discarded_share, reverse=True)
    assert table.realisable == [False, *[True] * 6] and table.realised_modes == list(range(7))
    assert table.parameters == [4 * (4 * rank + 2) for rank in range(7)]
    assert spectrum(parameters) == pytest.approx(table.hsv)


def test_a_random_choice_discards_more_and_has_no_bound():
    parameters = layer(8, 8)
    table, best = propose(parameters, RANDOM), propose(parameters)
    assert table.error_bound is None
    assert table.discarded_share == sorted(table.discarded_share, reverse=True)
    assert all(a >= b - 1e-12 for a, b in zip(table.discarded_share, best.discarded_share, strict=True))
    assert table.discarded_share[3] > 1.2 * best.discarded_share[3]
    assert "error_interval" not in inspect(parameters, reduce(parameters, 3, RANDOM))


def test_the_full_rank_is_the_layer_as_it_is():
    parameters = layer()
    whole = reduce(parameters, 6)
    assert all((whole.parameters[name] == values).all() for name, values in parameters.items())
    assert verify(parameters, whole) == 0.0
    given = {name: np.ones_like(values) for name, values in parameters.items()}
    assert transport_moments(parameters, whole, given, given) == (given, given)


def test_real_poles_of_either_sign_are_written_back_as_one_mode():
    """Poles 0.9 and −0.8 of a channel, of which each is given as a pair that is its own partner."""
    dt, eigenvalues, residues = 0.1, np.array([[0.9, -0.8, 0.1 + 0.1j]]), np.array([[1.0, 0.5, 0.001]])
    A = np.log(eigenvalues.astype(complex)) / dt
    C = residues * A / (eigenvalues - 1.0)
    parameters = {
        "log_dt": np.log([dt]), "A_re_log": np.log(-A.real), "A_im": A.imag,
        "C_re": C.real, "C_im": C.imag, "D": np.zeros(1),
    }  # fmt: skip
    reduction = reduce(parameters, 2)
    (modes,) = reduction.channels
    assert modes.real.all() and modes.order == 2
    assert sorted(reduction.parameters["A_im"][0] * dt) == pytest.approx([0.0, np.pi], abs=1e-12)
    wanted = impulse_responses(parameters)
    assert impulse_responses(reduction.parameters) == pytest.approx(wanted, abs=4e-3)
    assert verify(reduction.parameters, reduction) < 1e-12


def test_poles_that_forget_at_once_are_cut_and_written_finite():
    parameters = layer(2, 4)
    parameters["A_re_log"][:, 1:] = 9.0  # λ = exp(−8103 Δ), 0 to double precision
    reduction = reduce(parameters, 2)
    assert all(np.isfinite(values).all() for values in reduction.parameters.values())
    assert verify(reduction.parameters, reduction) < 1e-12
    assert np.isfinite(propose(parameters).discarded_share).all()


def test_a_silent_channel_is_padded_and_others_are_cut():
    parameters = layer(3, 4)
    parameters["C_re"][1] = parameters["C_im"][1] = 0.0
    reduction = reduce(parameters, 2)
    assert reduction.channels[1].padding.all()
    assert (reduction.parameters["C_re"][1] == 0.0).all()
    assert verify(reduction.parameters, reduction) < 1e-12
    first = {name: np.ones_like(values) for name, values in parameters.items()}
    second = {name: 2.0 * values for name, values in first.items()}
    average, square = transport_moments(parameters, reduction, first, second)
    assert all(np.isfinite(part[name]).all() for part in (average, square) for name in first)
    assert (average["A_im"][1] == 0.0).all() and (square["A_im"][1] > 0.0).all()


def test_a_layer_that_passes_nothing_on_is_not_cut():
    parameters = layer() | {"C_re": np.zeros((4, 6)), "C_im": np.zeros((4, 6))}
    for ask in (propose, lambda given: reduce(given, 3)):
        with pytest.raises(ValueError, match="passes nothing on"):
            ask(parameters)


@pytest.mark.parametrize("name", ["A_re_log", "A_im", "C_re", "log_dt"])
def test_what_is_not_finite_is_refused(name):
    parameters = layer()
    parameters[name].flat[0] = np.nan
    for ask in (propose, spectrum, lambda given: reduce(given, 3)):
        with pytest.raises(ValueError, match="not finite"):
            ask(parameters)


def test_between_checked_ranks_shares_are_not_too_small(monkeypatch):
    parameters = layer(2, 20)
    exact = propose(parameters)
    monkeypatch.setattr(conjugate_pairs, "CHECKED_WORK", 0)
    monkeypatch.setattr(conjugate_pairs, "FEW_RANKS", 12)
    thinned = propose(parameters)
    assert thinned.realisable.count(None) > 4
    for rank, known in enumerate(thinned.realisable):
        if known is None:
            assert thinned.discarded_share[rank] >= exact.discarded_share[rank]
            assert thinned.error_bound[rank] >= exact.error_bound[rank]
        else:
            assert thinned.discarded_share[rank] == exact.discarded_share[rank]


def test_responses_are_the_transform_of_the_impulse_response():
    parameters = layer(2, 3)
    omegas = frequencies(parameters)
    steps = np.arange(4000)
    K = impulse_responses(parameters, 4000)
    for h in range(2):
        wanted = np.exp(-1j * np.outer(omegas[h], steps)) @ K[h]
        assert responses(parameters, omegas)[h] == pytest.approx(wanted, abs=1e-8)
    seen = inspect(parameters, reduce(parameters, 2))
    curves = seen["response"]
    assert {len(curves[name]) for name in curves} == {len(curves["omega"])}
    assert seen["gain"] == pytest.approx(max(curves["full"]), rel=0.05)
    assert np.max(curves["error"]) <= seen["error_interval"][1]
