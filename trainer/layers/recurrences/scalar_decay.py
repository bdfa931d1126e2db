"""The recurrence of linear attention with one decay per head (RetNet, Lightning, Mamba-2).

    S[t] = a[t] S[t−1] + k[t] v[t]ᵀ,   S[−1] = 0,   o[t] = S[t]ᵀ q[t],   a = exp(log_decay) in [0, 1]

S is (N, P): keys and queries have dimension N, values P. Keys and queries may be shared by the heads of a
group: head h belongs to group h // (heads / groups). Two forms of one map, on any device, in single or double
precision: `scalar_decay_sequential`, the equation as it stands and the reference of the tests, and
`scalar_decay_scan`, in chunks of time (Dao and Gu 2024, arXiv 2405.21060, sec. 6) with its own backward pass:

    o[t] = Σ_{s ≤ t in the chunk} a[s+1] ⋯ a[t] (q[t]·k[s]) v[s]  +  a[first] ⋯ a[t] S[before]ᵀ q[t]

Products of decays are exponentials of sums that are never positive, and each sum is taken over its own steps,
not as a difference of running sums: no decay overflows, and none loses digits to stronger ones before it.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hankelboard.trainer.layers.recurrences.on_device import DEVICE_NUMBERS, launches_cost
from hankelboard.trainer.layers.recurrences.precision import in_float32, recurrence

CHUNK = 64
"""Steps of a chunk."""
NEVER = -1e4
"""Logarithm of a decay that is 0 in double precision too."""
AT_ONCE = 1 << 17
"""Entries of each C×C matrix of products at once on a CPU: 0.5 MiB in single precision, for its cache."""
BLOCK_STATES = 1 << 21
"""Entries of states in a block of `scalar_decay_states`: 8 MiB in single precision."""


def scalar_decay_sequential(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
    """Return the system, one step after the other. Arguments as `scalar_decay_scan`."""
    state, outputs = v.new_zeros(v.shape[0], v.shape[2], k.shape[-1], v.shape[-1]), []
    per_step = log_decay.expand(q.shape[0], q.shape[1], -1)  # (batch, L, heads)
    for parts in zip(*(part.unbind(1) for part in (q, k, v, per_step)), strict=True):
        state, o = scalar_decay_step(state, *parts)
        outputs.append(o)
    return torch.stack(outputs, dim=1)  # (batch, L, heads, P)


@in_float32
def scalar_decay_step(
    state: Tensor | None, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor
) -> tuple[Tensor, Tensor]:
    """Map a state (batch, heads, N, P) and one step of the inputs, without time, to the next state and o.

    None is the state 0; o is (batch, heads, P).
    """
    q, k = (each.repeat_interleave(v.shape[1] // each.shape[1], dim=1) for each in (q, k))
    written = k[..., None] * v[..., None, :]  # (batch, heads, N, P)
    state = written if state is None else log_decay.exp()[..., None, None] * state + written
    return state, (q[..., None, :] @ state)[..., 0, :]


@recurrence
def scalar_decay_scan(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
    """Return output of the system in chunks of time.

    Kept for the backward pass: inputs, and the states at the beginnings of the chunks.

    Parameters
    ----------
    q, k : (batch, L, groups, N)
        L >= 1.
    v : (batch, L, heads, P)
        heads must be a multiple of groups.
    log_decay : (batch, L, heads) or (heads,)
        <= 0; in the second form constant in time.

    Returns
    -------
    o : (batch, L, heads, P)
    """
    batch, length, groups, _ = q.shape
    chunks = -(-length // CHUNK)
    size = -(-length // chunks)  # chunks of equal size leave little to pad
    if log_decay.ndim == 1 and log_decay.requires_grad:
        log_decay = log_decay.expand(batch, length, -1)
    if log_decay.ndim == 1:
        decay = log_decay.view(1, groups, -1, 1, 1).expand(-1, -1, -1, -1, size)  # (1, G, R, 1, C)
    else:
        decay = _chunked(log_decay[..., None], groups, chunks, size)[..., 0]  # (batch, G, R, n, C)
    parts = (_chunked(part, groups, chunks, size) for part in (q, k, v))
    o: Tensor = _Scan.apply(*parts, decay)  # (batch, G, R, n, C, P)
    return o.permute(0, 3, 4, 1, 2, 5).reshape(batch, chunks * size, -1, o.shape[-1])[:, :length]


def scalar_decay_states(k: Tensor, v: Tensor, log_decay: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield steps and states (batch, T, heads, N, P) of each block. Arguments as `scalar_decay_scan`."""
    batch, length, heads, values = v.shape
    keys = k.repeat_interleave(heads // k.shape[2], dim=2)  # (batch, L, heads, N)
    decay = log_decay.exp().expand(batch, length, -1)[..., None, None]  # (batch, L, heads, 1, 1)
    size = max(1, BLOCK_STATES // (batch * heads * values * k.shape[-1]))
    state = v.new_zeros(batch, heads, k.shape[-1], values)
    for start in range(0, length, size):
        steps = slice(start, min(start + size, length))
        states = keys[:, steps, ..., None] * v[:, steps, :, None]  # (batch, T, heads, N, P)
        for t in range(states.shape[1]):
            state = states[:, t].addcmul_(decay[:, start + t], state)
        yield steps, states


def _chunked(part: Tensor, groups: int, chunks: int, size: int) -> Tensor:
    """Map (batch, L, heads, D) to (batch, G, heads / G, n, C, D); padded with zeros at the end."""
    part = functional.pad(part, (0, 0, 0, 0, 0, chunks * size - part.shape[1]))
    shape = (part.shape[0], chunks, size, groups, -1, part.shape[-1])
    return part.reshape(shape).permute(0, 3, 4, 1, 2, 5).contiguous()


def _from_start(decay: Tensor) -> Tensor:
    """Return a[first] ⋯ a[t] of each step of a chunk."""
    return decay.cumsum(-1).exp_()


def _to_end(decay: Tensor) -> Tensor:
    """Return a[s+1] ⋯ a[last] of each step of a chunk."""
    return functional.pad(decay[..., 1:], (0, 1)).flip(-1).cumsum(-1).flip(-1).exp_()


def _between(decay: Tensor) -> Tensor:
    """Return a[s+1] ⋯ a[t] at [t, s], 0 above the diagonal, (…, C, C)."""
    upto = _triangle(decay).tril_()  # r <= t at [t, r]
    sums = upto @ (decay.clamp_min(NEVER)[..., None] * upto.tril(-1))  # Σ_{s < r ≤ t}; 0 · (−inf) is NaN
    return sums.exp_().tril_()


def _triangle(like: Tensor) -> Tensor:
    """Return ones (C, C)."""
    size = like.shape[-1]
    return torch.ones(size, size, dtype=like.dtype, device=like.device)


def _carried(written: Tensor, whole: Tensor, backwards: bool = False) -> Tensor:
    """Return x[i+1] = whole[i] x[i] + written[i] with x[0] = 0, along the chunks (dim 3), or from the end.

    written is (batch, G, R, n, N, P) and whole (batch, G, R, n): all n of the states before their chunks.
    """
    chunks = written.shape[3]
    factors = whole.expand(*whole.shape[:3], chunks)[..., None, None]
    out = torch.zeros_like(written)
    order = range(chunks - 1, 0, -1) if backwards else range(chunks - 1)
    for i in order:
        following = i - 1 if backwards else i + 1
        torch.addcmul(written[:, :, :, i], factors[:, :, :, i], out[:, :, :, i], out=out[:, :, :, following])
    return out


def _slabs(v: Tensor) -> list[slice]:
    """Return chunks to be worked on at once."""
    batch, groups, heads, chunks, size, _ = v.shape
    at_once = DEVICE_NUMBERS if launches_cost(v) else AT_ONCE
    several = max(1, at_once // (batch * groups * heads * size * size))
    return [slice(start, start + several) for start in range(0, chunks, several)]


def _of(slab: slice, decay: Tensor) -> Tensor:
    """Return the decays of some chunks; those that are the same for all of them as they are."""
    return decay if decay.shape[3] == 1 else decay[:, :, :, slab]


class _Scan(torch.autograd.Function):
    """Shapes: q, k (batch, G, 1, n, C, N), v (batch, G, R, n, C, P), decay (batch or 1, G, R, n or 1, C)."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, decay: Tensor) -> Tensor:
        start, end = _from_start(decay)[..., None], _to_end(decay)[..., None]
        before = _carried(k.mT @ (end * v), start[..., -1, 0])  # (batch, G, R, n, N, P)
        o = torch.empty_like(v)
        for slab in _slabs(v):
            some = (slice(None), slice(None), slice(None), slab)
            weights = (q[some] @ k[some].mT) * _between(_of(slab, decay))  # (batch, G, R, n, C, C)
            o[some] = weights @ v[some] + _of(slab, start) * (q[some] @ before[some])
        ctx.save_for_backward(q, k, v, decay, before)
        return o

    @staticmethod
    def backward(ctx: Any, do: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, decay, before = ctx.saved_tensors
        do = do.contiguous()
        start, end = _from_start(decay)[..., None], _to_end(decay)[..., None]
        after = _carried(q.mT @ (start * do), start[..., -1, 0], backwards=True)
        dq, dk, dv = (torch.empty_like(part) for part in (q, k, v))
        ddecay = torch.empty_like(decay) if ctx.needs_input_grad[3] else None
        for slab in _slabs(v):
            some = (slice(None), slice(None), slice(None), slab)
            q_, k_, v_, do_, S, G = (part[some] for part in (q, k, v, do, before, after))
            f, e, ratio = _of(slab, start), _of(slab, end), _between(_of(slab, decay))
            scores = q_ @ k_.mT  # (batch, G, 1, n, C, C)
            dscores = (do_ @ v_.mT).mul_(ratio)  # (batch, G, R, n, C, C)
            read, written = f * (do_ @ S.mT), e * (v_ @ G.mT)  # (batch, G, R, n, C, N)
            dv[some] = (scores * ratio).mT @ do_ + e * (k_ @ G)
            dq[some] = (dscores @ k_ + read).sum(2, keepdim=True)
            dk[some] = (dscores.mT @ q_ + written).sum(2, keepdim=True)
            if ddecay is not None:
                whole = f[..., -1, 0] * (S * G).sum((-2, -1))  # (batch, G, R, n)
                ddecay[some] = _decay_gradient(
                    dscores.mul_(scores), (read * q_).sum(-1), (written * k_).sum(-1), whole
                )
        return dq, dk, dv, ddecay


def _decay_gradient(within: Tensor, read: Tensor, written: Tensor, whole: Tensor) -> Tensor:
    """Return gradient of log a[r] from those of the logarithms of all products of decays that hold a[r].

    within : (…, C, C) of a[s+1] ⋯ a[t], for s < r <= t;  read : (…, C) of a[first] ⋯ a[t], for t >= r;
    written : (…, C) of a[s+1] ⋯ a[last], for s < r;  whole : (…) of the whole chunk.
    """
    later = _triangle(within).triu_()  # t >= r at [r, t]
    passing = (later @ within).tril_(-1).sum(-1)  # Σ_{s < r ≤ t}
    return passing + read @ later.mT + written @ (1.0 - later).mT + whole[..., None]
