"""How parameters begin that several families have."""

import math

import torch
from torch import Tensor

DT_RANGE = (1e-3, 1e-1)
"""Δ at initialisation of a Mamba layer and its relatives, log-uniform over channels or heads."""


def log_time_steps(count: int, dt_min: float, dt_max: float) -> Tensor:
    """Return log Δ, (count,), uniform in between. Raise ValueError unless 0 < dt_min <= dt_max."""
    if not 0.0 < dt_min <= dt_max < math.inf:
        raise ValueError(f"0 < dt_min <= dt_max is required; they are {dt_min} and {dt_max}")
    low, high = math.log(dt_min), math.log(dt_max)
    return low + torch.rand(count) * (high - low)


def time_step_bias(count: int) -> Tensor:
    """Return softplus⁻¹(Δ), (count,), with Δ log-uniform in `DT_RANGE`."""
    dt = torch.exp(log_time_steps(count, *DT_RANGE))
    return dt + torch.log(-torch.expm1(-dt))


def projection(*shape: int, columns: int = 0) -> Tensor:
    """Return uniform within 1/√columns (the last size of the shape), as PyTorch's linear layers begin."""
    return (2.0 * torch.rand(shape) - 1.0) / math.sqrt(columns or shape[-1])
