"""A layer's parameters: out as float64 arrays for a reduction, and back in as new ones."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from hankelboard.trainer.reduction.reducible import FloatArray


def parameters64(layer: nn.Module) -> dict[str, FloatArray]:
    """Return copies of all parameters by name, in double precision."""
    return {name: p.detach().cpu().double().numpy().copy() for name, p in layer.named_parameters()}


def replace_parameters(layer: nn.Module, values: Mapping[str, FloatArray]) -> None:
    """Replace parameters by name with new ones of any shape, of the same dtype and device.

    They share no memory with the values, in double precision neither: training must not change what a
    reduction holds, which `verify` compares the layer with.
    """
    for name, array in values.items():
        old = getattr(layer, name)
        new = torch.tensor(np.ascontiguousarray(array), dtype=old.dtype, device=old.device)
        setattr(layer, name, nn.Parameter(new, requires_grad=old.requires_grad))
