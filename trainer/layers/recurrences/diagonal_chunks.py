"""The recurrence of a diagonal complex system in chunks of T steps, for narrow layers with few states.

    y[t] = Σ_{s=0}^{t} K[t−s] u[s] + Re(C Λ^{t+1} x[k]),   t = 0 … T−1 within chunk k,   K[l] = Re(C Λ^l B)
    x[k+1] = λ^T ∘ x[k] + Σ_{s=0}^{T−1} Λ^{T−1−s} B u[s],   x[0] = 0,   the states before each chunk

Within a chunk all of it is one product with a block Toeplitz matrix; the scan in time sees L/T steps in
place of L. The product costs ∝ T, so T · H is bounded. λ = 0 is nothing special here either.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hankelboard.trainer.layers.recurrences.diagonal import (
    _complex,
    _pairs,
    _powers,
    _rows,
    _scan_in_place,
)

STEPS = (8, 16)
"""Fewest and most steps of a chunk of a narrow layer."""
ROWS = (64, 128)
"""Rows of the block Toeplitz matrix, T · H: wanted, and at most."""


def lru_chunks(u: Tensor, eigenvalues: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None) -> Tensor:
    """Return output of the system, chunk by chunk; arguments as `lru_scan`.

    D ∘ u with D (H,) costs nothing here: it is the diagonal of K[0].

    >>> one = torch.ones(1, 1, dtype=torch.complex64)
    >>> lru_chunks(torch.ones(1, 3, 1), torch.tensor([0.5 + 0j]), one, one).flatten()
    tensor([1.0000, 1.5000, 1.7500])
    """
    steps = chunk_steps(*u.shape[1:])
    powers = _PowersOf.apply(eigenvalues, steps + 1)  # (T+1, N)
    driven = _pairs_of(powers[:-1], B.T)  # (T, H in, 2N) λ^l B
    K = driven @ _pairs(C.conj()).T  # (T, H in, H out)
    if D is not None:
        K[0].diagonal().add_(D)
    out_of = _pairs_of(powers[1:].conj(), C.conj())  # (T, H out, 2N)
    return _Chunks.apply(u, K, driven.flip(0).flatten(0, 1), out_of.flatten(0, 1), powers[-1])


def chunk_steps(length: int, width: int) -> int:
    """Return T."""
    (fewest, most), (wanted, at_most) = STEPS, ROWS
    return min(length, most, max(fewest, wanted // width), max(1, at_most // width))


class _Chunks(torch.autograd.Function):
    """Products of all chunks with tables of one, and a scan from chunk to chunk; autograd sees tables alone.

    The backward pass is the same computation in reverse: q[k], the gradient of what chunk k adds to the
    states, is conj(λ^T) ∘ q[k+1] and what the outputs of chunk k+1 add. Complex numbers are pairs of
    neighbouring reals, as in `lru_scan`.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, K: Tensor, into: Tensor, out_of: Tensor, decay: Tensor) -> Tensor:
        chunks, within = _cut(u, len(K)), _toeplitz(K)  # (n, batch, T·H), (T·H in, T·H out)
        x = _carried(chunks, into, decay)  # (n, batch, 2N)
        y = _rows(chunks) @ within  # (n·batch, T·H)
        y.addmm_(_rows(x), out_of.T)
        ctx.steps = len(K)
        ctx.save_for_backward(chunks, x, within, into, out_of, decay)
        return _joined(y.view_as(chunks), u.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, ...]:
        chunks, x, within, into, out_of, decay = ctx.saved_tensors
        outputs = _cut(g, ctx.steps)  # (n, batch, T·H)
        q = _carried(outputs, out_of, decay.conj().resolve_conj(), reverse=True)  # (n, batch, 2N)
        grad_u = _rows(outputs) @ within.T  # (n·batch, T·H)
        grad_u.addmm_(_rows(q), into.T)
        from_u, from_g = _rows(chunks).T, _rows(outputs).T  # (T·H, n·batch)
        return (
            _joined(grad_u.view_as(outputs), g.shape),  # (batch, L, H)
            _diagonals(from_u @ from_g.T, ctx.steps),  # (T, H in, H out)
            from_u @ _rows(q),  # (T·H in, 2N)
            from_g @ _rows(x),  # (T·H out, 2N)
            (_complex(q) * _complex(x).conj()).sum(0).view(-1, len(decay)).sum(0),  # (N,)
        )


class _PowersOf(torch.autograd.Function):
    """`_powers` with d λ^l = l λ^(l−1) dλ, and nothing for l = 0."""

    @staticmethod
    def forward(ctx: Any, base: Tensor, count: int) -> Tensor:
        powers = _powers(base, count)  # (count, N)
        ctx.save_for_backward(powers)
        return powers

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (powers,) = ctx.saved_tensors
        exponents = torch.arange(1, len(powers), device=g.device)[:, None]  # (count − 1, 1)
        return (exponents * powers[:-1].conj() * g[1:]).sum(0), None


def _pairs_of(powers: Tensor, matrix: Tensor) -> Tensor:
    """Return λ^l ∘ each row of a matrix (H, N), for powers (T, N), as pairs of reals: (T, H, 2N)."""
    return torch.view_as_real((powers[:, None] * matrix).resolve_conj()).flatten(2)


def _carried(chunks: Tensor, table: Tensor, decay: Tensor, *, reverse: bool = False) -> Tensor:
    """Return (n, batch, 2N): before each chunk the states from earlier ones, or behind it from later ones."""
    x = chunks.new_empty(*chunks.shape[:2], table.shape[1])  # (n, batch, 2N)
    x[-1 if reverse else 0] = 0.0
    if len(chunks) > 1:
        source, reached = (chunks[1:], x[:-1]) if reverse else (chunks[:-1], x[1:])
        torch.mm(_rows(source), table, out=_rows(reached))
        _scan_in_place(_complex(reached), decay.repeat(chunks.shape[1]), None, reverse=reverse)
    return x


def _toeplitz(K: Tensor) -> Tensor:
    """Return the matrix (T·H in, T·H out) whose block of steps s and t is K[t−s], from K (T, H in, H out)."""
    steps, _, outputs = K.shape
    strip = functional.pad(K.transpose(0, 1).flatten(1), ((steps - 1) * outputs, 0))  # (H in, (2T−1)·H out)
    windows = strip.unfold(1, steps * outputs, outputs)  # (H in, T, T·H out), of the last step first
    return windows.flip(1).transpose(0, 1).flatten(0, 1)


def _diagonals(matrix: Tensor, steps: int) -> Tensor:
    """Return Σ_s of blocks (s, s+l), (T, H in, H out): gradient of K from that of `_toeplitz`."""
    blocks = matrix.view(steps, -1, matrix.shape[1])  # (T, H in, T·H out)
    padded = functional.pad(blocks, (0, matrix.shape[1]))  # (T, H in, 2T·H out)
    outputs, (row, inner, _) = matrix.shape[1] // steps, padded.stride()
    shape = (steps, steps, blocks.shape[1], outputs)  # l, s, H in, H out
    return padded.as_strided(shape, (outputs, row + outputs, inner, 1)).sum(1)


def _cut(u: Tensor, steps: int) -> Tensor:
    """Map (batch, L, H) to contiguous (n, batch, T·H), zeros after the end."""
    short = -u.shape[1] % steps
    if short:
        u = functional.pad(u, (0, 0, 0, short))
    return u.reshape(u.shape[0], -1, steps * u.shape[2]).transpose(0, 1).contiguous()


def _joined(chunks: Tensor, shape: torch.Size) -> Tensor:
    """Map (n, batch, T·H) back to contiguous (batch, L, H)."""
    whole = chunks.transpose(0, 1).reshape(shape[0], -1, shape[2])  # (batch, n·T, H)
    return whole[:, : shape[1]].contiguous()
