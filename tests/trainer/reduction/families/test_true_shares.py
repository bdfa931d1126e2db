"""What a proposal states of every rank is true of the cut that is made: shares, and H∞ bounds with rounding.

Systems are hostile: real and repeated poles, clusters, conjugate pairs, poles up to 1e-12 from the circle,
one state. Kept order, σ and error are computed here from the parameters before and after, by other formulas.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hankelboard.settings.families import FAMILIES
from hankelboard.trainer.reduction.families import (
    gla_reduction,
    lru_reduction,
    mamba_reduction,
    s4d_reduction,
    s5_reduction,
)
from hankelboard.trainer.reduction.linear import conjugate_pairs
from hankelboard.trainer.reduction.linear.rounding import ErrorBounds
from hankelboard.trainer.reduction.method import Method
from tests.trainer.layers.test_cuts_of_every_family import calibrated

KINDS = ("ring", "real", "cluster", "repeated", "near the circle", "pairs", "one input")
SINGULAR = ("cluster", "one input", "repeated")
"""Where states that are drawn at random may be rounding, so that eigenvalues of W^H P W V^H Q V are, too."""
ANSWERS = {"lru": lru_reduction, "s4d": s4d_reduction, "s5": s5_reduction}
LINEAR = [(family, method) for family in ANSWERS for method in FAMILIES[family].methods]


def method_of(family, name):
    return Method(symmetry="real") if name == "real" else Method(name, seed=3)


# Layers


def drawn(kind, n, width, seed):
    """−log|λ| and arg λ (N,), B (N, H), C (H, N)."""
    rng = np.random.default_rng(seed)
    nu, theta = -np.log(rng.uniform(0.3, 0.99, n)), rng.uniform(0.01, 2.0 * np.pi, n)
    B, C = rng.standard_normal((2, n, width, 2)) @ [1.0, 1.0j]
    B = B * 10.0 ** rng.uniform(-2.0, 0.0, (n, 1))
    match kind:
        case "real":
            theta = np.where(rng.random(n) < 0.6, 2.0 * np.pi, np.pi)
        case "cluster":
            near = 10.0 ** rng.uniform(-12.0, -2.0)
            nu, theta = nu[0] * (1.0 + near * rng.random(n)), theta[0] * (1.0 + near * rng.random(n))
        case "repeated":
            nu, theta = np.full(n, nu[0]), np.full(n, theta[0])
        case "near the circle":
            nu = 10.0 ** rng.uniform(-12.0, 0.0, n)
            theta = np.where(rng.random(n) < 0.4, 2.0 * np.pi, theta)
        case "pairs":
            half = n // 2
            nu[half : 2 * half], theta[half : 2 * half] = nu[:half], 2.0 * np.pi - theta[:half]
        case "one input":
            B = np.repeat(B[:1], n, axis=0)
            near = 10.0 ** rng.uniform(-10.0, -3.0)
            nu, theta = nu[0] + near * rng.random(n), theta[0] + near * rng.random(n)
    return nu, theta, B, C.T


def parameters_of(family, nu, theta, B, C):
    parts = {"B_re": B.real, "B_im": B.imag, "C_re": C.real, "C_im": C.imag, "D": np.zeros(len(C))}
    if family == "lru":
        gamma_log = 0.5 * np.log(-np.expm1(-2.0 * nu))
        return parts | {"nu_log": np.log(nu), "theta_log": np.log(theta), "gamma_log": gamma_log}
    theta = np.mod(theta + np.pi, 2.0 * np.pi) - np.pi
    dt = np.geomspace(0.01, 0.1, len(nu) if family == "s5" else len(C))
    step = dt if family == "s5" else dt[:, None]
    parts |= {"log_dt": np.log(dt), "A_re_log": np.log(nu / step), "A_im": theta / step}
    return parts if family == "s5" else {name: part for name, part in parts.items() if name[0] != "B"}


def systems_of(family, parameters):
    """log λ (N,), B (N, H), C (M, N) of u -> 2 Re(C x) (LRU: C x) of every system of the layer."""
    complex_of = lambda name: parameters[f"{name}_re"] + 1j * parameters[f"{name}_im"]  # noqa: E731
    if family == "lru":
        logs = -np.exp(parameters["nu_log"]) + 1j * np.exp(parameters["theta_log"])
        return [(logs, np.exp(parameters["gamma_log"])[:, None] * complex_of("B"), complex_of("C"))]
    A = -np.exp(parameters["A_re_log"]) + 1j * parameters["A_im"]
    dt = np.exp(parameters["log_dt"])
    if family == "s5":
        gain = np.expm1(dt * A) / A
        return [(dt * A, gain[:, None] * complex_of("B"), complex_of("C"))]
    logs = dt[:, None] * A
    residues = complex_of("C") * np.expm1(logs) / A
    return [(log, np.ones((len(log), 1)), row[None]) for log, row in zip(logs, residues, strict=True)]


def both(logs, B, C):
    """With the partner of every mode."""
    return np.append(logs, logs.conj()), np.concatenate([B, B.conj()]), np.hstack([C, C.conj()])


def maps_of(family, method, parameters):
    """The systems of which a cut is balanced truncation: the real map but for the LRU's complex symmetry."""
    systems = systems_of(family, parameters)
    if family == "lru":
        systems = [(logs, B, 0.5 * C) for logs, B, C in systems] if method.symmetry == "real" else systems
        return [both(*one) for one in systems] if method.symmetry == "real" else systems
    return [both(*one) for one in systems]


# By other formulas


def gramians(logs, B, C):
    weight = -1.0 / np.expm1(logs[:, None] + logs.conj())
    return (B @ B.conj().T) * weight, (C.conj().T @ C) * weight.conj()


def root(G):
    scale = np.sqrt(np.maximum(np.diag(G).real, 1e-300))
    values, vectors = np.linalg.eigh(G / np.outer(scale, scale))
    return scale[:, None] * vectors * np.sqrt(np.clip(values, 0.0, None))


def singular_values(system):
    P, Q = (root(G) for G in gramians(*system))
    return np.linalg.svd(Q.conj().T @ P, compute_uv=False)


def largest_gain(system, other):
    """‖G − G'‖_H∞ on uniform frequencies and around every pole, at distances in units of its own width."""
    grid = [np.linspace(0.0, 2.0 * np.pi, 65)]
    for logs, *_ in (system, other):
        away = np.concatenate([[0.0], np.geomspace(0.1, 10.0, 7)])[:, None] * -logs.real
        grid += [(logs.imag + away).ravel(), (logs.imag - away).ravel()]
    omegas = np.concatenate(grid)[:, None]
    G, H = (
        (C * (-np.exp(-1j * omegas) / np.expm1(logs - 1j * omegas))[:, None]) @ B
        for logs, B, C in (system, other)
    )
    return float(np.linalg.norm(G - H, ord=2, axis=(1, 2)).max())


def orders_kept(family, method, parameters):
    """The order of each system after a cut: of the modes that are read, real ones count once."""
    orders = []
    for logs, _, C in systems_of(family, parameters):
        eigenvalues, read = np.exp(logs), np.abs(C).max(axis=0) > 0.0
        real = np.abs(eigenvalues.imag) <= 1e-12 * np.abs(eigenvalues)
        once = method.symmetry == "complex" and family == "lru"
        orders.append(int(read.sum() if once else (2 - real)[read].sum()))
    return orders


def kept_scores(family, method, parameters):
    """The sum of scores that the modes of a layer have, each system by itself."""
    power = 2 if method.name == "last" else 1
    return sum(
        float(
            ((np.abs(C) ** 2).sum(0) * (np.abs(B) ** 2).sum(1)
             / (np.expm1(logs.real) ** 2 if power == 2 else -np.expm1(2.0 * logs.real))).sum()
        )
        for logs, B, C in systems_of(family, parameters)
    )  # fmt: skip


def kept_energy(family, method, parameters, reduction):
    """Σσ of the states that a choice of balanced ones keeps: √λ(WᴴPW VᴴQV), the same in any basis."""
    if family != "lru":
        balances = s4d_reduction._balances(parameters, method) if family == "s4d" else None
        balances = balances or [s5_reduction._balanced(s5_reduction.system_of(parameters), method)]
        modes = reduction.channels if family == "s4d" else [reduction.modes]
        return sum(b.hsv[: one.order].sum() for b, one in zip(balances, modes, strict=True))
    P, Q = gramians(*systems_of(family, parameters)[0])
    V, W = reduction.truncation.V_n, reduction.truncation.W_n
    squares = np.linalg.eigvals((W.conj().T @ P @ W) @ (V.conj().T @ Q @ V)).real
    return float(np.sqrt(np.clip(squares, 0.0, None)).sum())


def true_share(family, method, parameters, reduction):
    """The share of the importance that a reduction really discards."""
    if method.name in ("last", "aire"):
        whole = kept_scores(family, method, parameters)
        return 1.0 - kept_scores(family, method, reduction.parameters) / whole
    sigma = [singular_values(system) for system in maps_of(family, method, parameters)]
    whole = sum(each.sum() for each in sigma)
    if method.name != "balanced":
        return 1.0 - kept_energy(family, method, parameters, reduction) / whole
    orders = orders_kept(family, method, reduction.parameters)
    return sum(each[order:].sum() for each, order in zip(sigma, orders, strict=True)) / whole


@pytest.mark.parametrize(("family", "name"), [*LINEAR, ("lru", "real")])
@settings(max_examples=10)
@given(kind=st.sampled_from(KINDS), n=st.integers(1, 6), width=st.integers(1, 2), seed=st.integers(0, 2**20))
def test_share_and_bound_of_every_rank_are_those_of_the_cut(family, name, kind, n, width, seed):
    method, answers = method_of(family, name), ANSWERS[family]
    parameters = parameters_of(family, *drawn(kind, n, width, seed))
    table = answers.propose(parameters, method)
    assert (table.error_bound is not None) == (method.name == "balanced")
    assert (table.discarded_share[0], table.discarded_share[n]) == (1.0, 0.0)
    assert table.discarded_share == sorted(table.discarded_share, reverse=True)
    before = maps_of(family, method, parameters)
    gap = min(-logs.real.max() for logs, *_ in before)
    rounding = 1e-15 / gap if method.name in ("last", "aire") else 0.0  # an LRU is written back from λ
    for rank in range(1, n + 1):
        if not table.realisable[rank]:
            continue
        reduction = answers.reduce(parameters, rank, method)
        if rank < n and not (method.name in ("random", "smallest") and kind in SINGULAR):
            share = true_share(family, method, parameters, reduction)
            assert table.discarded_share[rank] == pytest.approx(share, abs=2e-6 + rounding)
        if table.error_bound is not None:
            after = maps_of(family, method, reduction.parameters)
            error = max(largest_gain(*pair) for pair in zip(before, after, strict=True))
            assert reduction.error_interval[1] == pytest.approx(table.error_bound[rank], rel=0.3)
            assert error <= table.error_bound[rank]


def test_a_bound_without_its_rounding_would_be_too_small():
    """Poles 1e-11 from the circle: what is discarded is less than what rounding costs."""
    parameters = parameters_of("lru", *drawn("near the circle", 5, 2, 1))
    parameters["nu_log"][0] = np.log(1e-11)
    before, worst = systems_of("lru", parameters)[0], 0.0
    table = lru_reduction.propose(parameters)
    for rank in range(1, 5):
        reduction = lru_reduction.reduce(parameters, rank)
        error = largest_gain(before, systems_of("lru", reduction.parameters)[0])
        worst = max(worst, error / (2.0 * table.hsv[rank:].sum()))
        assert error <= table.error_bound[rank]
    assert worst > 1.5


def test_where_rounding_leaves_nothing_to_be_said_no_bound_is_stated():
    bounds = ErrorBounds(np.array([1.0, 0.5]), np.zeros(2), 1.5, gap=0.0)
    assert bounds.interval(1, 1.0, 0.1) == (0.0, np.inf) and bounds.interval(2, 1.0, 0.1) == (0.0, 0.0)


def test_an_order_without_a_diagonal_form_is_not_stated_either(monkeypatch):
    """Two real poles that meet: the next lower order is cut, and share and bound are that one's."""
    parameters = parameters_of("s5", *drawn("real", 5, 2, 0))
    exact = s5_reduction.propose(parameters)
    condition = s5_reduction.reduce(parameters, 3).modes.condition
    monkeypatch.setattr("hankelboard.trainer.reduction.linear.truncation.CONDITION_LIMIT", 0.999 * condition)
    table = s5_reduction.propose(parameters)
    reduction = s5_reduction.reduce(parameters, 3)
    assert table.discarded_share[3] > exact.discarded_share[3] and reduction.modes.condition < condition
    share = true_share("s5", Method(), parameters, reduction)
    assert table.discarded_share[3] == pytest.approx(share, abs=1e-9)


# Families whose states are measured


def deleted(statistics, order, rank):
    """Share of the output's energy, on what was held out, that deletion of all states but the first loses."""
    lost = whole = 0.0
    for part, chosen in zip(statistics.judged_on, np.atleast_2d(order), strict=True):
        terms = part.reads * part.states
        lost += np.square(terms[:, chosen[rank:]].sum(axis=1)).sum()
        whole += np.square(terms.sum(axis=1)).sum()
    return lost / whole


def mamba_share(system, method, rank):
    order, _ = mamba_reduction.choice(system.statistics, method)
    return max(deleted(system.statistics, order, higher) for higher in range(rank, system.state_dim + 1))


def gla_share(system, method, rank):
    order, _ = gla_reduction.choice(system.statistics, method)
    return max(deleted(system.statistics, order, higher) for higher in range(rank, system.state_dim + 1))


MEASURED_SHARES = {"mamba": mamba_share, "gla": gla_share}
"""By family, the true share of a system, a method without compensation, and a rank."""


@pytest.mark.parametrize(
    ("family", "name"), [(family, name) for family in MEASURED_SHARES for name in FAMILIES[family].methods]
)
def test_shares_of_deletions_are_the_energy_that_they_lose(family, name):
    _, core = calibrated(family)
    core.method = Method(name, seed=3, compensation=False)
    system = core.extract()
    table = core.propose(system)
    for rank in range(1, core.state_dim):
        share = MEASURED_SHARES[family](system, core.method, rank)
        assert table.discarded_share[rank] == pytest.approx(min(share, 1.0), rel=1e-6)


@pytest.mark.parametrize(
    ("family", "name"),
    [(family, name) for family in FAMILIES for name in FAMILIES[family].methods if family not in ANSWERS],
)
def test_only_linear_time_invariant_layers_state_a_bound(family, name):
    _, core = calibrated(family)
    core.method = Method(name, seed=3)
    assert core.propose(core.extract()).error_bound is None


def test_the_same_mechanism_serves_all_real_maps():
    for answers in ANSWERS.values():
        assert answers.consequences is conjugate_pairs.consequences
