"""S5, a diagonal layer whose channels share states (Smith, Warrington, Linderman 2023, arXiv 2208.04933).

x[t] = λ ∘ x[t−1] + B̄ u[t],   y[t] = 2 Re(C x[t]) + D ∘ u[t]
A = −exp(A_re_log) + i A_im,   λ = exp(Δ A),   B̄ = (λ − 1) / A ∘ B,   Δ = exp(log_dt)        for every state
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from trainer.recurrences.diagonal import FORMS, Form, choose_form, lru_recurrence
from trainer.recurrences.zero_order_hold import hold, poles
from trainer.reduction import s5_reduction
from trainer.reduction.hankel import DiagonalSystem
from trainer.reduction.method import BALANCED, Method
from trainer.reduction.reducible import Arrays, FloatArray, RankTable
from trainer.reduction.s5_reduction import S5Reduction


class S5(nn.Module):
    """S5 with H inputs, H outputs and N stored modes, every mode one of a conjugate pair.

    Stable for every value of its parameters: Re A < 0. At the start A, B and C are those of a real system of
    2N states, the normal part of HiPPO-LegS, in the coordinates of its eigenvectors.

    Parameters
    ----------
    width : int
        Channels H.
    state_dim : int
        Stored modes N at the start: a real state of 2N.
    dt_min, dt_max : float
        Bounds of Δ at the start, log-uniform over states, 0 < dt_min <= dt_max.
    form : str
        "scan", "kernel", or "auto" for the cheaper one at the shape at hand.
    method : Method
        Which states a cut keeps.

    Raises
    ------
    ValueError
        If an argument is outside these limits.
    """

    importance = "hsv"
    ssm_parameters = ("log_dt", "A_re_log", "A_im", "B_re", "B_im")
    """Parameters of the optimizer's group without weight decay and with its own learning rate."""
    forms = ("auto", *FORMS)

    def __init__(
        self,
        width: int,
        state_dim: int,
        *,
        dt_min: float = 1e-3,
        dt_max: float = 1e-1,
        form: str = "auto",
        method: Method = BALANCED,
    ) -> None:
        super().__init__()
        if width < 1 or state_dim < 1:
            raise ValueError(f"width and state_dim must be at least 1; they are {width} and {state_dim}")
        if not 0.0 < dt_min <= dt_max < math.inf:
            raise ValueError(f"0 < dt_min <= dt_max is required; they are {dt_min} and {dt_max}")
        if form not in self.forms:
            raise ValueError(f"form is {form!r}; allowed are {', '.join(self.forms)}")
        self.form, self.method = form, method
        self.form_used: Form | None = None
        """Form of the last forward pass."""
        self.form_kept: Form | None = None
        """Form of "auto" until the next cut, for all shapes: see `Session.settle_forms`."""
        frequencies, vectors = legs_modes(state_dim)  # (N,), (2N, N)
        B = vectors.mH @ (torch.randn(2 * state_dim, width) / math.sqrt(width)).to(vectors.dtype)  # (N, H)
        C = (torch.randn(width, 2 * state_dim) / math.sqrt(2 * state_dim)).to(vectors.dtype) @ vectors
        low, high = math.log(dt_min), math.log(dt_max)
        self.log_dt = nn.Parameter(low + torch.rand(state_dim) * (high - low))  # (N,)
        self.A_re_log = nn.Parameter(torch.full((state_dim,), math.log(0.5)))  # (N,)
        self.A_im = nn.Parameter(frequencies)  # (N,)
        self.B_re, self.B_im = (nn.Parameter(part.clone()) for part in (B.real, B.imag))  # (N, H)
        self.C_re, self.C_im = (nn.Parameter(part.clone()) for part in (C.real, C.imag))  # (H, N)
        self.D = nn.Parameter(torch.randn(width))  # (H,)

    @property
    def width(self) -> int:
        """Channels H."""
        return self.D.shape[0]

    @property
    def state_dim(self) -> int:
        """Stored modes now, N."""
        return self.A_im.shape[0]

    def modes(self) -> tuple[Tensor, Tensor, Tensor]:
        """λ (N,), B̄ (N, H) and 2 C (H, N), complex and differentiable: y = Re(2 C x) + D ∘ u."""
        logarithms, gain = hold(poles(self.A_re_log, self.A_im), self.log_dt.exp())  # (N,) each
        B = gain[:, None] * torch.complex(self.B_re, self.B_im)  # (N, H)
        return logarithms.exp(), B, 2.0 * torch.complex(self.C_re, self.C_im)

    def system(self) -> tuple[Tensor, Tensor, Tensor]:
        """λ (2N,), B (2N, H), C (H, 2N) with the partners of all modes, so that y = C x is the real map."""
        eigenvalues, B, C = self.modes()
        both = torch.cat((eigenvalues, eigenvalues.conj()))  # (2N,)
        return both, torch.cat((B, B.conj())), 0.5 * torch.cat((C, C.conj()), dim=1)

    @torch.compiler.disable  # nothing here but the recurrence and its complex parameters
    def forward(self, u: Tensor) -> Tensor:
        """(batch, L, H) to (batch, L, H)."""
        self.form_used = self.form_for(*u.shape[:2])
        y = lru_recurrence(u, *self.modes(), self.form_used)  # (batch, L, H)
        return torch.addcmul(y, self.D, u)  # (batch, L, H)

    def step(self, u: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One step, (batch, H) to (batch, H), and the next state (batch, N); None is the state 0."""
        eigenvalues, B, C = self.modes()
        driven = u.to(B.dtype) @ B.T  # (batch, N)
        state = driven if state is None else torch.addcmul(driven, eigenvalues, state)  # (batch, N)
        return (state @ C.T).real + self.D * u, state

    def extra_repr(self) -> str:
        return f"width={self.width}, state_dim={self.state_dim}, method={self.method.name!r}"

    def form_for(self, batch: int, length: int) -> Form:
        """What was asked for; else what is kept, at any shape; else what is cheaper at this one."""
        if self.form == "auto":
            return self.form_kept or choose_form(batch, length, self.width, self.state_dim)
        return "scan" if self.form == "scan" else "kernel"

    # What makes the layer Reducible: each answer is one function of trainer/reduction/s5_reduction.py.

    def extract(self) -> Arrays:
        """The layer's parameters as float64 arrays, by name."""
        return {name: p.detach().cpu().double().numpy().copy() for name, p in self.named_parameters()}

    def spectrum(self, system: Arrays) -> FloatArray:
        """Hankel singular values of the real map, the two of a stored mode added."""
        return s5_reduction.spectrum(system)

    def propose(self, system: Arrays) -> RankTable:
        """What every rank would mean."""
        return s5_reduction.propose(system, self.method)

    def reduce(self, system: Arrays, rank: int) -> S5Reduction:
        """The layer with exactly so many stored modes."""
        return s5_reduction.reduce(system, rank, self.method)

    def write_back(self, reduction: S5Reduction) -> None:
        """Replace the parameters of the modes by those of the reduction; D stays."""
        self.form_kept = None
        for name in s5_reduction.MODE_PARAMETERS:
            old = getattr(self, name)
            new = torch.as_tensor(reduction.parameters[name], dtype=old.dtype, device=old.device)
            setattr(self, name, nn.Parameter(new, requires_grad=old.requires_grad))

    def transport_moments(
        self, reduction: S5Reduction, first: Arrays, second: Arrays
    ) -> tuple[Arrays, Arrays]:
        """Adam's moments in the coordinates of the reduction; called before `write_back`."""
        return s5_reduction.transport_moments(self.extract(), reduction, first, second)

    def verify(self, reduction: S5Reduction) -> float:
        """Relative error between the layer now and the dense reduced system."""
        return s5_reduction.verify(self.extract(), reduction)

    def inspect(self, system: Arrays, reduction: S5Reduction, earlier: Arrays | None) -> dict[str, Any]:
        """Responses, gain, error interval and stability of the layer's real map."""
        return s5_reduction.inspect(system, reduction, earlier)

    def realisation(self, system: Arrays) -> DiagonalSystem:
        """The real map as a diagonal system of order 2N."""
        return s5_reduction.real_map(system)


def legs_modes(state_dim: int) -> tuple[Tensor, Tensor]:
    """Imaginary parts of N eigenvalues −½ + iω, ω > 0, of HiPPO-LegS's normal part, and their eigenvectors.

        A_nk = −√(2n+1) √(2k+1) for n > k, −(n+1) for n = k;   A + P Pᵀ = −½ + skew,   P_n = √(n + ½)

    of order 2N (Gu et al. 2022, arXiv 2206.11893, sec. 4). The other eigenvalues are the conjugates.

    Returns
    -------
    frequencies : (N,) float32, ascending
    vectors : (2N, N) complex64, orthonormal
    """
    root = torch.sqrt(2.0 * torch.arange(2 * state_dim, dtype=torch.float64) + 1.0)  # (2N,)
    half = 0.5 * torch.outer(root, root)  # (2N, 2N)
    skew = torch.triu(half, 1) - torch.tril(half, -1)  # (2N, 2N)
    frequencies, vectors = torch.linalg.eigh(torch.complex(torch.zeros_like(skew), -skew))
    return frequencies[state_dim:].float(), vectors[:, state_dim:].to(torch.complex64)
