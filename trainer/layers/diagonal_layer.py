"""What LRU, S4D and S5 share: layers that are diagonal linear systems, known in full by their parameters."""

from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from hankelboard.trainer.layers.parameters import parameters64, replace_parameters
from hankelboard.trainer.layers.recurrences.diagonal_forms import FORMS, Form, choose_form, lru_output
from hankelboard.trainer.layers.sequence_layer import SequenceLayer
from hankelboard.trainer.reduction.linear.kept_modes import IMPORTANCE
from hankelboard.trainer.reduction.method import BALANCED, Method
from hankelboard.trainer.reduction.reducible import Arrays, FloatArray, RankTable, ReducibleLayer


class Answers(Protocol):
    """What a module of trainer/reduction/families/ has, to answer for a `DiagonalLayer`: five functions.

    Parameters of the layer are float64 arrays by name. What else a reduction has beside its `parameters`, the
    family decides; nobody else looks into it.
    """

    def spectrum(self, parameters: Arrays, /) -> FloatArray:
        """Return the importances named by `monitored`, (N,) descending."""

    def propose(self, parameters: Arrays, method: Method, /) -> RankTable:
        """Return what every rank would mean. Raise ValueError when there can be no cut."""

    def reduce(self, parameters: Arrays, rank: int, method: Method, /) -> Any:
        """Return the layer at this rank: an object with `parameters`, those after the cut, by name.

        Rank N is the layer as it is, to the bit. Raise ValueError outside 1..N (`check_rank`).
        """

    def transport_moments(
        self, parameters: Arrays, reduction: Any, first: Arrays, second: Arrays, /
    ) -> tuple[Arrays, Arrays]:
        """Return Adam's moments after the cut, of the names that `first` and `second` have.

        `parameters` are those before the cut; second moments stay finite and at least 0.
        """

    def verify(self, parameters_now: Arrays, reduction: Any, /) -> float:
        """Return relative error of the layer as written back; inf where shapes disagree."""


class DiagonalLayer(ReducibleLayer, SequenceLayer):
    """A linear time-invariant layer with a diagonal state matrix and a direct term D ∘ u: `Reducible`.

    A subclass has a parameter D (H,), sets `answers` and `mode_parameters`, and says its `state_dim`.

    Parameters
    ----------
    method : Method
        Which states a cut keeps.
    """

    monitored = "hsv"
    """What the spectrum shows, whatever a method cuts by."""
    answers: Answers
    """The family's module in trainer/reduction/families/."""
    mode_parameters: tuple[str, ...]
    """Parameters that a cut replaces; the others stay."""
    D: nn.Parameter  # (H,)

    def __init__(self, method: Method = BALANCED) -> None:
        super().__init__()
        self.method = method

    @property
    def importance(self) -> str:
        """What a tolerance is a share of: Hankel singular values, or what the method goes by.

        A family with another importance overrides this by a property that returns its name.
        """
        return IMPORTANCE.get(self.method.name, "hsv")

    @property
    def width(self) -> int:
        """Channels H."""
        return self.D.shape[0]

    @property
    def state_dim(self) -> int:
        """States now, N: where modes are stored for conjugate pairs, those modes."""
        raise NotImplementedError

    def extract(self) -> Arrays:
        """Return the layer's parameters as float64 arrays, by name."""
        return parameters64(self)

    def spectrum(self, system: Arrays) -> FloatArray:
        """Return Hankel singular values for monitoring."""
        return self.answers.spectrum(system)

    def propose(self, system: Arrays) -> RankTable:
        """Return what every rank would mean."""
        return self.answers.propose(system, self.method)

    def reduce(self, system: Arrays, rank: int) -> Any:
        """Return the layer at exactly this rank."""
        return self.answers.reduce(system, rank, self.method)

    def write_back(self, reduction: Any) -> None:
        """Replace the parameters of the modes by those of the reduction."""
        replace_parameters(self, {name: reduction.parameters[name] for name in self.mode_parameters})

    def transport_moments(self, reduction: Any, first: Arrays, second: Arrays) -> tuple[Arrays, Arrays]:
        """Return Adam's moments in the coordinates of the reduction; called before `write_back`."""
        return self.answers.transport_moments(self.extract(), reduction, first, second)

    def verify(self, reduction: Any) -> float:
        """Return relative error between the layer now and the dense reduced system."""
        return self.answers.verify(self.extract(), reduction)

    def from_states(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """Return y − D ∘ u."""
        return outputs - self.D * inputs

    def extra_repr(self) -> str:
        return f"width={self.width}, state_dim={self.state_dim}, method={self.method.name!r}"


class SharedStates(DiagonalLayer):
    """One diagonal system for all channels: x[t] = λ ∘ x[t−1] + B u[t], y[t] = Re(C x[t]) + D ∘ u[t].

    A subclass says its `modes`, too, and its `system` where that is another one.

    Parameters
    ----------
    form : str
        "scan", "kernel", "chunks", or "auto" for the cheaper one at the shape at hand.
    method : Method
        Which states a cut keeps.

    Raises
    ------
    ValueError
        If there is no such form.
    """

    forms = ("auto", *FORMS)

    def __init__(self, form: str = "auto", method: Method = BALANCED) -> None:
        super().__init__(method)
        self.form = form
        self.form_used: Form | None = None
        """Form of the last forward pass."""

    @property
    def form(self) -> str:
        """Form asked for: auto, or one of `FORMS`."""
        return self._form

    @form.setter
    def form(self, form: str) -> None:
        if form not in self.forms:
            raise ValueError(f"form is {form!r}; allowed are {', '.join(self.forms)}")
        self._form = form

    def form_for(self, batch: int, length: int) -> Form:
        """Return what was asked for; else what is kept, at any shape; else what is cheaper at this one."""
        if self._form == "auto":
            return cast(Form | None, self.form_kept) or choose_form(batch, length, self.width, self.state_dim)
        return cast(Form, self._form)

    def modes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return λ (N,), B (N, H) and C (H, N) of the recurrence; complex, and differentiable.

        Of a real system, too: `torch.complex(part, torch.zeros_like(part))`.
        """
        raise NotImplementedError

    def system(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return λ, B and C of the whole linear map: the modes, where their partners are not left out."""
        return self.modes()

    @torch.compiler.disable  # nothing here but the recurrence and its complex parameters
    def forward(self, u: Tensor) -> Tensor:
        """Map (batch, L, H) to (batch, L, H)."""
        self.form_used = self.form_for(*u.shape[:2])
        return lru_output(u, *self.modes(), self.D, self.form_used)  # (batch, L, H)

    def write_back(self, reduction: Any) -> None:
        """Replace the parameters of the modes; the next form is chosen anew."""
        super().write_back(reduction)
        self.form_kept = None
