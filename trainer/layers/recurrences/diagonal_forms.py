"""The forms of the recurrence of a diagonal complex system, and which one costs least.

Forms differ by rounding only. Which one a run uses is recorded, and kept until its layer is cut.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from hankelboard.trainer.layers.recurrences.diagonal import lru_kernel, lru_scan
from hankelboard.trainer.layers.recurrences.diagonal_chunks import chunk_steps, lru_chunks
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
    """Return the form whose forward and backward pass cost less, by a model of the cost in nanoseconds.

        scan      L (min(16000, 16 batch N) + batch N (10 + 0.2 H))
        kernel    1e6 + L (log2 2L (3.2 batch H + 2.5 H²) + (0.29 N + 0.35 batch) H² + 21 N)

    In words: calls, passes over the states, matrix products; calls, FFTs, products of K and of transforms,
    powers of λ. Narrow layers with many states want the kernel. The constants are a fit to 28 shapes (L 64 to
    4096, H 1 to 128, N 8 to 384; Xeon with AVX-512, torch 2.13, single precision, processor time, 1 thread),
    for which the choice is never more than 35 % slower than the other form. No GPU was measured.

    >>> choose_form(batch=50, length=784, width=8, state_dim=256)
    'kernel'
    >>> choose_form(batch=64, length=64, width=64, state_dim=64)
    'scan'
    """
    states = batch * state_dim
    scan = length * (min(16000, 16 * states) + states * (10 + 0.2 * width))
    transforms = math.log2(2 * length) * (3.2 * batch * width + 2.5 * width**2)
    products = (0.29 * state_dim + 0.35 * batch) * width**2 + 21 * state_dim
    kernel = 1e6 + length * (transforms + products)
    return "scan" if scan <= kernel else "kernel"


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
