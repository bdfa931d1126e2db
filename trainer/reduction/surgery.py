"""Replace a layer's parameters and optimizer moments in place: the bridge between torch and the reductions.

Everything or nothing: if a step fails, the layer has its old parameters and the optimizer was not touched.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from hankelboard.trainer.reduction.reducible import (
    Arrays,
    FloatArray,
    Reducible,
    ReducibleLayer,
    with_defaults,
)

MOMENTS = ("transport", "reset", "slice")
MOMENT_NAMES = ("exp_avg", "exp_avg_sq")
State = dict[str, Any]


def reducible_layers(model: nn.Module) -> list[tuple[str, ReducibleLayer]]:
    """Return name and module of every layer that can be cut, in module order."""
    modules = cast(Iterable[tuple[str, Any]], model.named_modules())
    return [(name, with_defaults(module)) for name, module in modules if isinstance(module, Reducible)]


def apply_reduction(
    layer: Reducible, optimizer: torch.optim.Optimizer | None, reduction: Any, moments: str = "transport"
) -> float:
    """Cut a layer and carry on with the same optimizer.

    New Parameters take the place of the old ones in the layer, in the optimizer's groups and in its state,
    with the old device, dtype and `requires_grad`. Parameters that the reduction does not change keep
    their object and their state.

    Parameters
    ----------
    layer : Reducible
        Also an nn.Module.
    optimizer : Adam or AdamW, optional
        None for a copy of the model in a what-if.
    reduction : object
        What `layer.reduce` returned.
    moments : "transport", "reset" or "slice"
        Carry Adam's moments into the new coordinates and keep the step; start both at zero; or keep the first
        entries as they are, whatever they belonged to (an ablation: what published code does).
        `layer.transport_moments` is given bias-corrected averages, so that a family may compare them.

    Returns
    -------
    error : float
        `layer.verify(reduction)` after the write-back.

    Raises
    ------
    ValueError
        If `moments` is unknown, the optimizer keeps other state than Adam's, the reduction adds or removes a
        parameter, or a new value is not finite in the layer's precision. Errors of the layer pass through.
    """
    if moments not in MOMENTS:
        raise ValueError(f"moments = {moments!r}: must be one of {', '.join(MOMENTS)}")
    module = cast(nn.Module, layer)
    before = dict(module.named_parameters())
    states = _adam_states(before, optimizer)
    corrections = {name: _bias_corrections(before[name], optimizer, states[name]) for name in states}
    averages: tuple[Arrays, Arrays] = _averages(states, corrections)
    if moments == "transport" and states:
        averages = layer.transport_moments(reduction, *averages)
    with restored_on_error(module):
        layer.write_back(reduction)
        after = dict(module.named_parameters())
        _match(before, after)
        changed = [name for name in before if after[name] is not before[name]]
        new_states = {
            name: _new_state(name, after[name], states[name], averages, corrections[name], moments)
            for name in changed
            if name in states
        }
        error = layer.verify(reduction)
    if optimizer is not None:
        _swap(optimizer, {before[name]: (after[name], new_states.get(name)) for name in changed})
    return error


def _adam_states(
    parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer | None
) -> dict[str, State]:
    """Return Adam's state by parameter name, for the parameters that have one."""
    if optimizer is None:
        return {}
    states = {name: optimizer.state[p] for name, p in parameters.items() if optimizer.state.get(p)}
    for name, state in states.items():
        if set(state) != {"step", *MOMENT_NAMES}:
            raise ValueError(
                f"the optimizer keeps {sorted(state)} for {name}: only Adam and AdamW without amsgrad "
                "can be carried across a reduction"
            )
    return states


def _bias_corrections(
    parameter: nn.Parameter, optimizer: torch.optim.Optimizer | None, state: State
) -> tuple[float, float]:
    """Return 1 − β^step for both moments; 1 where there was no step yet."""
    assert optimizer is not None
    step = float(state["step"])
    group = next(g for g in optimizer.param_groups if any(p is parameter for p in g["params"]))
    first, second = (1.0 - float(beta) ** step if step > 0 else 1.0 for beta in group["betas"])
    return first, second


def _averages(
    states: dict[str, State], corrections: dict[str, tuple[float, float]]
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Return bias-corrected averages of gradient and squared gradient, float64."""
    first, second = (
        {
            name: state[moment].detach().to("cpu", torch.float64).numpy() / corrections[name][index]
            for name, state in states.items()
        }
        for index, moment in enumerate(MOMENT_NAMES)
    )
    return first, second


def _new_state(
    name: str,
    parameter: nn.Parameter,
    state: State,
    averages: tuple[Arrays, Arrays],
    corrections: tuple[float, float],
    moments: str,
) -> State:
    """Return the state of a new parameter: its moments and the old `step`; all zero after a reset."""
    new = {key: value.clone() if torch.is_tensor(value) else value for key, value in state.items()}
    if moments == "reset":  # with the old step the first update would be about three learning rates
        new["step"] = torch.zeros_like(new["step"])
    for moment, average, correction in zip(MOMENT_NAMES, averages, corrections, strict=True):
        old = state[moment]
        if moments == "slice":
            new[moment] = old[tuple(slice(size) for size in parameter.shape)].clone()
        else:
            values = np.zeros(parameter.shape) if moments == "reset" else average[name] * correction
            new[moment] = torch.as_tensor(values, dtype=old.dtype, device=old.device).contiguous()
        if new[moment].shape != parameter.shape or not torch.isfinite(new[moment]).all():
            raise ValueError(f"{moment} of {name} does not fit the reduced parameter, or is not finite")
    return new


def _match(before: dict[str, nn.Parameter], after: dict[str, nn.Parameter]) -> None:
    """Give new parameters the device, dtype and requires_grad of the old ones, and check them."""
    if before.keys() != after.keys():
        raise ValueError(
            f"the reduction changed the set of parameters: {sorted(before.keys() ^ after.keys())}"
        )
    for name, new in after.items():
        old = before[name]
        if new is not old:
            new.data = new.data.to(device=old.device, dtype=old.dtype)
            new.requires_grad_(old.requires_grad)
            if not torch.isfinite(new).all():
                raise ValueError(f"{name} is not finite as {old.dtype} after the reduction")


@contextmanager
def restored_on_error(module: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> Iterator[None]:
    """Put attributes, parameters, buffers, submodules and the optimizer back when the body fails."""
    registries = ("_parameters", "_buffers", "_modules")
    saved = [
        (part, dict(part.__dict__), {name: dict(part.__dict__[name]) for name in registries})
        for part in module.modules()
    ]
    groups = [list(group["params"]) for group in optimizer.param_groups] if optimizer else []
    states = dict(optimizer.state) if optimizer else {}
    try:
        yield
    except BaseException:
        for part, attributes, contents in saved:
            part.__dict__.clear()
            part.__dict__.update(attributes)
            for name, content in contents.items():
                part.__dict__[name].clear()
                part.__dict__[name].update(content)
        if optimizer:
            for group, parameters in zip(optimizer.param_groups, groups, strict=True):
                group["params"] = parameters
            optimizer.state.clear()
            optimizer.state.update(states)
        raise


def _swap(
    optimizer: torch.optim.Optimizer, replaced: dict[nn.Parameter, tuple[nn.Parameter, State | None]]
) -> None:
    """Put new parameters at the positions of the old ones, and their states under the new keys."""
    for group in optimizer.param_groups:
        group["params"] = [replaced[p][0] if p in replaced else p for p in group["params"]]
    for old, (new, state) in replaced.items():
        optimizer.state.pop(old, None)
        if state is not None:
            optimizer.state[new] = state
