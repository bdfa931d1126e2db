"""S4D, a diagonal system for every channel (Gu, Goel, Gupta and Ré 2022, arXiv 2206.11893).

x[t] = λ ∘ x[t−1] + u[t],   y[t] = 2 Re Σ_n ρ_n x[t]_n + D u[t]        for every channel
A = −exp(A_re_log) + i A_im,   λ = exp(Δ A),   ρ = C ∘ (λ − 1) / A,   Δ = exp(log_dt)
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from hankelboard.trainer.layers.diagonal_layer import DiagonalLayer
from hankelboard.trainer.layers.initial import log_time_steps
from hankelboard.trainer.layers.recurrences.siso import siso_convolution, siso_kernel
from hankelboard.trainer.layers.recurrences.zero_order_hold import hold, poles
from hankelboard.trainer.layers.streaming import s4d as streaming_form
from hankelboard.trainer.reduction.families import s4d_evidence, s4d_reduction
from hankelboard.trainer.reduction.families.s4d_reduction import S4dReduction, S4dSystem
from hankelboard.trainer.reduction.method import BALANCED, Method

INITS = ("lin", "inv")


class S4D(DiagonalLayer):
    """S4D with H channels and N stored modes in each, every mode one of a conjugate pair. B is 1.

    Stable for every value of its parameters: Re A < 0.

    Parameters
    ----------
    width : int
        Channels H.
    state_dim : int
        Stored modes N of each channel at the start: a real state of 2N.
    init : str
        A_n at the start: "lin" −½ + iπn, "inv" −½ + i (2N/π) (2N/(2n+1) − 1).
    dt_min, dt_max : float
        Bounds of Δ at the start, log-uniform over channels, 0 < dt_min <= dt_max.
    method : Method
        Which states a cut keeps.

    Raises
    ------
    ValueError
        If an argument is outside these limits.
    """

    note = (
        "Every channel is a system of its own with one input and one output, and needs most of its states: "
        "expect modest gains from cutting this family."
    )
    streaming = streaming_form
    ssm_parameters = ("log_dt", "A_re_log", "A_im")
    """Parameters of the optimizer's group without weight decay and with its own learning rate."""
    answers = s4d_reduction
    mode_parameters = s4d_reduction.MODE_PARAMETERS

    def __init__(
        self,
        width: int,
        state_dim: int,
        *,
        init: str = "lin",
        dt_min: float = 1e-3,
        dt_max: float = 1e-1,
        method: Method = BALANCED,
    ) -> None:
        super().__init__(method)
        if width < 1 or state_dim < 1:
            raise ValueError(f"width and state_dim must be at least 1; they are {width} and {state_dim}")
        self.log_dt = nn.Parameter(log_time_steps(width, dt_min, dt_max))  # (H,)
        self.A_re_log = nn.Parameter(torch.full((width, state_dim), math.log(0.5)))  # (H, N)
        self.A_im = nn.Parameter(_frequencies(init, state_dim).expand(width, -1).clone())  # (H, N)
        self.C_re = nn.Parameter(torch.randn(width, state_dim) / math.sqrt(2.0))  # (H, N)
        self.C_im = nn.Parameter(torch.randn(width, state_dim) / math.sqrt(2.0))  # (H, N)
        self.D = nn.Parameter(torch.randn(width))  # (H,)

    @property
    def state_dim(self) -> int:
        """Stored modes of each channel now, N."""
        return self.A_im.shape[1]

    def modes(self) -> tuple[Tensor, Tensor]:
        """Return log λ and ρ, (H, N) complex each, differentiable."""
        A = poles(self.A_re_log, self.A_im)  # (H, N)
        logarithms, gain = hold(A, self.log_dt.exp()[:, None])  # (H, N) each
        return logarithms, torch.complex(self.C_re, self.C_im) * gain

    @torch.compiler.disable  # nothing here but the recurrence and its complex parameters
    def forward(self, u: Tensor) -> Tensor:
        """Map (batch, L, H) to (batch, L, H)."""
        K = siso_kernel(*self.modes(), u.shape[1])  # (H, L)
        return torch.addcmul(siso_convolution(u, K), self.D, u)  # (batch, L, H)

    def estimate(self, system: S4dSystem) -> tuple[list[float], list[bool | None]]:
        """Return discarded shares and ranks that can be chosen, of a layer that is not to be cut."""
        return s4d_reduction.estimate(system, self.method)

    def inspect(self, system: S4dSystem, reduction: S4dReduction, earlier: Any) -> dict[str, Any]:
        """Return responses, gain and error interval of the layer's real map."""
        return s4d_evidence.inspect(system, reduction)


def _frequencies(init: str, state_dim: int) -> Tensor:
    """Return Im A_n at the start, (N,)."""
    n = torch.arange(state_dim, dtype=torch.float32)
    if init == "lin":
        return math.pi * n
    if init == "inv":
        return 2 * state_dim / math.pi * (2 * state_dim / (2 * n + 1) - 1)
    raise ValueError(f"init is {init!r}; allowed are {', '.join(INITS)}")
