"""The seam: what loop, evidence, checkpoints and pages know of a layer that can be reduced.

A family, one of ours (`hankelboard.trainer.layers.families`) or anybody's own layer, implements `Reducible`
on its module. Everything outside the family talks to this Protocol and to nothing else.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Arrays = Mapping[str, FloatArray]


def check_rank(rank: int, state_dim: int) -> None:
    """Raise ValueError unless 1 <= rank <= N."""
    if not 1 <= rank <= state_dim:
        raise ValueError(f"rank = {rank}: must be between 1 and the state dimension {state_dim}")


@dataclass(frozen=True, kw_only=True)
class RankTable:
    """What every rank r = 0..N of one layer would mean; index r, so all but `hsv` have N+1 entries."""

    hsv: FloatArray
    """(N,) importances of the states, descending. Hankel singular values unless the family says otherwise."""
    discarded_share: list[float]
    """Σ_{i>r} importance_i / Σ importance."""
    error_bound: list[float] | None
    """2 Σ_{i>r} σ_i where the family has such a bound, else None."""
    realisable: list[bool | None]
    """Whether the rank can be written back; None = not checked, cannot be chosen. [0] is always False."""
    condition: list[float | None]
    """Condition number of the change to modal coordinates; None where not checked."""
    realised_modes: list[int]
    """Stored modes at each rank (differs from r where conjugate pairs are stored once)."""
    parameters: list[int]
    """Numbers in the layer's parameters at each rank, trained or not: a map inserted by a cut counts."""


@runtime_checkable
class Inspectable(Protocol):
    """What a Reducible may offer besides: figures for people, on which nothing else depends."""

    def extract(self) -> Any:
        """As in Reducible."""

    def reduce(self, system: Any, rank: int) -> Any:
        """As in Reducible."""

    def inspect(self, system: Any, reduction: Any, earlier: Any | None) -> dict[str, Any]:
        """Of these keys those that the family can tell: gain, error_interval, response, stability (see
        trainer/reduction/families/lru_evidence.py). `earlier` is a system extracted at the last snapshot."""


@runtime_checkable
class Estimated(Protocol):
    """What a Reducible may offer whose `propose` takes long: what the rule looks at, of untrained layers."""

    def extract(self) -> Any:
        """As in Reducible."""

    def estimate(self, system: Any) -> tuple[list[float], list[bool | None]]:
        """`discarded_share` and `realisable` of a RankTable, as the rule of a proposal would meet them.

        From fewer digits or a part of the layer, if that says the same; nothing is checked by doing it.
        """


@runtime_checkable
class Calibrated(Protocol):
    """What a Reducible whose states depend on data asks for: training sequences to measure them on."""

    def observing(self) -> AbstractContextManager[None]:
        """While it is open, forward passes add to the statistics that `extract` gives on; what was there
        before is forgotten. Statistics are no parameters or buffers; `write_back` forgets them."""


@runtime_checkable
class Realisable(Protocol):
    """What a Reducible that is a linear time-invariant system may offer: the system itself, for analyses."""

    def extract(self) -> Any:
        """As in Reducible."""

    def realisation(self, system: Any) -> Any:
        """The `hankelboard.trainer.reduction.linear.hankel.DiagonalSystem` that a system is."""


@runtime_checkable
class LinearSystem(Protocol):
    """What a Reducible that is a diagonal linear system may offer to a loss: its differentiable matrices."""

    def system(self) -> Any:
        """λ (N,), B (N, H) with any normalisation folded in, and C (M, N): complex torch tensors."""


@runtime_checkable
class Reducible(Protocol):
    """A layer whose state dimension can be cut while it trains."""

    importance: str
    """What a tolerance is a share of: hsv, hsv_squared, output_energy or key_query_energy."""

    @property
    def state_dim(self) -> int:
        """States of the layer now, N."""

    def extract(self) -> Any:
        """Float64 copy of the system that the reduction works on; opaque to all callers.

        Raises ValueError when it needs statistics (`Calibrated`) and has none.
        """

    def spectrum(self, system: Any) -> FloatArray:
        """Importances for monitoring, descending; may be cheaper and less precise than a proposal's.

        A layer with an attribute `monitored` shows that instead, for example hsv where importances are not.
        """

    def propose(self, system: Any) -> RankTable:
        """Spectrum and consequences of every rank. Raises ValueError when no cut can be proposed.

        What people should know of every cut of this kind of layer is an attribute `note`, one sentence.
        """

    def reduce(self, system: Any, rank: int) -> Any:
        """The reduced system at exactly this rank. Raises ValueError when it cannot be realised."""

    def write_back(self, reduction: Any) -> None:
        """Replace the layer's parameters by those of the reduction: new Parameters, never written in place.

        Not called `apply`: that is nn.Module's own.
        """

    def transport_moments(self, reduction: Any, first: Arrays, second: Arrays) -> tuple[Arrays, Arrays]:
        """Adam's moments, by parameter name, carried into the coordinates of the reduction.

        Called before `write_back`, with bias-corrected averages of the gradient and of its square, for all
        parameters of the layer; so a family may compare the two.
        """

    def verify(self, reduction: Any) -> float:
        """Relative error between the layer as written back and the dense reduced system."""
