"""The recurrence of a diagonal complex system with real inputs and outputs.

    x[t] = λ ∘ x[t−1] + B u[t],   x[−1] = 0,   y[t] = Re(C x[t])

Forms of one map, on any device, in single or double precision; another is in `diagonal_chunks`, and
`diagonal_forms` says which costs least:

* `lru_sequential`, the equation as it stands: slow, and the reference of the tests;
* `lru_scan`, the recurrence in time with its own backward pass: cost ∝ batch · L · N · H;
* `lru_kernel`, the impulse response K[l] = Re(C Λ^l B) and a convolution by FFT: N enters through K alone.

No form divides by λ or takes its logarithm, so λ = 0, negative real λ and powers that underflow are nothing
special.
"""

from itertools import pairwise
from typing import Any

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from hankelboard.trainer.layers.recurrences import scan_choice
from hankelboard.trainer.layers.recurrences.c_kernels.functions import scan_in_place
from hankelboard.trainer.layers.recurrences.on_device import DEVICE_NUMBERS, launches_cost

BLOCK_STATES = 1 << 18
"""Complex states per block of time on a CPU: 2 MiB in single precision, so that they stay in its cache."""
STEP_STATES = 1024
"""Complex states per step below which a CPU spends its time on calls and chunks are stepped together: a call
takes 2.3 µs and 0.6 ns per state (AMD EPYC, torch 2.13). Their blocks are twice as long: half the calls save
more than the cache does."""
CHUNK = 8
"""Steps per chunk. 4 and 16 were slower or equal from 64 to 4096 steps; so was √L with ends one by one."""
KEPT_BYTES = 1 << 25
"""States of a sequence on a CPU up to which the scan keeps them for its backward pass. Larger ones are
computed again, block by block: memory of more than 32 MiB comes from the system anew each time (glibc), which
costs about as much. Smaller ones would cost 15 to 20 % of the layer."""


def lru_sequential(u: Tensor, eigenvalues: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Return output of the system, step by step: the reference for other forms. Arguments: `lru_scan`."""
    x = eigenvalues.new_zeros(u.shape[0], eigenvalues.shape[0])  # (batch, N)
    outputs = []
    for v in (u.to(B.dtype) @ B.T).unbind(1):  # (batch, N) each
        x = eigenvalues * x + v  # (batch, N)
        outputs.append((x @ C.T).real)  # (batch, H)
    return torch.stack(outputs, dim=1)  # (batch, L, H)


def lru_scan(u: Tensor, eigenvalues: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Return output of the system by a scan in time, with a backward pass of its own.

        x[t] = λ ∘ x[t−1] + B u[t],   x[−1] = 0,   y[t] = Re(C x[t])

    Backward runs the adjoint p[t] = λ ∘ p[t+1] + Cᵀ g[t] for the gradient g of y, with which
    dL = Re Σ_t p[t]ᵀ (dλ ∘ x[t−1] + dB u[t] + B du[t]) + g[t]ᵀ dC x[t]. There is no tape: what is kept
    are the states, or those before each block of time where all would take more than `KEPT_BYTES`.

    Parameters
    ----------
    u : (batch, L, H) float
        L >= 1.
    eigenvalues : (N,) complex
        λ, of the precision of u.
    B : (N, H) complex
        Input matrix with its normalisation folded in.
    C : (H, N) complex

    Returns
    -------
    y : (batch, L, H) float

    >>> one = torch.ones(1, 1, dtype=torch.complex64)
    >>> lru_scan(torch.ones(1, 3, 1), torch.tensor([0.5 + 0j]), one, one).flatten()
    tensor([1.0000, 1.5000, 1.7500])
    """
    most = 4 * DEVICE_NUMBERS if launches_cost(u) else KEPT_BYTES
    keep = u.shape[0] * u.shape[1] * eigenvalues.nbytes <= most
    return _Scan.apply(u, eigenvalues, B, C, keep and torch.is_grad_enabled())


def lru_kernel(u: Tensor, eigenvalues: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Return output of the system by its impulse response.

        K[l] = Re(C Λ^l B),   y[t] = Σ_{l=0}^{t} K[l] u[t−l]

    The convolution is a product of FFTs of twice the length, and its backward pass two correlations with the
    gradient g of y: ∂u[t] = Σ_l K[l]ᵀ g[t+l] and ∂K[l] = Σ_t g[t+l] u[t]ᵀ. Arguments as `lru_scan`.
    """
    return _Kernel.apply(u, eigenvalues, B, C)


class _Scan(torch.autograd.Function):
    """`lru_scan`: blocks of time, each a matrix product, a scan in place, a matrix product.

    Complex numbers are pairs of neighbouring reals, so that B u, C x and their gradients are real products
    without a copy; time comes first, so that a step touches one stretch of memory.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, eigenvalues: Tensor, B: Tensor, C: Tensor, keep: bool) -> Tensor:
        keep = keep and any(ctx.needs_input_grad)
        u = u.transpose(0, 1).contiguous()  # (L, batch, H)
        decay = eigenvalues.repeat(u.shape[1])  # (batch·N,)
        into, out_of = _pairs(B.T), _pairs(C.conj())  # (H, 2N)
        blocks = _blocks(u, decay)
        begins = torch.zeros_like(decay).repeat(len(blocks), 1)  # (blocks, batch·N)
        states = _states_of(len(u) if keep else blocks[0].stop, u, decay)  # (L or T, batch, 2N)
        y = torch.empty_like(u)  # (L, batch, H)
        last = begins[0]
        for steps, begin in zip(blocks, begins, strict=True):
            x = states[steps] if keep else states[: len(u[steps])]  # (T, batch, 2N)
            last = _drive(u[steps], into, decay, begin.copy_(last), x)
            torch.mm(_rows(x), out_of.T, out=_rows(y[steps]))
        ctx.save_for_backward(u, eigenvalues, B, C, begins, states if keep else None)
        return y.transpose(0, 1).contiguous()  # (batch, L, H)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        u, eigenvalues, B, C, begins, states = ctx.saved_tensors
        g = g.transpose(0, 1).contiguous()  # (L, batch, H)
        decay = eigenvalues.repeat(u.shape[1])  # (batch·N,)
        from_u, to_u, from_g = _pairs(B.T), _pairs(B.T.conj()), _pairs(C)  # (H, 2N)
        grad_u = torch.empty_like(u)  # (L, batch, H)
        grad_B, grad_C = torch.zeros_like(to_u), torch.zeros_like(to_u)  # (H, 2N)
        grad_eigenvalues = torch.zeros_like(to_u[0])  # (2N,)
        blocks = _blocks(u, decay)
        scratch = _states_of(blocks[0].stop, u, decay)  # (T, batch, 2N)
        again = torch.empty_like(scratch) if states is None else None  # (T, batch, 2N)
        later = torch.zeros_like(decay)  # (batch·N,) p after the block
        for steps, begin in zip(reversed(blocks), reversed(begins), strict=True):
            p = scratch[: len(u[steps])]  # (T, batch, 2N)
            if again is None:
                x = states[steps]  # (T, batch, 2N)
            else:
                x = again[: len(p)]  # (T, batch, 2N)
                _drive(u[steps], from_u, decay, begin, x)
            later.copy_(_drive(g[steps], from_g, decay, later, p, reverse=True))
            torch.mm(_rows(p), to_u.T, out=_rows(grad_u[steps]))
            grad_B.addmm_(_rows(u[steps]).T, _rows(p))
            grad_C.addmm_(_rows(g[steps]).T, _rows(x))
            _complex(p[1:]).mul_(_complex(x[:-1]))
            _complex(p[:1]).mul_(begin)
            grad_eigenvalues += _rows(p).sum(0)
        return (
            grad_u.transpose(0, 1).contiguous(),  # (batch, L, H)
            _conjugate(grad_eigenvalues),  # (N,)
            _conjugate(grad_B).T.contiguous(),  # (N, H)
            _conjugate(grad_C),  # (H, N)
            None,
        )


class _Kernel(torch.autograd.Function):
    """`lru_kernel`: transforms of time, products frequency by frequency, and back."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, eigenvalues: Tensor, B: Tensor, C: Tensor) -> Tensor:
        batch, length, width = u.shape
        points = next_fast_len(2 * length - 1, real=True)
        powers = _powers(eigenvalues, length)  # (L, N)
        gains = _gains(B, C)  # (2N, H in · H out)
        K = gains.T @ _pairs(powers).T  # (H in · H out, L)
        K_hat = _transform(K, points).view(-1, width, C.shape[0])  # (F, H in, H out)
        u_hat = _transform(u.transpose(1, 2).flatten(0, 1), points).view(-1, batch, width)  # (F, batch, H)
        y = _inverse(u_hat @ K_hat, points, length)  # (batch, H out, L)
        ctx.points = points
        ctx.save_for_backward(B, C, powers, u_hat, K_hat)
        return y.transpose(1, 2).contiguous()  # (batch, L, H out)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, ...]:
        B, C, powers, u_hat, K_hat = ctx.saved_tensors
        batch, length, width = g.shape
        g_hat = _transform(g.transpose(1, 2).flatten(0, 1), ctx.points).view(-1, batch, width)
        grad_u = _inverse(g_hat @ K_hat.mH, ctx.points, length)  # (batch, H in, L)
        grad_K = _inverse(u_hat.mH @ g_hat, ctx.points, length)  # (H in, H out, L)
        flat = grad_K.flatten(0, 1)  # (H in · H out, L)
        grad_gains = _pairs(powers).T @ flat.T  # (2N, H in · H out), in the order that BLAS does well
        grad_gains = _conjugate(grad_gains.T.unflatten(0, grad_K.shape[:2]))  # (H in, H out, N)
        grad_powers = torch.view_as_complex((flat.T @ _gains(B, C).T).unflatten(1, (-1, 2)))  # (L, N)
        grad_powers[1:].mul_(powers[:-1].conj())  # d λ^l = l λ^(l−1) dλ, and nothing for l = 0
        steps = torch.arange(length, dtype=g.dtype, device=g.device)  # (L,)
        return (
            grad_u.transpose(1, 2).contiguous(),  # (batch, L, H in)
            torch.view_as_complex((steps @ _pairs(grad_powers)).view(-1, 2)),  # (N,)
            torch.einsum("ion,on->ni", grad_gains, C.conj()),  # (N, H in)
            torch.einsum("ion,ni->on", grad_gains, B.conj()),  # (H out, N)
        )


def _gains(B: Tensor, C: Tensor) -> Tensor:
    """Return what turns powers of λ, as pairs of reals, into K: (2N, H in · H out)."""
    gains = B.T[:, None, :] * C  # (H in, H out, N)
    return _pairs(gains.conj().flatten(0, 1)).T


def _drive(
    u: Tensor, into: Tensor, decay: Tensor, before: Tensor, x: Tensor, *, reverse: bool = False
) -> Tensor:
    """Write the states of (T, batch, H) inputs into x, (T, batch, 2N); return a view of the last one."""
    torch.mm(_rows(u), into, out=_rows(x))
    return _scan_in_place(_complex(x), decay, before, reverse=reverse)


def _scan_in_place(x: Tensor, decay: Tensor, before: Tensor | None, *, reverse: bool = False) -> Tensor:
    """Add decay · x[t−1] to x[t] from the first step on, or decay · x[t+1] from the last step back.

    In C where the run is bound to it (c_kernels/complex_scan.c). Else many states per step: a call per step.
    Few, or on another device than the CPU: chunks of `CHUNK` steps are scanned side by side, then the chunks'
    ends in the same way with λ^CHUNK for λ, and step j of every chunk gets λ^j times the end before it: calls
    grow as log L. Steps that fill no chunk follow one by one.

    Parameters
    ----------
    x : (L, M) complex
    decay : (M,) complex
    before : (M,) complex or None
        State before the first step, or after the last one when in reverse.

    Returns
    -------
    last : (M,) complex
        A view of the last state reached.
    """
    if scan_choice.in_c(x):
        return scan_in_place(x, decay, before, reverse)
    length, size = x.shape
    if before is not None:
        x[-1 if reverse else 0].addcmul_(decay, before)
    if length >= 4 * CHUNK and (size < STEP_STATES or x.device.type != "cpu"):
        rest = length % CHUNK
        _scan_chunks(x[rest:] if reverse else x[: length - rest], decay, reverse)
        x = x[: rest + 1] if reverse else x[length - rest - 1 :]  # the last step done and those left
    steps = _ordered(x.unbind(0), reverse)
    for previous, step in pairwise(steps):
        step.addcmul_(decay, previous)
    return steps[-1]


def _scan_chunks(x: Tensor, decay: Tensor, reverse: bool) -> None:
    """Scan (L, M) in place, for L a multiple of `CHUNK`."""
    chunks = x.view(-1, CHUNK, x.shape[1])  # (L/CHUNK, CHUNK, M)
    steps = _ordered(chunks.unbind(1), reverse)  # (L/CHUNK, M) each
    for previous, step in pairwise(steps):
        step.addcmul_(decay, previous)
    powers = _powers(decay, CHUNK + 1)[1:]  # (CHUNK, M) λ^1 … λ^CHUNK
    _scan_in_place(steps[-1], powers[-1], None, reverse=reverse)
    if reverse:
        chunks[:-1, 1:].addcmul_(powers[:-1].flip(0), chunks[1:, :1])
    else:
        chunks[1:, :-1].addcmul_(powers[:-1], chunks[:-1, -1:])


def _powers(base: Tensor, count: int) -> Tensor:
    """Return base^0 … base^(count−1), (count, N), by doubling: exact at 0, and no logarithm."""
    table = base.new_empty(count, base.shape[0])
    table[0] = 1.0
    done, factor = 1, base
    while done < count:
        more = min(done, count - done)
        torch.mul(table[:more], factor, out=table[done : done + more])
        done, factor = done + more, factor * factor
    return table


def _transform(rows: Tensor, points: int) -> Tensor:
    """Return FFT of (K, L) in time, (F, K): products of transforms want one frequency after the other."""
    return torch.fft.rfft(rows, n=points).T.contiguous()


def _inverse(x_hat: Tensor, points: int, length: int) -> Tensor:
    """Return the first steps, (J, K, length), of what has the transform (F, J, K)."""
    return torch.fft.irfft(x_hat.flatten(1).T, n=points)[:, :length].unflatten(0, x_hat.shape[1:])


def _blocks(u: Tensor, decay: Tensor) -> list[slice]:
    """Return blocks of time: what fits the cache of a CPU, everything elsewhere."""
    length, states = u.shape[0], decay.shape[0]
    block = BLOCK_STATES if states >= STEP_STATES else 2 * BLOCK_STATES
    size = length if u.device.type != "cpu" else max(1, block // states)
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def _states_of(length: int, u: Tensor, decay: Tensor) -> Tensor:
    """Return memory for a number of steps of states, (length, batch, 2N)."""
    return u.new_empty(length, u.shape[1], 2 * decay.shape[0] // u.shape[1])


def _pairs(matrix: Tensor) -> Tensor:
    """Map (H, N) complex to (H, 2N) real, each real part followed by its imaginary part."""
    return torch.view_as_real(matrix.resolve_conj()).reshape(matrix.shape[0], -1)


def _rows(x: Tensor) -> Tensor:
    """Map (T, batch, K) to (T·batch, K), the same memory."""
    return x.view(-1, x.shape[-1])


def _complex(x: Tensor) -> Tensor:
    """Map (T, batch, 2N) real to (T, batch·N) complex, the same memory."""
    return torch.view_as_complex(x.view(x.shape[0], x.shape[1] * x.shape[2] // 2, 2))


def _conjugate(pairs: Tensor) -> Tensor:
    """Map (..., 2N) real to the conjugate (..., N) complex."""
    return torch.view_as_complex(pairs.contiguous().unflatten(-1, (-1, 2))).conj().resolve_conj()


def _ordered(steps: tuple[Tensor, ...], reverse: bool) -> tuple[Tensor, ...]:
    return steps[::-1] if reverse else steps
