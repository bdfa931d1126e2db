"""A layer is cut while its optimizer goes on: parameters, groups, state, and nothing on failure."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from hankelboard.trainer.reduction.families import lru_reduction
from hankelboard.trainer.reduction.families.lru_parameters import SYSTEM_NAMES
from hankelboard.trainer.reduction.reducible import Reducible
from hankelboard.trainer.reduction.surgery import apply_reduction, reducible_layers


class SmallLru(nn.Module):
    """A sequential LRU layer; u (batch, time, H) -> y of the same shape."""

    importance = "hsv"

    def __init__(self, width, state_dim, dtype=torch.float32, seed=0):
        super().__init__()
        rng = np.random.default_rng(seed)
        nu = -np.log(rng.uniform(0.7, 0.99, state_dim))
        values = {
            "nu_log": np.log(nu),
            "theta_log": np.log(rng.uniform(0.1, 6.2, state_dim)),
            "gamma_log": 0.5 * np.log(-np.expm1(-2 * nu)),
            "B_re": rng.standard_normal((state_dim, width)),
            "B_im": rng.standard_normal((state_dim, width)),
            "C_re": rng.standard_normal((width, state_dim)),
            "C_im": rng.standard_normal((width, state_dim)),
            "D": rng.standard_normal(width),
        }
        for name, array in values.items():
            self.register_parameter(name, nn.Parameter(torch.tensor(array, dtype=dtype)))

    @property
    def state_dim(self):
        return self.nu_log.shape[0]

    def forward(self, u):
        eigenvalues = torch.exp(torch.complex(-torch.exp(self.nu_log), torch.exp(self.theta_log)))
        B = torch.exp(self.gamma_log)[:, None] * torch.complex(self.B_re, self.B_im)
        C = torch.complex(self.C_re, self.C_im)
        driven = u.to(B.dtype) @ B.T
        x, ys = torch.zeros_like(driven[:, 0]), []
        for k in range(u.shape[1]):
            x = eigenvalues * x + driven[:, k]
            ys.append((x @ C.T).real)
        return torch.stack(ys, 1) + self.D * u

    def extract(self):
        return {name: p.detach().double().numpy().copy() for name, p in self.named_parameters()}

    def spectrum(self, system):
        return lru_reduction.spectrum(system)

    def propose(self, system):
        return lru_reduction.propose(system)

    def reduce(self, system, rank):
        return lru_reduction.reduce(system, rank)

    def write_back(self, reduction):
        for name in SYSTEM_NAMES:
            values = torch.tensor(reduction.parameters[name], dtype=torch.float64)
            setattr(self, name, nn.Parameter(values))

    def transport_moments(self, reduction, first, second):
        return lru_reduction.transport_moments(self.extract(), reduction, first, second)

    def verify(self, reduction):
        return lru_reduction.verify(self.extract(), reduction)


class FailsAt(SmallLru):
    """Raises in one of the calls that a cut makes."""

    failing = ""

    def transport_moments(self, reduction, first, second):
        if self.failing == "transport_moments":
            raise RuntimeError(self.failing)
        first, second = super().transport_moments(reduction, first, second)
        if self.failing == "moments not finite":
            first["nu_log"][0] = np.nan
        return first, second

    def write_back(self, reduction):
        super().write_back(reduction)
        self.extra_attribute = 1
        if self.failing == "write_back":
            raise RuntimeError(self.failing)
        if self.failing == "new name":
            self.register_parameter("E", nn.Parameter(torch.zeros(1)))
        if self.failing == "parameter not finite":
            self.nu_log = nn.Parameter(torch.full_like(self.nu_log, 1e300, dtype=torch.float64))

    def verify(self, reduction):
        if self.failing == "verify":
            raise RuntimeError(self.failing)
        return super().verify(reduction)


class TwoLayers(nn.Module):
    def __init__(self, layer=SmallLru, width=2, state_dim=10, dtype=torch.float32):
        super().__init__()
        self.first = layer(width, state_dim, dtype, seed=1)
        self.between = nn.Linear(width, width, dtype=dtype)
        self.second = layer(width, state_dim, dtype, seed=2)

    def forward(self, u):
        return self.second(torch.tanh(self.between(self.first(u))))


def optimizer_of(model, kind=torch.optim.AdamW):
    """Two groups, the second one with the layers' own parameters in a mixed order."""
    layers = [p for layer in (model.second, model.first) for p in layer.parameters()]
    groups = [
        {"params": list(model.between.parameters())},
        {"params": layers, "lr": 1e-3, "weight_decay": 0.0},
    ]
    return kind(groups, lr=1e-2)


def train(model, optimizer, steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    losses = []
    for _ in range(steps):
        u = torch.randn(4, 8, 2, generator=generator, dtype=model.between.weight.dtype)
        loss = (model(u) - u.cumsum(1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def picture(model, optimizer):
    """Everything a failed cut must leave alone: objects, values, groups and state."""
    objects = {name: id(p) for name, p in model.named_parameters()}
    values = {name: p.detach().clone() for name, p in model.named_parameters()}
    groups = [[id(p) for p in group["params"]] for group in optimizer.param_groups]
    state = {id(p): copy.deepcopy(s) for p, s in optimizer.state.items()}
    return objects, values, groups, state


def assert_same_picture(one, two):
    assert one[0] == two[0] and one[2] == two[2] and one[3].keys() == two[3].keys()
    for name, values in one[1].items():
        assert torch.equal(values, two[1][name])
    for key, state in one[3].items():
        assert all(torch.equal(value, two[3][key][name]) for name, value in state.items())


def test_layers_are_found_in_module_order_by_what_they_can_do():
    model = TwoLayers()
    assert [name for name, _ in reducible_layers(model)] == ["first", "second"]
    assert isinstance(model.first, Reducible) and not isinstance(model.between, Reducible)
    assert reducible_layers(nn.Linear(2, 2)) == []
    assert [name for name, _ in reducible_layers(SmallLru(2, 3))] == [""]


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("moments", ["transport", "reset", "slice"])
def test_a_cut_swaps_parameters_groups_and_state_and_training_goes_on(kind, moments):
    model = TwoLayers()
    optimizer = optimizer_of(model, kind)
    before = train(model, optimizer, 10)
    old, positions = dict(model.named_parameters()), picture(model, optimizer)[2]
    old_state = dict(optimizer.state)
    error = apply_reduction(model.first, optimizer, model.first.reduce(model.first.extract(), 6), moments)
    assert error < 1e-5
    assert (model.first.state_dim, model.second.state_dim) == (6, 10)
    new = dict(model.named_parameters())
    changed = {f"first.{name}" for name in SYSTEM_NAMES}
    assert {name for name in old if new[name] is not old[name]} == changed
    number = {id(p): name for name, p in new.items()} | {id(p): name for name, p in old.items()}
    after = [[id(p) for p in group["params"]] for group in optimizer.param_groups]
    assert [[number[i] for i in group] for group in after] == [
        [number[i] for i in group] for group in positions
    ]
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == {
        id(p) for p in new.values()
    }
    assert set(optimizer.state) == set(new.values())
    for name, p in new.items():
        state = optimizer.state[p]
        assert state["exp_avg"].shape == state["exp_avg_sq"].shape == p.shape
        fresh = moments == "reset" and name in changed
        assert state["exp_avg"].dtype == p.dtype and float(state["step"]) == (0 if fresh else 10)
        if name not in changed:
            assert state is old_state[p]
        elif moments == "reset":
            assert not state["exp_avg"].any() and not state["exp_avg_sq"].any()
        elif moments == "slice":
            kept = tuple(slice(size) for size in p.shape)
            assert torch.equal(state["exp_avg"], old_state[old[name]]["exp_avg"][kept])
        else:
            assert state["exp_avg"].any() and (state["exp_avg_sq"] >= 0).all()
    assert np.mean(train(model, optimizer, 10, seed=1)) < 2.0 * np.mean(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_device_dtype_and_requires_grad_stay_whatever_apply_registers(dtype):
    model = TwoLayers(dtype=dtype)
    model.first.gamma_log.requires_grad_(False)
    optimizer = optimizer_of(model)
    train(model, optimizer, 3)
    apply_reduction(model.first, optimizer, model.first.reduce(model.first.extract(), 4))
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["first.gamma_log"]
    assert model.first.gamma_log not in optimizer.state
    train(model, optimizer, 3)


def test_the_model_computes_the_reduced_map_right_after_the_cut():
    model = TwoLayers(dtype=torch.float64)
    layer = model.first
    reduction = layer.reduce(layer.extract(), 5)
    u = torch.randn(2, 15, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = reduction.truncation
    A, B, C = (torch.tensor(M) for M in (t.A_r, t.B_r, t.C_r))
    x, ys = torch.zeros(2, 5, dtype=torch.complex128), []
    for k in range(u.shape[1]):
        x = x @ A.T + u[:, k].to(torch.complex128) @ B.T
        ys.append((x @ C.T).real)
    dense = torch.stack(ys, 1) + layer.D * u
    assert apply_reduction(layer, None, reduction) < 1e-12
    torch.testing.assert_close(layer(u), dense, rtol=1e-11, atol=1e-11)


def test_without_optimizer_or_before_the_first_step_only_parameters_change():
    model = TwoLayers()
    apply_reduction(model.first, None, model.first.reduce(model.first.extract(), 5))
    optimizer = optimizer_of(model)
    apply_reduction(model.second, optimizer, model.second.reduce(model.second.extract(), 5))
    assert len(optimizer.state) == 0
    assert (model.first.state_dim, model.second.state_dim) == (5, 5)
    train(model, optimizer, 2)


def test_a_second_cut_and_the_cut_to_rank_n_work_on_what_is_there():
    model = TwoLayers(dtype=torch.float64)
    optimizer = optimizer_of(model)
    train(model, optimizer, 5)
    average = optimizer.state[model.first.B_re]["exp_avg"].clone()
    square = optimizer.state[model.first.B_re]["exp_avg_sq"].clone()
    values = model.first.B_re.detach().clone()
    assert apply_reduction(model.first, optimizer, model.first.reduce(model.first.extract(), 10)) == 0.0
    assert torch.equal(model.first.B_re, values)
    state = optimizer.state[model.first.B_re]
    torch.testing.assert_close(state["exp_avg"], average, rtol=1e-14, atol=0.0)
    torch.testing.assert_close(state["exp_avg_sq"], square, rtol=1e-14, atol=0.0)
    for rank in (7, 3, 1):
        assert (
            apply_reduction(model.first, optimizer, model.first.reduce(model.first.extract(), rank)) < 1e-10
        )
        train(model, optimizer, 2)
    assert model.first.state_dim == 1


def test_moments_are_averages_without_bias_when_the_layer_sees_them():
    """After one step Adam keeps 0.1 g and 0.001 g²; the layer is given g and g²."""

    class Watching(SmallLru):
        def transport_moments(self, reduction, first, second):
            self.seen = first, second
            return super().transport_moments(reduction, first, second)

    model = TwoLayers(layer=Watching, dtype=torch.float64)
    optimizer = optimizer_of(model)
    train(model, optimizer, 1)
    gradient = {name: p.grad.numpy().copy() for name, p in model.first.named_parameters()}
    apply_reduction(model.first, optimizer, model.first.reduce(model.first.extract(), 5))
    first, second = model.first.seen
    for name, g in gradient.items():
        np.testing.assert_allclose(first[name], g, rtol=1e-12)
        np.testing.assert_allclose(second[name], g**2, rtol=1e-11)
    state = optimizer.state[model.first.B_re]
    assert (state["exp_avg_sq"] / 0.001 >= (state["exp_avg"] / 0.1) ** 2 * (1 - 1e-9)).all()


def test_the_optimizer_can_be_saved_and_loaded_after_a_cut():
    model = TwoLayers()
    optimizer = optimizer_of(model)
    train(model, optimizer, 4)
    apply_reduction(model.first, optimizer, model.first.reduce(model.first.extract(), 6))
    twin = copy.deepcopy(model)
    twin_optimizer = optimizer_of(twin)
    twin_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert train(twin, twin_optimizer, 5) == train(model, optimizer, 5)


@pytest.mark.parametrize(
    "failing",
    ["transport_moments", "moments not finite", "write_back", "new name", "parameter not finite", "verify"],
)
def test_a_failure_at_any_point_leaves_model_and_optimizer_as_they_were(failing):
    model = TwoLayers(layer=FailsAt)
    optimizer = optimizer_of(model)
    train(model, optimizer, 5)
    reduction = model.first.reduce(model.first.extract(), 6)
    before = picture(model, optimizer)
    model.first.failing = failing
    with pytest.raises((RuntimeError, ValueError), match=r"finite|set of parameters|" + failing):
        apply_reduction(model.first, optimizer, reduction)
    assert_same_picture(before, picture(model, optimizer))
    assert not hasattr(model.first, "extra_attribute")
    model.first.failing = ""
    train(model, optimizer, 2)
    reduction = model.first.reduce(model.first.extract(), 6)
    assert apply_reduction(model.first, optimizer, reduction) < 1e-5


def test_other_optimizers_and_unknown_choices_are_refused_before_anything_changes():
    model = TwoLayers()
    reduction = model.first.reduce(model.first.extract(), 6)
    with pytest.raises(ValueError, match="moments = 'cut': must be one of transport, reset"):
        apply_reduction(model.first, None, reduction, "cut")
    momentum = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    train(model, momentum, 1)
    before = picture(model, momentum)
    with pytest.raises(ValueError, match="only Adam and AdamW without amsgrad"):
        apply_reduction(model.first, momentum, reduction)
    assert_same_picture(before, picture(model, momentum))
