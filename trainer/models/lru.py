"""temporary"""
import math
import torch
from torch import nn
from trainer.reduction.lru_reduction import LruReduction
from trainer.reduction.reducible import Arrays, FloatArray, RankTable
from trainer.reduction import lru_reduction


def lru_kernel(u, eigenvalues, B, C):
    L = u.shape[1]
    powers = torch.exp(torch.log(eigenvalues)[:, None] * torch.arange(L))  # (N, L)
    CB = torch.einsum("on,ni->oin", C, B)
    K = torch.einsum("oin,nl->oil", CB, powers).real
    U = torch.fft.rfft(u, 2 * L, dim=1)
    Kf = torch.fft.rfft(K, 2 * L, dim=2)
    return torch.fft.irfft(torch.einsum("bfi,oif->bfo", U, Kf), 2 * L, dim=1)[:, :L]


class LRU(nn.Module):
    importance = "hsv"
    ssm_parameters = ("nu_log", "theta_log", "gamma_log", "B_re", "B_im")

    def __init__(self, width, state_dim, *, r_min=0.9, r_max=0.999, max_phase=2 * math.pi, form="auto"):
        super().__init__()
        N, H = state_dim, width
        u1, u2 = torch.rand(N), torch.rand(N)
        nu = -0.5 * torch.log(u1 * (r_max**2 - r_min**2) + r_min**2)
        self.nu_log = nn.Parameter(torch.log(nu))
        self.theta_log = nn.Parameter(torch.log(max_phase * u2))
        self.gamma_log = nn.Parameter(0.5 * torch.log1p(-torch.exp(-2 * nu)))
        self.B_re = nn.Parameter(torch.randn(N, H) / math.sqrt(2 * H))
        self.B_im = nn.Parameter(torch.randn(N, H) / math.sqrt(2 * H))
        self.C_re = nn.Parameter(torch.randn(H, N) / math.sqrt(N))
        self.C_im = nn.Parameter(torch.randn(H, N) / math.sqrt(N))
        self.D = nn.Parameter(torch.randn(H))
        self.form_used = "kernel"

    @property
    def state_dim(self):
        return len(self.nu_log)

    def forward(self, u):
        lam = torch.exp(torch.complex(-torch.exp(self.nu_log), torch.exp(self.theta_log)))
        B = torch.exp(self.gamma_log)[:, None] * torch.complex(self.B_re, self.B_im)
        return lru_kernel(u, lam, B, torch.complex(self.C_re, self.C_im)) + self.D * u

    # What makes the layer Reducible: each answer is one function of trainer/reduction/lru_reduction.py.

    def extract(self) -> Arrays:
        """The layer's parameters as float64 arrays, by name."""
        return {name: p.detach().double().cpu().numpy().copy() for name, p in self.named_parameters()}

    def spectrum(self, system: Arrays) -> FloatArray:
        """Hankel singular values for monitoring."""
        return lru_reduction.spectrum(system)

    def propose(self, system: Arrays) -> RankTable:
        """What every rank would mean."""
        return lru_reduction.propose(system)

    def reduce(self, system: Arrays, rank: int) -> LruReduction:
        """The layer at exactly this rank."""
        return lru_reduction.reduce(system, rank)

    def write_back(self, reduction: LruReduction) -> None:
        """Replace the parameters by those of the reduction."""
        for name, values in reduction.parameters.items():
            old = getattr(self, name)
            if old.shape != values.shape or name != "D":
                new = torch.as_tensor(values, dtype=old.dtype, device=old.device)
                setattr(self, name, nn.Parameter(new, requires_grad=old.requires_grad))

    def transport_moments(
        self, reduction: LruReduction, first: Arrays, second: Arrays
    ) -> tuple[Arrays, Arrays]:
        """Adam's moments in the coordinates of the reduction; called before `write_back`."""
        return lru_reduction.transport_moments(self.extract(), reduction, first, second)

    def verify(self, reduction: LruReduction) -> float:
        """Relative error between the layer now and the dense reduced system."""
        return lru_reduction.verify(self.extract(), reduction)
