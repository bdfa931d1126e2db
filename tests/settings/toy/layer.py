"""The layer of the toy family: real states, of which a cut keeps the loudest."""

import numpy as np
import torch
from torch import nn

from hankelboard.trainer.layers.parameters import parameters64, replace_parameters
from hankelboard.trainer.layers.sequence_layer import SequenceLayer
from hankelboard.trainer.reduction.reducible import RankTable, ReducibleLayer, check_rank
from tests.settings.toy import streaming


class Leaky(ReducibleLayer, SequenceLayer):
    """x[t] = a ∘ x[t−1] + B u[t], y = C x."""

    importance = "leak_energy"
    ssm_parameters = ("a_raw",)
    streaming = streaming

    def __init__(self, width, state_dim, *, slowest=3.0, max_phase=0.0, method=None):
        super().__init__()
        self.a_raw = nn.Parameter(torch.linspace(-1.0, slowest, state_dim))  # (N,)
        self.B = nn.Parameter(torch.randn(state_dim, width) / width)  # (N, H)
        self.C = nn.Parameter(torch.randn(width, state_dim) / state_dim)  # (H, N)

    @property
    def state_dim(self):
        return len(self.a_raw)

    def forward(self, u):
        state, outputs = None, []
        for now in u.unbind(1):
            y, state = self.step(now, state)
            outputs.append(y)
        return torch.stack(outputs, 1)

    def extract(self):
        return parameters64(self)

    def spectrum(self, system):
        return np.sort(energies(system))[::-1]

    def propose(self, system):
        hsv = self.spectrum(system)
        states = len(hsv)
        return RankTable(
            hsv=hsv,
            discarded_share=[float(hsv[rank:].sum() / hsv.sum()) for rank in range(states + 1)],
            error_bound=None,
            realisable=[rank > 0 for rank in range(states + 1)],
            condition=[1.0] * (states + 1),
            realised_modes=list(range(states + 1)),
            parameters=[rank * (1 + 2 * system["B"].shape[1]) for rank in range(states + 1)],
        )

    def reduce(self, system, rank):
        check_rank(rank, self.state_dim)
        kept = np.sort(np.argsort(-energies(system))[:rank])
        return {"kept": kept, "parameters": of_states(system, kept)}

    def write_back(self, reduction):
        replace_parameters(self, reduction["parameters"])

    def transport_moments(self, reduction, first, second):
        return of_states(first, reduction["kept"]), of_states(second, reduction["kept"])

    def verify(self, reduction):
        now, wanted = parameters64(self), reduction["parameters"]
        if any(now[name].shape != value.shape for name, value in wanted.items()):
            return float("inf")
        return max(float(np.abs(now[name] - value).max()) for name, value in wanted.items())


def energies(system):
    if not all(np.isfinite(values).all() for values in system.values()):
        raise ValueError("a parameter is not finite")
    a = 1.0 / (1.0 + np.exp(-system["a_raw"]))
    return (system["B"] ** 2).sum(1) * (system["C"] ** 2).sum(0) / (1.0 - a**2)


def of_states(values, kept):
    return {name: value[:, kept] if name == "C" else value[kept] for name, value in values.items()}
