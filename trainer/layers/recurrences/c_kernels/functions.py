"""The kernels as functions of tensors: arguments and results as our recurrences of the same names have them.

All gradients, once: a second derivative, or torch.func, wants our recurrences. States are kept before each
stretch of steps and computed from there again on the way back.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hankelboard.trainer.layers.recurrences.c_kernels.library import call, lanes

STRETCH_STATES, LEAST, MOST = 1024, 8, 32
"""States of a lane in a stretch, to stay in a core's cache; its steps at least, and at most."""


def selective_scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Return y, (batch, L, D). Arguments: selective.py. Raise ValueError where shapes disagree."""
    (batch, length, channels), states = x.shape, A.shape[1]
    _expect(delta, batch, length, channels)
    _expect(A, channels, states)
    _expect(B, batch, length, states)
    _expect(C, batch, length, states)
    y: Tensor = _Selective.apply(x, delta, A, B, C)
    return y


def scalar_decay_scan(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
    """Return o, (batch, L, heads, P). Arguments: scalar_decay.py. Raise ValueError where shapes disagree."""
    (batch, length, groups, states), heads = q.shape, v.shape[2]
    _expect(k, batch, length, groups, states)
    _expect(v, batch, length, heads, v.shape[3])
    if heads % groups:
        raise ValueError(f"{heads} heads are no multiple of {groups} groups")
    o: Tensor = _ScalarDecay.apply(q, k, v, log_decay.expand(batch, length, heads))
    return o


def channel_decay(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
    """Return o, (batch, L, heads, d_v). Arguments: channel_decay.py. Raise ValueError at other shapes."""
    _expect(k, *q.shape)
    _expect(v, *q.shape[:3], v.shape[3])
    _expect(log_decay, *q.shape)
    o: Tensor = _ChannelDecay.apply(q, k, v, log_decay)
    return o


def delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor) -> Tensor:
    """Return o, (batch, L, heads, d_v). Arguments: delta_rule.py. Raise ValueError where shapes disagree."""
    _expect(k, *q.shape)
    _expect(v, *q.shape[:3], v.shape[3])
    _expect(beta, *q.shape[:3])
    _expect(log_decay, *q.shape[:3])
    o: Tensor = _DeltaRule.apply(q, k, v, beta, log_decay)
    return o


def scan_in_place(x: Tensor, decay: Tensor, before: Tensor | None, reverse: bool) -> Tensor:
    """Return a view of the last state of complex (L, M), scanned in place. Arguments: diagonal.py."""
    length, columns = x.shape
    decay = decay.resolve_conj().contiguous()
    before = None if before is None else before.resolve_conj().contiguous()
    strips = -(-columns // (STRIP * lanes() // 2))
    call("complex_scan", strips, length, columns, 2 * x.stride(0), int(reverse), x, decay, before)
    return x[0] if reverse else x[-1]


class _Selective(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        x, delta, A, B, C = _contiguous(*parts)
        (batch, length, channels), states = x.shape, A.shape[1]
        A = A.T.contiguous()  # (N, D)
        tasks = batch * _blocks(channels)
        begins, every = _begins(ctx, x, tasks, length, states)
        y = torch.empty_like(x)
        sizes = (length, channels, states, every)
        call("selective_forward", tasks, *sizes, x, delta, A, B, C, y, begins)
        ctx.sizes = sizes
        ctx.save_for_backward(x, delta, A, B, C, begins)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, ...]:
        x, delta, A, B, C, begins = ctx.saved_tensors
        dx, d_delta, dB, dC = (torch.empty_like(part) for part in (x, delta, B, C))
        dA = x.new_empty(len(x), *A.shape)  # (batch, N, D)
        arguments = (x, delta, A, B, C, begins, dy.contiguous(), dx, d_delta, dA, dB, dC)
        call("selective_backward", len(x), *ctx.sizes, *arguments)
        return dx, d_delta, dA.sum(0).T, dB, dC


class _ScalarDecay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        q, k, v, log_decay = _contiguous(*parts)
        (batch, length, groups, states), (heads, values) = q.shape, v.shape[2:]
        tasks, a = batch * heads * _blocks(values), log_decay.exp()
        begins, every = _begins(ctx, q, tasks, length, states)
        o = torch.empty_like(v)
        sizes = (length, groups, heads, states, values, every)
        call("scalar_decay_forward", tasks, *sizes, q, k, v, a, o, begins)
        ctx.sizes = sizes
        ctx.save_for_backward(q, k, v, a, begins)
        return o

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_o: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, a, begins = ctx.saved_tensors
        dq, dk, dv = (torch.empty_like(part) for part in (q, k, v))
        d_log = torch.empty_like(a) if ctx.needs_input_grad[3] else None
        arguments = (q, k, v, a, begins, d_o.contiguous(), dq, dk, dv, d_log)
        call("scalar_decay_backward", q.shape[0] * q.shape[2], *ctx.sizes, *arguments)
        return dq, dk, dv, d_log


class _ChannelDecay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        q, k, v, log_decay = _contiguous(*parts)
        (batch, length, heads, states), values = q.shape, v.shape[3]
        tasks, a = batch * heads * _blocks(values), log_decay.exp()
        begins, every = _begins(ctx, q, tasks, length, states)
        o = torch.empty_like(v)
        sizes = (length, heads, states, values, every)
        call("channel_decay_forward", tasks, *sizes, q, k, v, a, o, begins)
        ctx.sizes = sizes
        ctx.save_for_backward(q, k, v, a, begins)
        return o

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_o: Tensor) -> tuple[Tensor, ...]:
        q, k, v, a, begins = ctx.saved_tensors
        gradients = tuple(torch.empty_like(part) for part in (q, k, v, a))
        arguments = (q, k, v, a, begins, d_o.contiguous(), *gradients)
        call("channel_decay_backward", q.shape[0] * q.shape[2], *ctx.sizes, *arguments)
        return gradients


class _DeltaRule(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        q, k, v, beta, log_decay = _contiguous(*parts)
        (batch, length, heads, states), values = q.shape, v.shape[3]
        tasks, a = batch * heads, log_decay.exp()
        begins, every = _begins(ctx, q, tasks * _blocks(values), length, states)
        o = torch.empty_like(v)
        sizes = (length, heads, states, values, every)
        call("delta_rule_forward", tasks, *sizes, q, k, v, beta, a, o, begins)
        ctx.sizes = sizes
        ctx.save_for_backward(q, k, v, beta, a, begins)
        return o

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_o: Tensor) -> tuple[Tensor, ...]:
        *parts, begins = ctx.saved_tensors
        gradients = tuple(torch.empty_like(part) for part in parts)
        q = parts[0]
        call(
            "delta_rule_backward",
            q.shape[0] * q.shape[2],
            *ctx.sizes,
            *parts,
            begins,
            d_o.contiguous(),
            *gradients,
        )
        return gradients


STRIP = 64
"""Vectors in a strip of columns of complex_scan.c."""


def _blocks(columns: int) -> int:
    return -(-columns // lanes())


def _begins(ctx: Any, like: Tensor, tasks: int, length: int, states: int) -> tuple[Tensor | None, int]:
    """Return room for the states before each stretch, where there is a way back, and steps of a stretch."""
    every = max(LEAST, min(MOST, STRETCH_STATES // states))
    if not any(ctx.needs_input_grad):
        return None, every
    return like.new_empty(tasks, -(-length // every), states, lanes()), every


def _contiguous(*parts: Tensor) -> tuple[Tensor, ...]:
    return tuple(part.contiguous() for part in parts)


def _expect(part: Tensor, *shape: int) -> None:
    if part.shape != shape or part.dtype != torch.float32 or part.device.type != "cpu":
        raise ValueError(
            f"expected {shape} in single precision on the CPU, not {tuple(part.shape)}, {part.dtype}"
        )
