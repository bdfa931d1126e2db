"""The Hankel nuclear norm of a model's layers as a regulariser."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hankelboard.settings.config import RegularisationConfig
from hankelboard.storage.errors import ConfigError
from hankelboard.trainer.reduction.surgery import reducible_layers
from hankelboard.trainer.training.objective.nuclear_norm import Majoriser, hankel_nuclear_norm

SYSTEM = ("eigenvalues", "B", "C")


class HankelRegulariser:
    """weight · Σσ over all layers that are linear systems, as a term of the loss.

    The majorisers are functions of the systems that they were made of: those are kept in checkpoints, so that
    a resumed run goes on with the same bounds.
    """

    def __init__(self, config: RegularisationConfig, model: nn.Module):
        self._config = config
        self._layers = [layer for _, layer in reducible_layers(model) if layer.offers("system")]
        if not self._layers:
            raise ConfigError("regularisation.hankel_nuclear: the model has no layer that is a linear system")
        self._made_of: list[tuple[Tensor, ...]] = []
        self._majorisers: list[Majoriser] = []

    def loss(self, step: int) -> Tensor:
        """Return the term at this step. Cuts make new majorisers."""
        systems = [layer.system() for layer in self._layers]
        if self._config.form == "naive":
            norms = [hankel_nuclear_norm(*system) for system in systems]
        else:
            if step % self._config.refresh == 0 or not self._fit(systems):
                self._make([tuple(part.detach().clone() for part in system) for system in systems])
            bounds = zip(self._majorisers, systems, strict=True)
            norms = [majoriser(*system) for majoriser, system in bounds]
        device = systems[0][0].device
        return self._config.hankel_nuclear * torch.stack(norms).sum().float().to(device)

    def _fit(self, systems: list[tuple[Tensor, ...]]) -> bool:
        return [len(system[0]) for system in systems] == [len(system[0]) for system in self._made_of]

    def _make(self, systems: list[tuple[Tensor, ...]]) -> None:
        self._made_of = systems
        self._majorisers = [Majoriser(*system) for system in systems]

    def state_dict(self) -> dict[str, Tensor]:
        """Return what a checkpoint keeps: λ, B and C of each layer at the last refresh, as pairs of reals."""
        return {
            f"{layer}/{name}": torch.view_as_real(part.resolve_conj()).contiguous().cpu()
            for layer, system in enumerate(self._made_of)
            for name, part in zip(SYSTEM, system, strict=True)
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` returned."""
        device = next(iter(self._layers[0].system())).device
        layers = sorted({int(name.partition("/")[0]) for name in state})
        self._make(
            [
                tuple(torch.view_as_complex(state[f"{layer}/{name}"]).to(device) for name in SYSTEM)
                for layer in layers
            ]
        )
