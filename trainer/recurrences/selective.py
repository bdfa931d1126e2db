"""The recurrence of a selective state-space layer (Mamba-1; Gu and Dao 2023, arXiv 2312.00752).

    h[t] = exp(Δ[t] A) ∘ h[t−1] + (Δ[t] ∘ x[t]) B[t]ᵀ,   h[−1] = 0,   y[t] = h[t] C[t]

h is (D, N): N states in each of D channels. Δ and x are per channel, B and C shared by all channels; A < 0 is
(D, N). Two forms of one map, on any device, in single or double precision: `selective_sequential`, the
equation as it stands and the reference of the tests, and `selective_scan`, in blocks of time with its own
backward pass, which keeps the states at the beginning of each block and computes the others again.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

BLOCK_STATES = 1 << 19
"""States of all channels, sequences and steps of a block: 2 MiB in single precision."""


def selective_sequential(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The system, one step after the other. Arguments as `selective_scan`."""
    h = x.new_zeros(*x.shape[::2], A.shape[1])  # (batch, D, N)
    outputs = []
    for t in range(x.shape[1]):
        h, y = selective_step(h, x[:, t], delta[:, t], A, B[:, t], C[:, t])
        outputs.append(y)
    return torch.stack(outputs, dim=1)  # (batch, L, D)


def selective_step(
    h: Tensor, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor
) -> tuple[Tensor, Tensor]:
    """State (batch, D, N) and one step of the inputs, without time, to the next state and y (batch, D)."""
    decay = torch.exp(delta[..., None] * A)  # (batch, D, N)
    h = decay * h + (delta * x)[..., None] * B[:, None]  # (batch, D, N)
    return h, (h @ C[..., None])[..., 0]


def selective_scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Output of the system by a scan in blocks of time, with a backward pass of its own.

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
    y: Tensor = _Scan.apply(x, delta, A, B, C)
    return y


def selective_states(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """Block by block: its steps, its states h, its decays a and its inputs b, (T, batch, D, N) each."""
    h = x.new_zeros(*x.shape[::2], A.shape[1])  # (batch, D, N)
    for steps in _blocks(x, A):
        a, b = _discretised(x, delta, A, B, steps)
        states = _forward(a, b, h)
        h = states[-1].clone()
        yield steps, states, a, b


def _blocks(x: Tensor, A: Tensor) -> list[slice]:
    batch, length, channels = x.shape
    size = max(1, BLOCK_STATES // (batch * channels * A.shape[1]))
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def _discretised(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, steps: slice) -> tuple[Tensor, Tensor]:
    """Decays and inputs of a block, (T, batch, D, N) each."""
    d = delta[:, steps].transpose(0, 1)  # (T, batch, D)
    driven = d * x[:, steps].transpose(0, 1)  # (T, batch, D)
    a = (d[..., None] * A).exp_()
    return a, driven[..., None] * B[:, steps].transpose(0, 1)[:, :, None]


def _forward(a: Tensor, b: Tensor, h: Tensor) -> Tensor:
    """All states of a block that begins with state h: one call per step."""
    states = torch.empty_like(b)
    for a_t, b_t, out in zip(a.unbind(0), b.unbind(0), states.unbind(0), strict=True):
        torch.addcmul(b_t, a_t, h, out=out)
        h = out
    return states


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        y = torch.empty_like(x)
        begins = []
        h = x.new_zeros(*x.shape[::2], A.shape[1])
        for steps in _blocks(x, A):
            begins.append(h)
            states = _forward(*_discretised(x, delta, A, B, steps), h)
            y[:, steps] = _read(states, C[:, steps].transpose(0, 1)).transpose(0, 1)
            h = states[-1].clone()
        ctx.save_for_backward(x, delta, A, B, C, *begins)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, ...]:
        x, delta, A, B, C, *begins = ctx.saved_tensors
        dx, ddelta, dB, dC = (torch.empty_like(part) for part in (x, delta, B, C))
        dA = torch.zeros_like(A)
        later = torch.zeros_like(begins[0])  # a[t+1] ∘ g[t+1], (batch, D, N)
        for steps, h in zip(reversed(_blocks(x, A)), reversed(begins), strict=True):
            d, x_t, dy_t, B_t, C_t = (part[:, steps].transpose(0, 1) for part in (delta, x, dy, B, C))
            a, b = _discretised(x, delta, A, B, steps)  # (T, batch, D, N)
            states = _forward(a, b, h)
            dC[:, steps] = (dy_t[:, :, None] @ states)[:, :, 0].transpose(0, 1)
            g = dy_t[..., None] * C_t[:, :, None]  # (T, batch, D, N)
            later = _adjoint(a, g, later)
            states.sub_(b).mul_(g)  # g ∘ (h − b) = g ∘ a ∘ h[t−1]: the gradient of Δ A
            driven = _read(g, B_t)  # (T, batch, D): the gradient of Δ ∘ x
            ddelta[:, steps] = (torch.einsum("tbdn,dn->tbd", states, A) + driven * x_t).transpose(0, 1)
            dA += torch.einsum("tbdn,tbd->dn", states, d)
            dx[:, steps] = (driven * d).transpose(0, 1)
            dB[:, steps] = ((d * x_t)[:, :, None] @ g)[:, :, 0].transpose(0, 1)
        return dx, ddelta, dA, dB, dC


def _adjoint(a: Tensor, g: Tensor, later: Tensor) -> Tensor:
    """g[t] += a[t+1] ∘ g[t+1] in place, backwards; returns a[0] ∘ g[0] for the block before."""
    g[-1] += later
    for t in range(len(g) - 2, -1, -1):
        g[t].addcmul_(a[t + 1], g[t + 1])
    return a[0] * g[0]


def _read(states: Tensor, C: Tensor) -> Tensor:
    """Σ_n states[…, d, n] C[…, n], (T, batch, D)."""
    return (states @ C[..., None])[..., 0]
