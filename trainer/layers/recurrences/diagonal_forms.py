"""The forms of the recurrence of a diagonal complex system, and which one costs least.

Forms differ by rounding only. Which one a run uses is recorded, and kept until its layer is cut.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from hankelboard.trainer.layers.recurrences.diagonal import lru_kernel, lru_scan
from hankelboard.trainer.layers.recurrences.diagonal_chunks import STEPS, chunk_steps, lru_chunks
from hankelboard.trainer.layers.recurrences.precision import recurrence

Form = Literal["scan", "kernel", "chunks"]
FORMS: tuple[Form, ...] = ("scan", "kernel", "chunks")


@recurrence
def lru_recurrence(
    u: Tensor, eigenvalues: Tensor, B: Tensor, C: Tensor, form: Form, D: Tensor | None = None
) -> Tensor:
    """Return output of the system in the given form; arguments as `lru_scan`, D for chunks alone.

    Raises
    ------
    ValueError
        If there is no such form, shapes disagree, or there is nothing to scan.
    """
    _check_shapes(u, eigenvalues, B, C)
    if form not in FORMS:
        raise ValueError(f"form is {form!r}; allowed are {', '.join(FORMS)}")
    if form == "chunks":
        return lru_chunks(u, eigenvalues, B, C, D)
    return lru_scan(u, eigenvalues, B, C) if form == "scan" else lru_kernel(u, eigenvalues, B, C)


def lru_output(u: Tensor, eigenvalues: Tensor, B: Tensor, C: Tensor, D: Tensor, form: Form) -> Tensor:
    """Return y + D ∘ u, of y in the given form and D (H,); chunks have D in their tables."""
    if form == "chunks":
        return lru_recurrence(u, eigenvalues, B, C, form, D)
    return torch.addcmul(lru_recurrence(u, eigenvalues, B, C, form), D, u)


def choose_form(batch: int, length: int, width: int, state_dim: int) -> Form:
    """Return the form whose forward and backward pass cost least, by a model of the cost in nanoseconds.

        scan      L (min(16000, 16 batch N) + batch N (10 + 0.2 H))
        kernel    1e6 + L (log2 2L (3.2 batch H + 2.5 H²) + (0.29 N + 0.35 batch) H² + 21 N)
        chunks    3e5 + L/T (min(64000, 64 batch N) + batch T H (0.11 T H + 0.53 N))

    In words: calls, passes over the states, matrix products; calls, FFTs, products of K and of transforms,
    powers of λ; calls, the scan between chunks, products within them and with the states. Narrow layers
    with many states want the kernel, with few states chunks; wide ones want the scan. Constants of the first
    two are a fit to 28 shapes (L 64 to 4096, H 1 to 128, N 8 to 384; Xeon with AVX-512, torch 2.13, single
    precision, processor time, 1 thread). Those of chunks are relative to the better of the two, a fit to 35
    shapes up to H = 16, for which the choice was never more than 24 % slower than the best. A layer so wide
    that `chunk_steps` are few gains nothing by chunks. No GPU was measured.

    >>> choose_form(batch=50, length=784, width=8, state_dim=256)
    'kernel'
    >>> choose_form(batch=50, length=784, width=8, state_dim=24)
    'chunks'
    >>> choose_form(batch=64, length=64, width=64, state_dim=64)
    'scan'
    """
    costs: dict[Form, float] = {
        "scan": _scan_cost(batch, length, width, state_dim),
        "kernel": _kernel_cost(batch, length, width, state_dim),
    }
    if chunk_steps(length, width) >= STEPS[0]:
        costs["chunks"] = _chunks_cost(batch, length, width, state_dim)
    return min(costs, key=lambda form: costs[form])


def _scan_cost(batch: int, length: int, width: int, state_dim: int) -> float:
    states = batch * state_dim
    return length * (min(16000, 16 * states) + states * (10 + 0.2 * width))


def _kernel_cost(batch: int, length: int, width: int, state_dim: int) -> float:
    transforms = math.log2(2 * length) * (3.2 * batch * width + 2.5 * width**2)
    products = (0.29 * state_dim + 0.35 * batch) * width**2 + 21 * state_dim
    return 1e6 + length * (transforms + products)


def _chunks_cost(batch: int, length: int, width: int, state_dim: int) -> float:
    steps = chunk_steps(length, width)
    rows = steps * width
    products = batch * rows * (0.11 * rows + 0.53 * state_dim)
    return 3e5 + length / steps * (min(64000, 64 * batch * state_dim) + products)


def _check_shapes(u: Tensor, eigenvalues: Tensor, B: Tensor, C: Tensor) -> None:
    if u.ndim != 3 or eigenvalues.ndim != 1 or 0 in u.shape:
        raise ValueError(
            f"u must be (batch, L, H), none of them 0, and eigenvalues (N,); they are {tuple(u.shape)} "
            f"and {tuple(eigenvalues.shape)}"
        )
    N, H = eigenvalues.shape[0], u.shape[2]
    if B.shape != (N, H) or C.shape != (H, N):
        raise ValueError(
            f"B must be ({N}, {H}) and C ({H}, {N}); they are {tuple(B.shape)}, {tuple(C.shape)}"
        )
