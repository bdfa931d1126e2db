"""S5, a diagonal layer whose channels share states (Smith, Warrington, Linderman 2023, arXiv 2208.04933).

x[t] = λ ∘ x[t−1] + B̄ u[t],   y[t] = 2 Re(C x[t]) + D ∘ u[t]
A = −exp(A_re_log) + i A_im,   λ = exp(Δ A),   B̄ = (λ − 1) / A ∘ B,   Δ = exp(log_dt)        for every state
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from hankelboard.trainer.layers.diagonal_layer import SharedStates
from hankelboard.trainer.layers.initial import log_time_steps
from hankelboard.trainer.layers.recurrences.zero_order_hold import hold, poles
from hankelboard.trainer.layers.streaming import s5 as streaming_form
from hankelboard.trainer.reduction.families import s5_reduction
from hankelboard.trainer.reduction.families.s5_reduction import S5Reduction
from hankelboard.trainer.reduction.linear.hankel import DiagonalSystem
from hankelboard.trainer.reduction.method import BALANCED, Method
from hankelboard.trainer.reduction.reducible import Arrays


class S5(SharedStates):
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
        "scan", "kernel", "chunks", or "auto" for the cheaper one at the shape at hand.
    method : Method
        Which states a cut keeps.

    Raises
    ------
    ValueError
        If an argument is outside these limits.
    """

    streaming = streaming_form
    ssm_parameters = ("log_dt", "A_re_log", "A_im", "B_re", "B_im")
    """Parameters of the optimizer's group without weight decay and with its own learning rate."""
    answers = s5_reduction
    mode_parameters = s5_reduction.MODE_PARAMETERS

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
        super().__init__(form, method)
        if width < 1 or state_dim < 1:
            raise ValueError(f"width and state_dim must be at least 1; they are {width} and {state_dim}")
        frequencies, vectors = legs_modes(state_dim)  # (N,), (2N, N)
        B = vectors.mH @ (torch.randn(2 * state_dim, width) / math.sqrt(width)).to(vectors.dtype)  # (N, H)
        C = (torch.randn(width, 2 * state_dim) / math.sqrt(2 * state_dim)).to(vectors.dtype) @ vectors
        self.log_dt = nn.Parameter(log_time_steps(state_dim, dt_min, dt_max))  # (N,)
        self.A_re_log = nn.Parameter(torch.full((state_dim,), math.log(0.5)))  # (N,)
        self.A_im = nn.Parameter(frequencies)  # (N,)
        self.B_re, self.B_im = (nn.Parameter(part.clone()) for part in (B.real, B.imag))  # (N, H)
        self.C_re, self.C_im = (nn.Parameter(part.clone()) for part in (C.real, C.imag))  # (H, N)
        self.D = nn.Parameter(torch.randn(width))  # (H,)

    @property
    def state_dim(self) -> int:
        """Stored modes now, N."""
        return self.A_im.shape[0]

    def modes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return λ (N,), B̄ (N, H) and 2 C (H, N), complex and differentiable: y = Re(2 C x) + D ∘ u."""
        logarithms, gain = hold(poles(self.A_re_log, self.A_im), self.log_dt.exp())  # (N,) each
        B = gain[:, None] * torch.complex(self.B_re, self.B_im)  # (N, H)
        return logarithms.exp(), B, 2.0 * torch.complex(self.C_re, self.C_im)

    def system(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return λ (2N,), B (2N, H), C (H, 2N), partners of all modes included: y = C x is the real map."""
        eigenvalues, B, C = self.modes()
        both = torch.cat((eigenvalues, eigenvalues.conj()))  # (2N,)
        return both, torch.cat((B, B.conj())), 0.5 * torch.cat((C, C.conj()), dim=1)

    def estimate(self, system: Arrays) -> tuple[list[float], list[bool | None]]:
        """Return discarded shares and ranks that can be chosen, of a layer that is not to be cut."""
        return s5_reduction.estimate(system, self.method)

    def inspect(self, system: Arrays, reduction: S5Reduction, earlier: Arrays | None) -> dict[str, Any]:
        """Return responses, gain, error interval and stability of the layer's real map."""
        return s5_reduction.inspect(system, reduction, earlier)

    def realisation(self, system: Arrays) -> DiagonalSystem:
        """Return the real map as a diagonal system of order 2N."""
        return s5_reduction.real_map(system)


def legs_modes(state_dim: int) -> tuple[Tensor, Tensor]:
    """Return imaginary parts and eigenvectors of N eigenvalues −½ + iω, ω > 0, of HiPPO-LegS's normal part.

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
