"""The seam: what loop, evidence, checkpoints and pages know of a layer that can be reduced.

`Reducible` is what any layer has to answer: its importance, its state dimension and seven methods. A layer
may answer more: `ReducibleLayer` lists that, with defaults, and families inherit from it. A user's layer need
not; `with_defaults` gives its class what is missing. Nothing outside a family asks a layer for more.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

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
    """Σ_{i>r} importance_i / Σ importance; where states depend on data, measured on other sequences."""
    error_bound: list[float] | None
    """2 Σ_{i>r} σ_i of the order that is cut, with what rounding adds, where the family has such a bound."""
    realisable: list[bool | None]
    """Whether the rank can be written back; None = not checked, cannot be chosen. [0] is always False."""
    condition: list[float | None]
    """Condition number of the change to modal coordinates; None where not checked."""
    realised_modes: list[int]
    """Stored modes at each rank (differs from r where conjugate pairs are stored once)."""
    parameters: list[int]
    """Numbers in the layer's parameters at each rank, trained or not: a map inserted by a cut counts."""


@runtime_checkable
class Reducible(Protocol):
    """A layer whose state dimension can be cut while it trains."""

    @property
    def importance(self) -> str:
        """What a tolerance is a share of, by the name of its words (`hankelboard.settings.importances`)."""

    @property
    def state_dim(self) -> int:
        """The number of states now, N."""

    def extract(self) -> Any:
        """Return a float64 copy of the system that the reduction works on; opaque to all callers.

        Raise ValueError when it needs statistics (`ReducibleLayer.observing`) and has none.
        """

    def spectrum(self, system: Any) -> FloatArray:
        """Return importances to watch, descending; may be cheaper and less precise than a proposal's."""

    def propose(self, system: Any) -> RankTable:
        """Return the consequences of every rank. Raise ValueError when there can be no cut."""

    def reduce(self, system: Any, rank: int) -> Any:
        """Return the reduced system at exactly this rank. Raise ValueError when it cannot be realised."""

    def write_back(self, reduction: Any) -> None:
        """Replace the layer's parameters by those of the reduction: new Parameters, never written in place.

        Not called `apply`: that is nn.Module's own.
        """

    def transport_moments(self, reduction: Any, first: Arrays, second: Arrays) -> tuple[Arrays, Arrays]:
        """Return Adam's moments, by parameter name, in the coordinates of the reduction.

        Called before `write_back`, with bias-corrected averages of the gradient and of its square, for all
        parameters of the layer; so a family may compare the two.
        """

    def verify(self, reduction: Any) -> float:
        """Return the relative error between the layer as written back and the dense reduced system."""


class ReducibleLayer:
    """A layer whose state dimension can be cut: what it has to answer, and defaults of what it may answer.

    A mixin for torch modules, without torch. `offers` says whether a layer answers more than by default.
    """

    monitored: str = ""
    """Importance that `spectrum` returns, where it is another one."""
    note: str = ""
    """One sentence that people should read beside every cut of this kind of layer."""
    ssm_parameters: tuple[str, ...] = ()
    """Parameters that are trained at the state-space learning rate and without weight decay."""
    form_kept: str | None = None
    """Form of the recurrence until the next cut, see `form_for`. None: not chosen."""

    @property
    def importance(self) -> str:
        """See `Reducible`."""
        raise NotImplementedError

    @property
    def state_dim(self) -> int:
        """See `Reducible`."""
        raise NotImplementedError

    def extract(self) -> Any:
        """See `Reducible`."""
        raise NotImplementedError

    def spectrum(self, system: Any) -> FloatArray:
        """See `Reducible`."""
        raise NotImplementedError

    def propose(self, system: Any) -> RankTable:
        """See `Reducible`."""
        raise NotImplementedError

    def reduce(self, system: Any, rank: int) -> Any:
        """See `Reducible`."""
        raise NotImplementedError

    def write_back(self, reduction: Any) -> None:
        """See `Reducible`."""
        raise NotImplementedError

    def transport_moments(self, reduction: Any, first: Arrays, second: Arrays) -> tuple[Arrays, Arrays]:
        """See `Reducible`."""
        raise NotImplementedError

    def verify(self, reduction: Any) -> float:
        """See `Reducible`."""
        raise NotImplementedError

    def observing(self) -> AbstractContextManager[None]:
        """Measure states on training sequences: what forward passes meanwhile compute is for `extract`.

        Of layers whose states depend on data. Statistics are no parameters or buffers; beginning again and
        `write_back` forget them. By default nothing is measured, and `extract` needs nothing.
        """
        return nullcontext()

    def holding_out(self) -> AbstractContextManager[None]:
        """Judge on other sequences what a choice costs: forward passes meanwhile are for `propose`.

        After `observing`, to whose sequences the choice is fitted. By default there is nothing to judge.
        """
        return nullcontext()

    def from_states(self, inputs: Any, outputs: Any) -> Any:
        """Return the part of the outputs that comes from states: what an error of a cut is relative to.

        Torch tensors. The default is all of them; a direct term, which no cut touches, is subtracted.
        """
        return outputs

    def estimate(self, system: Any) -> tuple[list[float], list[bool | None]]:
        """Return `discarded_share` and `realisable` of a RankTable, of a layer that is not to be cut.

        A layer whose `propose` takes long may compute them from fewer digits or a part of the layer, if that
        says the same. The default is what `propose` says.
        """
        table = self.propose(system)
        return table.discarded_share, table.realisable

    def inspect(self, system: Any, reduction: Any, earlier: Any | None) -> dict[str, Any]:
        """Return figures for people, on which nothing else depends: none by default.

        Of the keys gain, error_interval, response and stability those that the family knows (see
        trainer/reduction/families/lru_evidence.py). `earlier` is a system extracted at the last snapshot.
        """
        return {}

    def realisation(self, system: Any) -> Any:
        """Return the `hankelboard.trainer.reduction.linear.hankel.DiagonalSystem` that a system is.

        Of linear time-invariant layers, for analyses.
        """
        raise NotImplementedError

    def system(self) -> Any:
        """Return λ (N,), B (N, H) with any normalisation folded in, and C (M, N): complex torch tensors.

        Of layers that are diagonal linear systems, for the regulariser: differentiable.
        """
        raise NotImplementedError

    def form_for(self, batch: int, length: int) -> str | None:
        """Return the form of the recurrence at this shape: `form_kept` where it is set.

        Of layers that choose between forms, which round differently: a run keeps the form that it began with.
        """
        return None

    @classmethod
    def offers(cls, name: str) -> bool:
        """Return whether the class has a method of its own in place of the default of this name."""
        return getattr(cls, name, None) is not getattr(ReducibleLayer, name)


OPTIONAL = tuple(name for name in vars(ReducibleLayer) if name[0] != "_" and name not in vars(Reducible))
"""What `Reducible` does not ask for."""


def with_defaults(layer: Reducible) -> ReducibleLayer:
    """Return the layer itself, after its class was given the defaults of what it does not answer.

    So the layer of a user's that knows nothing of `ReducibleLayer` is asked like any other.
    """
    if not isinstance(layer, ReducibleLayer):
        for name in OPTIONAL:
            if not hasattr(layer, name):
                setattr(type(layer), name, vars(ReducibleLayer)[name])
    return cast(ReducibleLayer, layer)
