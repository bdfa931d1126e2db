"""The recurrence of a selective state-space layer (Mamba-1; Gu and Dao 2023, arXiv 2312.00752).

    h[t] = exp(Δ[t] A) ∘ h[t−1] + (Δ[t] ∘ x[t]) B[t]ᵀ,   h[−1] = 0,   y[t] = h[t] C[t]

h is (D, N): N states in each of D channels. Δ and x are per channel, B and C shared by all channels; A < 0 is
(D, N). Two forms of one map, on any device, in single or double precision: `selective_sequential`, the
equation as it stands and the reference of the tests, and `selective_scan`, in blocks of time with its own
backward pass, which keeps the states at the beginning of each block and computes the others again.

Every step, channel and state has a decay of its own, so time is no matrix product here: the cost is passes
over the states. They are made on tiles of sequences and channels that stay in a core's cache, with channels
next to each other in memory, so that a pass costs the same per state whatever N is. On a device, where calls
cost more than passes, a block of T steps is scanned in 3 log₂ T calls and twice the multiplications.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from hankelboard.trainer.layers.recurrences.on_device import DEVICE_NUMBERS, launches_cost
from hankelboard.trainer.layers.recurrences.precision import in_float32, recurrence

STEP_STATES = 1 << 14
"""States of a tile at one step on a CPU: with fewer the time goes into calls, 3 µs each."""
BLOCK_STATES = 1 << 18
"""States of a tile in a block of time: 1 MiB in single precision, and three such tensors are worked on."""
DEVICE_STEPS = 16
"""Steps of a block at least on other devices, where calls cost more than memory."""


def selective_sequential(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Return the system, one step after the other. Arguments as `selective_scan`."""
    h = x.new_zeros(*x.shape[::2], A.shape[1])  # (batch, D, N)
    outputs = []
    for t in range(x.shape[1]):
        h, y = selective_step(h, x[:, t], delta[:, t], A, B[:, t], C[:, t])
        outputs.append(y)
    return torch.stack(outputs, dim=1)  # (batch, L, D)


@in_float32
def selective_step(
    h: Tensor, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the next state (batch, D, N) and y (batch, D), for one step of the inputs, without time."""
    decay = torch.exp(delta[..., None] * A)  # (batch, D, N)
    h = decay * h + (delta * x)[..., None] * B[:, None]  # (batch, D, N)
    return h, (h @ C[..., None])[..., 0]


@recurrence
def selective_scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Return output of the system by a scan in blocks of time, with a backward pass of its own.

    Backward runs the adjoint g[t] = C[t] ⊗ ∂y[t] + a[t+1] ∘ g[t+1], with which
    dL = Σ_t ⟨g[t], da[t] ∘ h[t−1] + db[t]⟩ + ⟨∂y[t], h[t] dC[t]⟩, block by block from the end.

    Parameters
    ----------
    x, delta : (batch, L, D)
        L >= 1; delta >= 0.
    A : (D, N)
        Negative.
    B, C : (batch, L, N)

    Returns
    -------
    y : (batch, L, D)
    """
    sequences, channels = _tile(x, A)
    rows = []
    for x_s, delta_s, B_s, C_s in zip(*(part.split(sequences) for part in (x, delta, B, C)), strict=True):
        columns = zip(x_s.split(channels, -1), delta_s.split(channels, -1), A.split(channels), strict=True)
        rows.append([_Scan.apply(x_t, delta_t, A_t, B_s, C_s) for x_t, delta_t, A_t in columns])
    return torch.cat([torch.cat(row, dim=-1) for row in rows])


def selective_states(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """Yield steps, states h, decays a and inputs b of each block, (T, batch, D, N) each."""
    d, driven, B = _time_first(delta), _time_first(delta * x), _time_first(B)
    h = x.new_zeros(x.shape[0], *A.T.shape)  # (batch, N, D)
    for steps in _blocks(x, A):
        a, states = torch.empty(2, _length(steps), *h.shape, dtype=x.dtype, device=x.device)
        _discretise(d[steps], driven[steps], A.T, B[steps], a, states)
        b = states.clone()
        h = _forward(a, states, h).clone()
        yield steps, states.mT, a.mT, b.mT


def _tile(x: Tensor, A: Tensor) -> tuple[int, int]:
    """Return how many sequences and channels are scanned together: those that fit a CPU's cache, else all."""
    if launches_cost(x):
        return len(x), len(A)
    return max(1, STEP_STATES // A.numel()), min(len(A), max(1, STEP_STATES // A.shape[1]))


def _blocks(x: Tensor, A: Tensor) -> list[slice]:
    least, states = (DEVICE_STEPS, DEVICE_NUMBERS) if launches_cost(x) else (1, BLOCK_STATES)
    length, size = x.shape[1], max(least, states // (len(x) * A.numel()))
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


class _Scan(torch.autograd.Function):
    """`selective_scan` of one tile. Inside, time comes first and states are (T, batch, N, D)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        d, driven, B_t, C_t, A_t = _arranged(x, delta, A, B, C)
        blocks = _blocks(x, A)
        begins = x.new_zeros(len(blocks), x.shape[0], *A_t.shape)  # (blocks, batch, N, D)
        h = begins[0]
        y = torch.empty_like(d)  # (L, batch, D)
        buffers = x.new_empty(2, _length(blocks[0]), *h.shape)  # (2, T, batch, N, D)
        for steps, begin in zip(blocks, begins, strict=True):
            h = begin.copy_(h)
            a, states = buffers[:, : _length(steps)]
            _discretise(d[steps], driven[steps], A_t, B_t[steps], a, states)
            h = _forward(a, states, h)
            y[steps] = (C_t[steps, :, None] @ states)[:, :, 0]
        ctx.save_for_backward(x, delta, A, B, C, begins)
        return _time_first(y)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, ...]:
        x, delta, A, B, C, begins = ctx.saved_tensors
        d, driven, B_t, C_t, A_t = _arranged(x, delta, A, B, C)
        dy = _time_first(dy)
        d_driven, d_delta, d_B, d_C = (torch.empty_like(part) for part in (d, d, B_t, C_t))
        d_A = torch.zeros_like(A_t)  # (N, D)
        blocks = _blocks(x, A)
        buffers = x.new_empty(3, _length(blocks[0]), *begins.shape[1:])  # (3, T, batch, N, D)
        later = torch.zeros_like(begins[0])  # (batch, N, D) a[t+1] ∘ g[t+1]
        for steps, h in zip(reversed(blocks), reversed(begins), strict=True):
            a, states, g = buffers[:, : _length(steps)]
            _discretise(d[steps], driven[steps], A_t, B_t[steps], a, states)
            _forward(a, states, h)
            torch.mul(C_t[steps, ..., None], dy[steps, :, None], out=g)
            _adjoint(a, g, later)
            d_C[steps] = (dy[steps, :, None] @ states.mT)[:, :, 0]
            d_B[steps] = (driven[steps, :, None] @ g.mT)[:, :, 0]
            d_driven[steps] = (B_t[steps, :, None] @ g)[:, :, 0]
            a.mul_(g)  # a ∘ g, the first of which the block before needs
            later.copy_(a[0])
            a[0].mul_(h)
            a[1:].mul_(states[:-1])  # g ∘ a ∘ h[t−1], the gradient of Δ A
            d_A += torch.mul(a, d[steps, :, None], out=g).sum((0, 1))
            d_delta[steps] = a.mul_(A_t).sum(2)
        dx, d_delta = d_driven * d, torch.addcmul(d_delta, d_driven, _time_first(x))
        return _time_first(dx), _time_first(d_delta), d_A.T, _time_first(d_B), _time_first(d_C)


def _arranged(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, ...]:
    """Return Δ and Δ ∘ x (L, batch, D), B and C (L, batch, N), A (N, D)."""
    return (*map(_time_first, (delta, delta * x, B, C)), A.T.contiguous())


def _discretise(d: Tensor, driven: Tensor, A: Tensor, B: Tensor, a: Tensor, b: Tensor) -> None:
    """Write decays exp(Δ A) into a and inputs (Δ ∘ x) Bᵀ into b, (T, batch, N, D) each."""
    torch.mul(d[:, :, None], A, out=a).exp_()
    torch.mul(B[..., None], driven[:, :, None], out=b)


def _forward(a: Tensor, states: Tensor, h: Tensor) -> Tensor:
    """Add a[t] ∘ states[t−1] to states[t] in place, h before the first; return the last."""
    if launches_cost(a):
        states[0].addcmul_(a[0], h)
        _sweep(a.clone(), states)
        return states[-1]
    for a_t, state in zip(a.unbind(0), states.unbind(0), strict=True):
        h = state.addcmul_(a_t, h)
    return h


def _adjoint(a: Tensor, g: Tensor, later: Tensor) -> None:
    """Add a[t+1] ∘ g[t+1] to g[t] in place, backwards; `later` is that product at the last step."""
    if launches_cost(a):
        g[-1].add_(later)
        turned = g.flip(0)
        _sweep(a.roll(-1, 0).flip(0), turned)
        g.copy_(turned.flip(0))
        return
    steps = g.unbind(0)[::-1]  # (batch, N, D) each
    steps[0].add_(later)
    for (after, before), decay in zip(pairwise(steps), a.unbind(0)[:0:-1], strict=True):
        before.addcmul_(decay, after)


def _sweep(a: Tensor, states: Tensor) -> None:
    """Add a[t] ∘ states[t−1] to states[t] in place, T steps in 3 log₂ T calls; a is overwritten.

    Brent and Kung 1982: ends of blocks of 2, 4, 8 … steps first, then what lies between, from the largest on.
    """
    halves = [1 << power for power in range((len(a) - 1).bit_length())]
    for half in halves:
        ends = slice(2 * half - 1, None, 2 * half)
        count = len(states[ends])
        if count:
            states[ends].addcmul_(a[ends], states[half - 1 :: 2 * half][:count])
            a[ends].mul_(a[half - 1 :: 2 * half][:count])
    for half in reversed(halves):
        between = slice(3 * half - 1, None, 2 * half)
        count = len(states[between])
        if count:
            states[between].addcmul_(a[between], states[2 * half - 1 :: 2 * half][:count])


def _time_first(part: Tensor) -> Tensor:
    """Map (batch, L, K) to (L, batch, K), or back."""
    return part.transpose(0, 1).contiguous()


def _length(steps: slice) -> int:
    return int(steps.stop - steps.start)
