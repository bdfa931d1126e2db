"""What every rank loses is measured on what was seen together, where no basis was fitted."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from hankelboard.trainer.compression.calibration import calibrate, held_out
from hankelboard.trainer.layers import deltanet, scalar_decay_core
from hankelboard.trainer.layers.recurrences.delta_rule import delta_rule_states
from hankelboard.trainer.reduction.families import deltanet_reduction
from hankelboard.trainer.reduction.families.deltanet_reduction import DeltaNetSystem
from hankelboard.trainer.reduction.measured import matrix_states
from hankelboard.trainer.reduction.measured.elimination import selection_basis, table_of
from hankelboard.trainer.reduction.measured.matrix_states import MatrixSystem
from hankelboard.trainer.reduction.measured.samples import (
    Measured,
    Samples,
    errors_of_ranks,
    shares_of,
    shares_over_parts,
)
from hankelboard.trainer.reduction.method import Method
from hankelboard.trainer.reduction.surgery import apply_reduction
from tests.trainer.layers.test_cuts_of_every_family import MEASURED, inputs, layer_of


def samples(rows=200, states=6, seed=0):
    return Samples(*np.random.default_rng(seed).standard_normal((2, rows, states)))


def test_errors_are_those_of_the_first_terms_of_every_rank():
    given, draw = samples(), np.random.default_rng(1)
    V = draw.standard_normal((6, 6))
    W = np.linalg.inv(V).T
    y = (given.reads * given.states).sum(axis=1)
    for rank in range(7):
        y_r = ((given.reads @ V[:, :rank]) * (given.states @ W[:, :rank])).sum(axis=1)
        assert errors_of_ranks(given, V, W)[rank] == pytest.approx(np.square(y - y_r).sum(), rel=1e-9)


def test_errors_of_deletions_are_known_from_the_sample():
    given, order = samples(), np.array([4, 1, 0, 5, 2, 3])
    contributed = given.reads * given.states
    for rank in range(6):
        gone = contributed[:, order[rank:]].sum(axis=1)
        found = errors_of_ranks(given, *selection_basis(order))[rank]
        assert found == pytest.approx(np.square(gone).sum())


def test_shares_fall_even_where_errors_do_not():
    assert shares_of(np.array([4.0, 2.0, 3.0, 0.0])).tolist() == [1.0, 0.75, 0.75, 0.0]
    assert shares_of(np.array([4.0, 9.0, 1.0, 0.0])).tolist() == [1.0, 1.0, 0.25, 0.0]


def test_parts_add_their_errors():
    parts, basis = [samples(seed=0), samples(seed=1)], selection_basis(np.arange(6))
    errors = sum(errors_of_ranks(part, *basis) for part in parts)
    assert shares_over_parts(parts, [basis, basis]) == pytest.approx(shares_of(errors))


@pytest.mark.parametrize(("first", "reason"), [(0.0, "passes nothing on"), (np.nan, "not finite")])
def test_an_output_that_says_nothing_allows_no_proposal(first, reason):
    with pytest.raises(ValueError, match=reason):
        shares_of(np.array([first, 0.0, 0.0]))


def test_one_state():
    shares = shares_over_parts([samples(states=1)], [selection_basis(np.arange(1))])
    table = table_of(shares, [0, 5])
    assert (table.hsv.tolist(), table.discarded_share, table.realisable) == ([1.0], [1.0, 0.0], [False, True])


def test_what_is_held_out_judges_and_a_copy_is_the_same_record():
    fitted, others = [samples()], [samples(seed=1)]
    assert Measured(samples=fitted).judged_on is fitted
    measured = Measured(samples=fitted, held_out=others)
    assert measured.judged_on is others and copy.deepcopy(measured) is measured


# States and queries that know of each other.


STEPS = (100, 200)


def meeting(seed):
    """q, k, v and log a of one head without memory.

    The first direction of keys is written and read in all steps, the second only in 1 % of them, then both at
    once and 6.6 times as strongly.
    """
    draw = np.random.default_rng(seed)
    q, k = draw.standard_normal((2, *STEPS, 2))
    q[..., 1] = k[..., 1] = 6.6 * (np.arange(STEPS[1]) % 100 == 0)
    v = draw.choice([-1.0, 1.0], (*STEPS, 1))
    parts = [torch.as_tensor(part)[:, :, None] for part in (q, k / 30.0, v)]  # (batch, L, 1, …)
    return [*parts, torch.full((*STEPS, 1), -60.0, dtype=torch.float64)]


def judged(observer, sampler, **more):
    """What is measured of one such head, and held out of another."""
    for each, seed in ((observer, 0), (sampler, 1)):
        q, k, v, log_decay = meeting(seed)
        each.see(q, k, v, *more.values(), log_decay)
    return replace(observer.statistics(), held_out=sampler.samples())


def of_scalar_decay():
    statistics = judged(scalar_decay_core.StateMoments(), scalar_decay_core.StateSampler())
    system = MatrixSystem(np.eye(2)[None], np.eye(2)[None], statistics)
    return statistics, matrix_states.propose(system, Method(), [0, 0, 0])


def of_deltanet():
    beta = torch.ones(*STEPS, 1, dtype=torch.float64)
    statistics = judged(deltanet.Observer(), deltanet.Sampler(), beta=beta)
    system = DeltaNetSystem({"map.weight": np.zeros((1, 0, 2))}, statistics)
    return statistics, deltanet_reduction.propose(system, Method())


@pytest.mark.parametrize("measured", [of_scalar_decay, of_deltanet])
def test_a_state_and_a_query_that_meet_in_few_steps_are_seen_to_meet(measured):
    statistics, table = measured()
    first, second = np.diag(statistics.P[0]) * np.diag(statistics.Q[0])
    assert second / (first + second) == pytest.approx(0.161, abs=0.02)  # as if they were independent
    q, k, _, _ = (part.numpy() for part in meeting(1))
    first, second = np.square(q * k).sum((0, 1, 2))
    true = second / (first + second)
    assert true > 0.9
    assert table.discarded_share[1] == pytest.approx(true, abs=0.02)


# Sequences that the choice was not fitted to.


def by_hand(core, name, rows):
    """Relative squared error of the core's output on these inputs, cut to each rank."""
    outputs, errors = core(rows), []
    for rank in range(1, core.state_dim):
        trial = copy.deepcopy(core)
        apply_reduction(trial, None, trial.reduce(trial.extract(), rank))
        errors.append(float((trial(rows) - outputs).square().sum() / outputs.square().sum()))
    return errors


@pytest.mark.parametrize("family", [family for family in MEASURED if family != "deltanet"])
def test_shares_are_the_errors_on_sequences_that_nothing_was_fitted_to(family):
    (layer, core), x = layer_of(family), inputs(length=30, batch=8)
    seen = []
    hook = core.register_forward_hook(lambda module, given, result: seen.append(given[0]))
    with torch.no_grad():
        calibrate(layer, x)
        hook.remove()
        fitted, others = seen
        assert len(fitted) == len(others) == 4
        told = core.propose(core.extract()).discarded_share[1:-1]
        found = by_hand(core, family, others)
        assert told == pytest.approx(np.maximum.accumulate(found[::-1])[::-1].clip(max=1.0), rel=1e-5)
        assert told != pytest.approx(by_hand(core, family, fitted), rel=1e-3)


def test_a_delta_rule_is_judged_by_its_projection_at_the_same_step():
    (layer, core), x = layer_of("deltanet"), inputs(length=30, batch=8)
    calibrate(layer, x)
    system = core.extract()
    with torch.no_grad():
        mixed = core.convolution(core.inner(held_out(x)))
        q, k, v = core._keys_and_values(mixed)
        S = torch.stack(list(delta_rule_states(k, v, *core._strength_and_decay(held_out(x)))), 1)
    S, q = S.numpy(), q.numpy()  # (batch, L, heads, N, d_v), (batch, L, heads, N)
    whole = np.einsum("blhnv,blhn->blhv", S, q)
    for rank in (2, 5):
        U = core.reduce(system, rank).basis
        kept = np.einsum("blhnv,hnr,hmr,blhm->blhv", S, U, U, q)
        share = np.square(whole - kept).sum() / np.square(whole).sum()
        assert core.propose(system).discarded_share[rank] == pytest.approx(share, rel=1e-8)


@pytest.mark.parametrize("family", MEASURED)
def test_of_a_single_sequence_nothing_is_held_out(family):
    layer, core = layer_of(family)
    calibrate(layer, inputs(batch=1))
    assert core.statistics.held_out is None
    assert core.propose(core.extract()).discarded_share[0] == 1.0
