"""Mixed precision: forward passes under autocast, and what is computed in single precision all the same.

Autocast computes linear layers and matrix products in bfloat16, which has 8 significant bits. A recurrence
adds up over the whole sequence with decays of which 1 − |λ| may be 1e-3: a 1.0 at 8 bits. So every
recurrence, loss and statistic is `in_float32`. Parameters, gradients, optimizer and checkpoints are single
precision at all times, because autocast converts copies.
"""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

from hankelboard.storage.errors import ConfigError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

HALVES = (torch.bfloat16, torch.float16)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Return the context of a forward pass at `training.precision`; at float32 it changes no bit."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, getattr(torch, precision))


def check_precision(device: torch.device, precision: str) -> None:
    """Raise ConfigError where the device cannot do it: CUDA devices older than 2020."""
    if device.type == "cuda" and precision == "bfloat16" and not torch.cuda.is_bf16_supported():
        raise ConfigError(
            f"training.precision = bfloat16: {torch.cuda.get_device_name(device)} has no bfloat16; "
            "set training.precision = float32"
        )


def in_float32(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Return the function, computed in single precision whatever autocast says.

    Tensors of 16 bits among its arguments come in as float32, and their gradients go out as 16 bits; float32,
    float64 and complex ones are passed on as they are.
    """

    @functools.wraps(function)
    def widened(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        tensors = [each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)]
        device = tensors[0].device.type if tensors else "cpu"
        inside = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        with torch.autocast(device, enabled=False) if inside else nullcontext():
            named = {name: _widened(each) for name, each in kwargs.items()}
            return function(*map(_widened, args), **named)

    return widened


def recurrence(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorate a map over time: `in_float32`, and not compiled, because its loops would be unrolled."""
    apart: Callable[Arguments, Result] = torch.compiler.disable(in_float32(function))
    return apart


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in HALVES else value
