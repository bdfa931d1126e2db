"""The recurrence of gated DeltaNet (Yang, Kautz and Hatamizadeh 2025, arXiv 2412.06464): erase, then write.

    S[t] = a[t] (I − β[t] k[t] k[t]ᵀ) S[t−1] + β[t] k[t] v[t]ᵀ,   S[−1] = 0,   o[t] = S[t]ᵀ q[t]

S is (d_k, d_v) in every head, the decay a and the strength β are numbers per head, 0 <= a, β <= 1. With
‖k‖ <= 1 no step enlarges S. Two forms of one map, on any device, in single or double precision:
`delta_rule_sequential`, the equation as it stands and the reference of the tests, and `delta_rule`, in chunks
of time, which keeps the states at the beginning of each chunk and computes the rest again to go backward.

Inside a chunk the products of I − β k kᵀ have a WY representation: with D_ts = a[s+1] ··· a[t] and
γ_t = a[1] ··· a[t], and S the state before the chunk,

    S[t] = γ_t S + Σ_{s<=t} D_ts k[s] u[s]ᵀ
    u[t] = β[t] (v[t] − γ_t Sᵀ k[t] − Σ_{s<t} D_ts ⟨k[t], k[s]⟩ u[s])

so U solves (I + strictly lower part of β D∘K Kᵀ) U = β (V − γ K S): one triangular solve for each chunk (the
UT transform of Yang et al. 2024, arXiv 2406.06484). Every D_ts is summed by itself in the exponent and is at
most 1: nothing is divided.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hankelboard.trainer.layers.recurrences.channel_decay import without_tiny
from hankelboard.trainer.layers.recurrences.on_device import carried, join, launches_cost, spans, split
from hankelboard.trainer.layers.recurrences.precision import in_float32, recurrence

CHUNK = 32
"""Steps of a chunk."""
DEVICE_CHUNK = 64
"""The same where a call costs more than what it computes."""


def delta_rule_sequential(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor) -> Tensor:
    """Return the system, one step after the other. Arguments as `delta_rule`."""
    outputs = [
        _read(S, q[:, t]) for t, S in enumerate(delta_rule_states(k, v, beta, log_decay))
    ]  # (batch, heads, d_v) each
    return torch.stack(outputs, dim=1)  # (batch, L, heads, d_v)


@in_float32
def delta_rule_step(
    S: Tensor, q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the next state (batch, heads, d_k, d_v) and o, for one step of the inputs, without time."""
    S = _next(S, k, v, beta, log_decay)
    return S, _read(S, q)


def delta_rule_states(k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor) -> Iterator[Tensor]:
    """Return S[t] for t = 0, 1, …, (batch, heads, d_k, d_v) each."""
    S = k.new_zeros(*k.shape[::2], k.shape[3], v.shape[3])
    for t in range(k.shape[1]):
        S = _next(S, k[:, t], v[:, t], beta[:, t], log_decay[:, t])
        yield S


def _next(S: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor) -> Tensor:
    S = log_decay.exp()[..., None, None] * S
    u = beta[..., None] * (v - _read(S, k))  # (batch, heads, d_v)
    return torch.addcmul(S, k[..., None], u[..., None, :])


def _read(S: Tensor, q: Tensor) -> Tensor:
    """Return Sᵀ q, (batch, heads, d_v)."""
    return (q[..., None, :] @ S)[..., 0, :]


@recurrence
def delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor) -> Tensor:
    """Return output of the system in chunks of time.

    Parameters
    ----------
    q, k : (batch, L, heads, d_k)
        L >= 1; ‖k‖ <= 1 keeps the state bounded.
    v : (batch, L, heads, d_v)
    beta, log_decay : (batch, L, heads)
        0 <= β <= 1; log a <= 0, where −inf is allowed.

    Returns
    -------
    o : (batch, L, heads, d_v)
    """
    form = _AllChunks if launches_cost(q) else _Chunks
    o: Tensor = form.apply(q, k, v, beta[..., None], log_decay[..., None])
    return o


class _Chunks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        k, v = parts[1:3]
        o = torch.empty_like(v)
        n = k.shape[0] * k.shape[2]  # batch · heads
        begins = [k.new_zeros(n, k.shape[3], v.shape[3])]  # (n, d_k, d_v)
        for steps in _chunks(v.shape[1]):
            out, end = _within(*[*(_chunk(part, steps) for part in parts), begins[-1]])
            _put(o, steps, out)
            begins.append(end)
        ctx.save_for_backward(*parts, *begins[:-1])
        return o

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, do: Tensor) -> tuple[Tensor, ...]:
        parts, begins = ctx.saved_tensors[:5], ctx.saved_tensors[5:]
        gradients = tuple(torch.empty_like(part) for part in parts)
        d_end = torch.zeros_like(begins[0])
        for steps, S in zip(reversed(_chunks(do.shape[1])), reversed(begins), strict=True):
            inputs = [*(_chunk(part, steps) for part in parts), S, _chunk(do, steps), d_end]
            *derivatives, d_end = _within_backward(*inputs)
            for gradient, chunk in zip(gradients, derivatives, strict=True):
                _put(gradient, steps, chunk)
        return gradients


class _AllChunks(torch.autograd.Function):
    """The same with all chunks at once, for devices; states before them are (chunks · n, d_k, d_v).

    U is linear in the state before its chunk, U = U₀ − W S, so the next state is M S + what was written, and
    the derivative by a state runs back through Mᵀ.
    """

    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        k, v = parts[1:3]
        o, begins = torch.empty_like(v), []
        end = k.new_zeros(k.shape[0] * k.shape[2], k.shape[3], v.shape[3])
        for steps in _spans(k, v):
            qc, kc, vc, beta, log_decay = (split(part[:, steps], DEVICE_CHUNK) for part in parts)
            D, gamma = _decays(log_decay)
            M, W, U, written, _ = _transition(kc, vc, beta, D, gamma)
            S, end = carried(torch.baddbmm, written, M, end)
            U = torch.baddbmm(U, W, S, alpha=-1.0)
            join(o[:, steps], torch.baddbmm(gamma * (qc @ S), D * (qc @ kc.mT), U))
            begins.append(S)
        ctx.save_for_backward(*parts, *begins)
        return o

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, do: Tensor) -> tuple[Tensor, ...]:
        parts, begins = ctx.saved_tensors[:5], ctx.saved_tensors[5:]
        gradients = tuple(torch.empty_like(part) for part in parts)
        k, v = parts[1:3]
        d_end = k.new_zeros(k.shape[0] * k.shape[2], k.shape[3], v.shape[3])
        for steps, S in zip(reversed(_spans(k, v)), reversed(begins), strict=True):
            qc, kc, vc, beta, log_decay, doc = (split(part[:, steps], DEVICE_CHUNK) for part in (*parts, do))
            D, gamma = _decays(log_decay)
            M, W, U, _, overlap = _transition(kc, vc, beta, D, gamma)
            U = torch.baddbmm(U, W, S, alpha=-1.0)
            scores = D * (qc @ kc.mT)
            read = torch.baddbmm(qc.mT @ (gamma * doc), W.mT, scores.mT @ doc, alpha=-1.0)
            d_ends, d_end = carried(torch.baddbmm, read, M.mT, d_end, backwards=True)
            within = D, gamma, overlap, _rest(kc, vc, gamma, S), U, scores
            derivatives = _derivatives(qc, kc, beta, S, doc, d_ends, *within)[:-1]
            for gradient, chunk in zip(gradients, derivatives, strict=True):
                join(gradient[:, steps], chunk)
        return gradients


def _transition(k: Tensor, v: Tensor, beta: Tensor, D: Tensor, gamma: Tensor) -> tuple[Tensor, ...]:
    """Return M (n, d_k, d_k), W (n, T, d_k), U₀ (n, T, d_v), what that writes into a state 0, and overlap."""
    overlap = (D * (k @ k.mT)).tril(-1)
    both = beta * torch.cat([gamma * k, v], -1)  # (n, T, d_k + d_v)
    both = torch.linalg.solve_triangular(beta * overlap, both, upper=False, unitriangular=True)
    W, U = both.split([k.shape[2], v.shape[2]], dim=-1)
    last = (k * D[:, -1, :, None]).mT  # (n, d_k, T)
    kept = torch.diag_embed(gamma[:, -1].expand(-1, k.shape[2]))
    return torch.baddbmm(kept, last, W, alpha=-1.0), W, U, last @ U, overlap


def _spans(k: Tensor, v: Tensor) -> list[slice]:
    """Return steps of the chunks that are worked on at once on a device."""
    batch, length, heads, keys = k.shape
    width = max(DEVICE_CHUNK, keys + v.shape[3])
    return list(spans(length, DEVICE_CHUNK, batch * heads * max(DEVICE_CHUNK, keys) * width))


def _within(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor, S: Tensor
) -> tuple[Tensor, Tensor]:
    """Return output (n, T, d_v) of a chunk that begins with state S (n, d_k, d_v), and its last state."""
    D, gamma = _decays(log_decay)
    _, _, U = _written(k, v, beta, D, gamma, S)
    o = torch.baddbmm(gamma * (q @ S), D * (q @ k.mT), U)
    return o, torch.baddbmm(gamma[:, -1:] * S, (k * D[:, -1, :, None]).mT, U)


def _written(
    k: Tensor, v: Tensor, beta: Tensor, D: Tensor, gamma: Tensor, S: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return strictly lower part of D∘K Kᵀ (n, T, T), V − γ K S and U (n, T, d_v) each."""
    overlap = (D * (k @ k.mT)).tril(-1)
    rest = _rest(k, v, gamma, S)
    U = torch.linalg.solve_triangular(beta * overlap, beta * rest, upper=False, unitriangular=True)
    return overlap, rest, U


def _rest(k: Tensor, v: Tensor, gamma: Tensor, S: Tensor) -> Tensor:
    return torch.addcmul(v, gamma, k @ S, value=-1.0)


def _within_backward(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor, S: Tensor, do: Tensor, d_end: Tensor
) -> tuple[Tensor, ...]:
    """Return derivatives of a chunk by q, k, v, β, log a and S, from those by its output and last state."""
    D, gamma = _decays(log_decay)
    overlap, rest, U = _written(k, v, beta, D, gamma, S)
    scores = D * (q @ k.mT)
    return _derivatives(q, k, beta, S, do, d_end, D, gamma, overlap, rest, U, scores)


def _derivatives(
    q: Tensor, k: Tensor, beta: Tensor, S: Tensor, do: Tensor, d_end: Tensor,
    D: Tensor, gamma: Tensor, overlap: Tensor, rest: Tensor, U: Tensor, scores: Tensor,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Return the same from what the forward pass computes within a chunk, too.

    Decays enter through D_ts = exp(b_t − b_s) and γ_t = exp(b_t) only, b the running sum of log a. So the
    derivative by b is, row minus column, that by each D_ts times D_ts: no derivative of a product is needed.
    """
    last = D[:, -1, :, None]  # (n, T, 1)
    d_u = torch.baddbmm(scores.mT @ do, k * last, d_end)  # (n, T, d_v)
    d_target = torch.linalg.solve_triangular((beta * overlap).mT, d_u, upper=True, unitriangular=True)
    dv = beta * d_target
    d_scores, d_erased = do @ U.mT, -(d_target @ U.mT)  # (n, T, T) each, of which lower triangles count
    both = d_erased * overlap  # (n, T, T)
    dbeta = (d_target * rest).sum(-1, keepdim=True) + both.sum(-1, keepdim=True)
    moved = torch.addcmul(d_scores * scores, beta, both)  # (n, T, T) D ∘ derivative by D
    d_scores.mul_(D)
    d_overlap = (beta * D * d_erased).tril(-1)  # (n, T, T)
    gdo, gdv = gamma * do, gamma * dv  # (n, T, d_v) each
    at_end = last * (U @ d_end.mT)  # (n, T, d_k)
    dq = torch.baddbmm(d_scores @ k, gdo, S.mT)
    dk = torch.baddbmm(at_end, d_overlap + d_overlap.mT, k)
    dk.baddbmm_(d_scores.mT, q).baddbmm_(gdv, S.mT, alpha=-1.0)
    dS = torch.baddbmm(gamma[:, -1:] * d_end, q.mT, gdo).baddbmm_(k.mT, gdv, alpha=-1.0)
    by_end = (at_end * k).sum(-1)  # (n, T)
    db = moved.sum(2) - moved.sum(1) + (gdo * (q @ S) - gdv * (k @ S)).sum(-1) - by_end  # (n, T)
    db[:, -1] += by_end.sum(-1) + gamma[:, -1, 0] * (d_end * S).sum((1, 2))
    return dq, dk, dv, dbeta, db.flip(1).cumsum(1).flip(1)[..., None], dS


def _decays(log_decay: Tensor) -> tuple[Tensor, Tensor]:
    """Return D (n, T, T), lower triangular, ones on the diagonal, exponents summed singly; γ (n, T, 1)."""
    size = log_decay.shape[1]
    sums = log_decay.expand(-1, -1, size).tril(-1).cumsum(1)  # (n, T, T) Σ of log a over s < u <= t
    return without_tiny(sums.exp()).tril(), without_tiny(log_decay.cumsum(1).exp())


def _chunks(length: int) -> list[slice]:
    return [slice(start, min(start + CHUNK, length)) for start in range(0, length, CHUNK)]


def _chunk(part: Tensor, steps: slice) -> Tensor:
    """Map (batch, L, heads, d) to the steps of a chunk, (n, T, d)."""
    return part[:, steps].transpose(1, 2).flatten(0, 1).contiguous()


def _put(whole: Tensor, steps: slice, chunk: Tensor) -> None:
    """Write a chunk back: the reverse of `_chunk`."""
    target = whole[:, steps]  # (batch, T, heads, d)
    target.copy_(chunk.unflatten(0, target.shape[::2]).transpose(1, 2))
