"""The forward pass of training through torch.compile: what surrounds the recurrences becomes fused code."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from hankelboard.storage.errors import ConfigError

OPTIONS = {"fallback_random": True}
"""Dropout draws what it draws without compilation."""
CUDA_GRAPHS = {"triton.cudagraphs": True}
"""What torch.compile calls mode reduce-overhead, which it does not take beside other options."""
TOLERANCE, TOLERANCE_16 = 1e-4, 5e-2
"""Of the norms of logits and gradients; the second under autocast, whose roundings fused code leaves out."""


class Compiled:
    """The forward pass of a model, compiled at its first call for the state dimensions that it has then.

    Before its first call the same is computed compiled and plain. Where logits, or the gradients of a random
    combination of them, differ by more than `TOLERANCE`, a warning says so and the plain model goes on.

    It shares parameters with the model, which stays what is evaluated, cut and saved. Make a new one after a
    cut: that forgets the code of the old one, so that no shape is compiled more than once and PyTorch's limit
    of versions of a function is not reached by many cuts.

    Parameters
    ----------
    model : Module
    cuda_graphs : bool
        Record what is compiled as CUDA graphs and replay them. Recurrences stay outside.

    Raises
    ------
    ConfigError
        If there are to be CUDA graphs and the model is on another device.
    """

    def __init__(self, model: nn.Module, *, cuda_graphs: bool = False) -> None:
        self._model, self._cuda_graphs, self._compared = model, cuda_graphs, False
        self._device = next(model.parameters()).device
        if cuda_graphs and self._device.type != "cuda":
            raise ConfigError(
                f"training.cuda_graphs = true: the device is {self._device}; "
                "set training.device = cuda or training.cuda_graphs = false"
            )
        torch.compiler.reset()
        options: dict[str, Any] = {**OPTIONS, **CUDA_GRAPHS} if cuda_graphs else {**OPTIONS}
        self._forward = torch.compile(model, dynamic=False, options=options)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return logits of the model. Raise ConfigError where this machine cannot compile."""
        if not self._compared:
            self._compared = True
            if difference := self._difference(inputs):
                warnings.warn(
                    f"compiled code is not used: its {difference} of their norm from those without",
                    RuntimeWarning,
                    stacklevel=2,
                )
                self._forward = self._model
        return self._run(inputs)

    def _run(self, inputs: Tensor) -> Tensor:
        if self._cuda_graphs:
            torch.compiler.cudagraph_mark_step_begin()  # the tensors of the step before may be overwritten
        try:
            logits: Tensor = self._forward(inputs)
        except TorchDynamoException as error:
            raise _cannot_compile(error) from error
        return logits

    def _difference(self, inputs: Tensor) -> str:
        """Return what differs too much between both passes; nothing where the plain one diverged."""
        expected, actual = self._pass(self._model, inputs), self._pass(self._run, inputs)
        allowed = TOLERANCE_16 if torch.is_autocast_enabled(self._device.type) else TOLERANCE
        for name, plain, compiled in zip(("logits", "gradients"), expected, actual, strict=True):
            error = (compiled - plain).norm()
            if plain.isfinite().all() and not error <= allowed * plain.norm():
                return f"{name} differ by {error / plain.norm():.1e} (allowed are {allowed:.0e})"
        return ""

    def _pass(self, forward: Callable[[Tensor], Tensor], inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits, and all gradients of a random combination of them in one row; leaves no trace."""
        buffers = [(buffer, buffer.clone()) for buffer in self._model.buffers()]
        with (
            torch.random.fork_rng([self._device] if self._device.type == "cuda" else []),
            torch.enable_grad(),
        ):
            logits = forward(inputs).float()
            parameters = [each for each in self._model.parameters() if each.requires_grad]
            draw = torch.Generator().manual_seed(0)
            weights = torch.randn(logits.shape, generator=draw).to(logits.device)
            gradients = _gradients((logits * weights).sum(), parameters)
        for buffer, before in buffers:
            buffer.copy_(before)
        return logits.detach().clone(), gradients


def _gradients(loss: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    try:
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    except TorchDynamoException as error:
        raise _cannot_compile(error) from error
    rows = zip(gradients, parameters, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in rows])


def _cannot_compile(error: Exception) -> ConfigError:
    first = str(error).strip().splitlines()[0]
    return ConfigError(
        f"training.compile = true: PyTorch could not compile the model ({first}); install a C++ "
        "compiler (on GPUs Triton, too) or set training.compile = false"
    )
