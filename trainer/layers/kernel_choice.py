"""Layers whose recurrence is ours in PyTorch, or a kernel that agrees: ours in C, or of a package."""

from torch import Tensor, nn

from hankelboard.trainer.layers.recurrences import installed_kernels
from hankelboard.trainer.layers.recurrences.installed_kernels import Kernels
from hankelboard.trainer.layers.recurrences.precision import recurrence
from hankelboard.trainer.reduction.reducible import ReducibleLayer


class KernelChoice(ReducibleLayer, nn.Module):
    """Mixin of a layer: `computed` is its recurrence, by what `form_for` names."""

    kernels: Kernels

    def kernel_sizes(self) -> tuple[int, ...]:
        """Return sizes that a kernel is compared at."""
        raise NotImplementedError

    def form_for(self, batch: int, length: int) -> str:
        """Return the form kept, else the kernel where one agrees, or "own"; ConfigError if it is lost."""
        device = next(self.parameters()).device
        return installed_kernels.choose(self.kernels, self.form_kept, device, self.kernel_sizes())

    @recurrence
    def computed(self, *parts: Tensor) -> Tensor:
        """Return output of the recurrence; arguments as ours takes them."""
        return installed_kernels.compute(self.kernels, self.form_for(*parts[0].shape[:2]), parts)
