"""The linear recurrent unit (LRU), a diagonal state-space layer (Orvieto et al. 2023, arXiv 2303.06349).

x[t] = λ ∘ x[t−1] + B u[t],   y[t] = Re(C x[t]) + D ∘ u[t]
λ = exp(−exp(nu_log) + i exp(theta_log)),   B = exp(gamma_log) ∘ (B_re + i B_im),   C = C_re + i C_im
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from hankelboard.trainer.layers.diagonal_layer import SharedStates
from hankelboard.trainer.layers.streaming import lru as streaming_form
from hankelboard.trainer.reduction.families import lru_evidence, lru_reduction
from hankelboard.trainer.reduction.families.lru_parameters import SYSTEM_NAMES, system_from_parameters
from hankelboard.trainer.reduction.families.lru_reduction import LruReduction
from hankelboard.trainer.reduction.linear.hankel import DiagonalSystem
from hankelboard.trainer.reduction.method import BALANCED, Method
from hankelboard.trainer.reduction.reducible import Arrays


class LRU(SharedStates):
    """A linear recurrent unit with H inputs, H outputs and N complex states.

    Stable for every value of its parameters: |λ| = exp(−exp(nu_log)) < 1.

    Parameters
    ----------
    width : int
        Channels H.
    state_dim : int
        States N at the start. Later the shape of the parameters says how many there are.
    r_min, r_max : float
        Bounds of |λ| at initialisation, 0 <= r_min <= r_max < 1 and r_max > 0; |λ|² is uniform in between.
    max_phase : float
        arg λ is uniform in (0, max_phase] at initialisation, radians; 0 < max_phase <= 2π.
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
    ssm_parameters = ("nu_log", "theta_log", "gamma_log", "B_re", "B_im")
    """Parameters of the optimizer's group without weight decay and with its own learning rate."""
    answers = lru_reduction
    mode_parameters = SYSTEM_NAMES

    def __init__(
        self,
        width: int,
        state_dim: int,
        *,
        r_min: float = 0.9,
        r_max: float = 0.999,
        max_phase: float = 2.0 * math.pi,
        form: str = "auto",
        method: Method = BALANCED,
    ) -> None:
        super().__init__(form, method)
        _check_arguments(width, state_dim, r_min, r_max, max_phase)
        nu, theta = _ring(state_dim, r_min, r_max, max_phase)  # (N,)
        self.nu_log = nn.Parameter(nu.log())  # (N,)
        self.theta_log = nn.Parameter(theta.log())  # (N,)
        self.gamma_log = nn.Parameter(torch.log(-torch.expm1(-2.0 * nu)) / 2.0)  # (N,) γ = sqrt(1 − |λ|²)
        self.B_re = nn.Parameter(torch.randn(state_dim, width) / math.sqrt(2 * width))  # (N, H)
        self.B_im = nn.Parameter(torch.randn(state_dim, width) / math.sqrt(2 * width))  # (N, H)
        self.C_re = nn.Parameter(torch.randn(width, state_dim) / math.sqrt(state_dim))  # (H, N)
        self.C_im = nn.Parameter(torch.randn(width, state_dim) / math.sqrt(state_dim))  # (H, N)
        self.D = nn.Parameter(torch.randn(width))  # (H,)

    @property
    def state_dim(self) -> int:
        """States now, N."""
        return self.nu_log.shape[0]

    def modes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return λ (N,), B with γ folded in (N, H), C (H, N); complex, and differentiable."""
        eigenvalues = torch.exp(torch.complex(-self.nu_log.exp(), self.theta_log.exp()))  # (N,)
        B = self.gamma_log.exp()[:, None] * torch.complex(self.B_re, self.B_im)  # (N, H)
        return eigenvalues, B, torch.complex(self.C_re, self.C_im)

    def extra_repr(self) -> str:
        return f"width={self.width}, state_dim={self.state_dim}, form={self.form!r}"

    def estimate(self, system: Arrays) -> tuple[list[float], list[bool | None]]:
        """Return discarded shares and ranks that can be chosen, of a layer that is not to be cut."""
        return lru_reduction.estimate(system, self.method)

    def inspect(self, system: Arrays, reduction: LruReduction, earlier: Arrays | None) -> dict[str, Any]:
        """Return responses, gain, error interval and stability."""
        return lru_evidence.inspect(system, reduction, earlier)

    def realisation(self, system: Arrays) -> DiagonalSystem:
        """Return λ, B with γ folded in, and C."""
        return system_from_parameters(system)


def _ring(state_dim: int, r_min: float, r_max: float, max_phase: float) -> tuple[Tensor, Tensor]:
    """Return ν = −log|λ| and θ = arg λ, (N,) each, with λ uniform on a ring of the plane; neither is 0."""
    area, angle = 1.0 - torch.rand(2, state_dim)  # (N,) each, in (0, 1]
    squared = r_min**2 + area * (r_max**2 - r_min**2)  # (N,) |λ|²
    return -0.5 * squared.log(), max_phase * angle


def _check_arguments(width: int, state_dim: int, r_min: float, r_max: float, max_phase: float) -> None:
    if width < 1 or state_dim < 1:
        raise ValueError(f"width and state_dim must be at least 1; they are {width} and {state_dim}")
    if not 0.0 <= r_min <= r_max < 1.0 or r_max == 0.0:
        raise ValueError(f"0 <= r_min <= r_max < 1 and r_max > 0 are required; they are {r_min} and {r_max}")
    if not 0.0 < max_phase <= 2.0 * math.pi:
        raise ValueError(f"max_phase must be in (0, 2π]; it is {max_phase}")
