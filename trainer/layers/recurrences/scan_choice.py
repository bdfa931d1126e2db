"""Who computes the scans of complex states in this process: PyTorch, or C where a run is bound to that.

Scans lie deep inside of forms of one recurrence and of their backward passes, so this is of a process and not
of a layer. Outside of a run it is PyTorch.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_in_c = False


def bind(in_c: bool) -> None:
    """Compute scans in C, or not, from now on."""
    global _in_c
    _in_c = in_c


@contextmanager
def bound(in_c: bool) -> Iterator[None]:
    """Compute scans in C, or not, meanwhile."""
    before = _in_c
    bind(in_c)
    try:
        yield
    finally:
        bind(before)


def in_c(x: Tensor) -> bool:
    """Return whether these states, (L, M), are scanned in C: single precision, in a CPU's memory."""
    return _in_c and x.dtype == torch.complex64 and x.device.type == "cpu" and x.stride(1) == 1
