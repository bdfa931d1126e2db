"""The recurrence of gated linear attention (Yang et al. 2024, arXiv 2312.06635): a decay per key channel.

    S[t] = diag(α[t]) S[t−1] + k[t] v[t]ᵀ,   S[−1] = 0,   o[t] = S[t]ᵀ q[t],   0 <= α <= 1

S is (d_k, d_v) in every head. Two forms of one map, on any device, in single or double precision:
`channel_decay_sequential`, the equation as it stands and the reference of the tests, and `channel_decay`, in
chunks of time with a backward pass of its own, which keeps the states at the beginning of each chunk only.

Inside a chunk o[t] = Σ_{s<=t} A_ts v[s] with A_ts = Σ_i q_ti k_si α_{s+1,i} ··· α_{t,i}. The published form
divides by cumulative products, which underflow. Here every product is split at a boundary between s and t
that halves a block of 2, 4, 8 … steps: the query takes the decays after it, the key those before it. Both
factors are at most 1, nothing is divided, and what underflows is negligible: products below the square root
of the smallest normal number are set to 0, because with subnormal ones a CPU is up to 3 times slower. Decays
are given as logarithms and gradients too, so that no gradient is divided by a decay.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from hankelboard.trainer.layers.recurrences.on_device import carried, join, launches_cost, spans, split
from hankelboard.trainer.layers.recurrences.precision import in_float32, recurrence

CHUNK = 64
"""Steps of a chunk, a power of 2."""


def channel_decay_sequential(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
    """Return the system, one step after the other. Arguments as `channel_decay`."""
    S = _first_state(k, v)  # (batch, heads, d_k, d_v)
    outputs = []
    for t in range(q.shape[1]):
        S, o = channel_decay_step(S, q[:, t], k[:, t], v[:, t], log_decay[:, t])
        outputs.append(o)
    return torch.stack(outputs, dim=1)  # (batch, L, heads, d_v)


@in_float32
def channel_decay_step(
    S: Tensor, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the next state (batch, heads, d_k, d_v) and o, for one step of the inputs, without time."""
    S = torch.addcmul(k[..., None] * v[..., None, :], log_decay.exp()[..., None], S)
    return S, (q[..., None, :] @ S)[..., 0, :]  # (batch, heads, d_v)


@recurrence
def channel_decay(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
    """Return output of the system in chunks of time.

    With D the loss's derivative and S' the state at the end of a chunk, the backward pass needs no
    derivative of a product of decays: these enter only as q[t] α[1] ··· α[t] and k[s] / (α[1] ··· α[s]), so

        D log α[u] = Σ_{t>=u} (q[t] ∘ Dq[t] − k[t] ∘ Dk[t]) + rows of S' ∘ DS'      over t in the chunk

    Parameters
    ----------
    q, k : (batch, L, heads, d_k)
        L >= 1.
    v : (batch, L, heads, d_v)
    log_decay : (batch, L, heads, d_k)
        log α <= 0; −inf is allowed.

    Returns
    -------
    o : (batch, L, heads, d_v)
    """
    form = _AllChunks if launches_cost(q) else _Chunks
    o: Tensor = form.apply(q, k, v, log_decay)
    return o


def channel_decay_states(k: Tensor, v: Tensor, log_decay: Tensor) -> Iterator[Tensor]:
    """Return S[t] for t = 0, 1, …, (batch, heads, d_k, d_v) each."""
    S = _first_state(k, v)
    for t in range(k.shape[1]):
        S = torch.addcmul(k[:, t, ..., None] * v[:, t, :, None], log_decay[:, t].exp()[..., None], S)
        yield S


def _first_state(k: Tensor, v: Tensor) -> Tensor:
    return k.new_zeros(*k.shape[::2], k.shape[3], v.shape[3])


class _Chunks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
        o = torch.empty_like(v)
        begins = [_first_state(k, v).flatten(0, 1)]  # (n, d_k, d_v) with n = batch · heads
        for steps, size in _chunks(q.shape[1]):
            qc, kc, vc, gc = (_chunk(part, steps, size) for part in (q, k, v, log_decay))
            A, before, after = _scores(qc, kc, gc.exp())
            S = begins[-1]
            out = torch.baddbmm(A @ vc, qc * before, S)  # (n, T, d_v)
            begins.append(torch.baddbmm(before[:, -1, :, None] * S, (kc * after).mT, vc))
            _put(o, steps, out)
        ctx.save_for_backward(q, k, v, log_decay, *begins)
        return o

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, do: Tensor) -> tuple[Tensor, ...]:
        q, k, v, log_decay, *begins = ctx.saved_tensors
        dq, dk, dv, dg = (torch.empty_like(part) for part in (q, k, v, log_decay))
        end = begins.pop()  # (n, d_k, d_v)
        d_end = torch.zeros_like(end)
        for (steps, size), S in zip(reversed(_chunks(q.shape[1])), reversed(begins), strict=True):
            qc, kc, vc, gc, doc = (_chunk(part, steps, size) for part in (q, k, v, log_decay, do))
            scored = _scores_backward(qc, kc, gc.exp(), doc @ vc.mT)
            before = scored[3]
            derivatives = _derivatives(qc, kc, vc, doc, S, end, d_end, *scored)
            for whole, part in zip((dq, dk, dv, dg), derivatives, strict=True):
                _put(whole, steps, part)
            d_end = torch.baddbmm(before[:, -1, :, None] * d_end, (qc * before).mT, doc)
            end = S
        return dq, dk, dv, dg


class _AllChunks(torch.autograd.Function):
    """The same with all chunks at once, for devices; states before them are (chunks · n, d_k, d_v)."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
        o, end, begins = torch.empty_like(v), _first_state(k, v).flatten(0, 1), []
        size = _size(q.shape[1])
        for steps in _spans(k, v):
            qc, kc, vc, gc = (split(part[:, steps], size) for part in (q, k, v, log_decay))
            A, before, after = _scores(qc, kc, gc.exp())
            S, end = carried(torch.addcmul, (kc * after).mT @ vc, before[:, -1, :, None], end)
            join(o[:, steps], torch.baddbmm(A @ vc, qc * before, S))
            begins.append(S)
        ctx.save_for_backward(q, k, v, log_decay, *begins, end)
        return o

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, do: Tensor) -> tuple[Tensor, ...]:
        q, k, v, log_decay, *begins, end = ctx.saved_tensors
        gradients = tuple(torch.empty_like(part) for part in (q, k, v, log_decay))
        d_end, n, size = torch.zeros_like(end), len(end), _size(q.shape[1])
        for steps, S in zip(reversed(_spans(k, v)), reversed(begins), strict=True):
            qc, kc, vc, gc, doc = (split(part[:, steps], size) for part in (q, k, v, log_decay, do))
            scored = _scores_backward(qc, kc, gc.exp(), doc @ vc.mT)
            read, whole = (qc * scored[3]).mT @ doc, scored[3][:, -1, :, None]
            d_ends, d_end = carried(torch.addcmul, read, whole, d_end, backwards=True)
            ends = torch.cat([S[n:], end])
            derivatives = _derivatives(qc, kc, vc, doc, S, ends, d_ends, *scored)
            for gradient, part in zip(gradients, derivatives, strict=True):
                join(gradient[:, steps], part)
            end = S[:n]
        return gradients


def _derivatives(
    q: Tensor, k: Tensor, v: Tensor, do: Tensor, S: Tensor, end: Tensor, d_end: Tensor,
    dq: Tensor, dk: Tensor, A: Tensor, before: Tensor, after: Tensor,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Return derivatives by q, k, v and log α of chunks between two states; dq, dk are those through A."""
    dq.addcmul_(do @ S.mT, before)  # (n, T, d_k)
    dk.addcmul_(v @ d_end.mT, after)
    db = (q * dq).sub_(k * dk)
    db[:, -1] += (end * d_end).sum(-1)
    return dq, dk, torch.baddbmm(A.mT @ do, k * after, d_end), db.flip(1).cumsum(1).flip(1)


def _spans(k: Tensor, v: Tensor) -> list[slice]:
    """Return steps of the chunks that are worked on at once on a device."""
    batch, length, heads, keys = k.shape
    size = _size(length)
    widest = max(size * size, size * keys, size * v.shape[3], keys * v.shape[3])
    return list(spans(length, size, batch * heads * widest))


def _size(length: int) -> int:
    """Return steps of a chunk, to which the last one is filled up: a power of 2."""
    return min(CHUNK, 1 << (length - 1).bit_length())


def _chunks(length: int) -> list[tuple[slice, int]]:
    """Return steps of each chunk, and to how many they are filled up: a power of 2."""
    size = _size(length)
    return [(slice(start, min(start + size, length)), size) for start in range(0, length, size)]


def _chunk(part: Tensor, steps: slice, size: int) -> Tensor:
    """Return the steps of a chunk, (batch, L, heads, d) → (n, T, d), padded by 0: neither input nor decay."""
    chunk = part[:, steps].transpose(1, 2).flatten(0, 1)  # (n, steps, d)
    return functional.pad(chunk, (0, 0, 0, size - chunk.shape[1])).contiguous()


def _put(whole: Tensor, steps: slice, chunk: Tensor) -> None:
    """Write a chunk back: the reverse of `_chunk`."""
    target = whole[:, steps]  # (batch, steps, heads, d)
    by_head = chunk.view(target.shape[0], target.shape[2], *chunk.shape[1:])
    target.copy_(by_head[:, :, : target.shape[1]].transpose(1, 2))


def _scores(q: Tensor, k: Tensor, decay: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return A (n, T, T), and decays from the start to each step and from there to the end, (n, T, d_k)."""
    A = torch.diag_embed((q * k).sum(-1))
    before, after = without_tiny(decay), torch.ones_like(decay)
    for half in _doubling(before, after):
        q2, k1 = _second(q, half) * _second(before, half), _first(k, half) * _first(after, half)
        _corner(A, half).copy_(q2 @ k1.mT)
    return A, before, after


def _scores_backward(q: Tensor, k: Tensor, decay: Tensor, dA: Tensor) -> tuple[Tensor, ...]:
    """Return derivatives by q, k through A, then what `_scores` returns. Of dA the lower triangle counts."""
    A = torch.diag_embed((q * k).sum(-1))
    diagonal = dA.diagonal(dim1=1, dim2=2)[..., None]  # (n, T, 1)
    dq, dk = diagonal * k, diagonal * q
    before, after = without_tiny(decay), torch.ones_like(decay)
    for half in _doubling(before, after):
        reach, remain = _second(before, half), _first(after, half)  # (n, blocks, half, d_k)
        q2, k1, d = _second(q, half) * reach, _first(k, half) * remain, _corner(dA, half)
        _corner(A, half).copy_(q2 @ k1.mT)
        _second(dq, half).addcmul_(d @ k1, reach)
        _first(dk, half).addcmul_(d.mT @ q2, remain)
    return dq, dk, A, before, after


def _doubling(before: Tensor, after: Tensor) -> Iterator[int]:
    """Yield half the size of blocks of 2, 4, … T steps; in between, products over halves grow to blocks.

    `before` holds the product from the beginning of its half to a step, with it; `after` from a step to the
    end of its half, without it.
    """
    half = 1
    while half < before.shape[1]:
        yield half
        second = _second(before, half)  # (n, blocks, half, d_k)
        _first(after, half).mul_(second[:, :, -1:])
        second.mul_(_first(before, half)[:, :, -1:])
        for part in (before, after):
            without_tiny(part, inplace=True)
        half *= 2


def without_tiny(decay: Tensor, *, inplace: bool = False) -> Tensor:
    """Return decays, (…), on a CPU with 0 for those whose product with another one would be subnormal."""
    if launches_cost(decay):
        return decay
    return functional.threshold(decay, torch.finfo(decay.dtype).tiny ** 0.5, 0.0, inplace=inplace)


def _first(part: Tensor, half: int) -> Tensor:
    """Return the first half of every block of 2 · half steps, a view (n, blocks, half, d)."""
    return part.view(part.shape[0], -1, 2, half, part.shape[2])[:, :, 0]


def _second(part: Tensor, half: int) -> Tensor:
    """Return the second half."""
    return part.view(part.shape[0], -1, 2, half, part.shape[2])[:, :, 1]


def _corner(A: Tensor, half: int) -> Tensor:
    """Return rows of the second, columns of the first half of every block: a view (n, blocks, half, half)."""
    n, size, _ = A.shape
    blocks = A.view(n, size // (2 * half), 2, half, size // (2 * half), 2, half)[:, :, 1, :, :, 0]
    return blocks.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)
