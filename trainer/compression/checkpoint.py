"""What a checkpoint holds and how it is restored: weights with their shapes, optimizer, generators, loop.

Nothing is ever unpickled: tensors are safetensors, the rest is JSON.
"""

import errno
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Protocol, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hankelboard.storage import atomic, opening
from hankelboard.storage.errors import CheckpointError, CheckpointMisfit
from hankelboard.storage.records import Record, read_record
from hankelboard.trainer.compression import generators
from hankelboard.trainer.compression.loop_state import LoopState
from hankelboard.trainer.reduction.reducible import Reducible

MODEL, OPTIMIZER, LOOP = "model.safetensors", "optimizer.safetensors", "loop.json"


class Stateful(Protocol):
    """An object that is saved and restored along with a model: it names its state in tensors."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """Return tensors on the CPU; empty where there is nothing to keep."""

    def load_state_dict(self, state: Mapping[str, Tensor], /) -> object:
        """Take over what `state_dict` returned."""


def write_payload(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    extras: Mapping[str, Stateful],
    state: LoopState,
) -> None:
    """Write model, optimizer, extras and loop state into a folder that is being built. Raises OSError."""
    try:
        for name, extra in extras.items():
            if tensors := extra.state_dict():
                save_file(dict(tensors), _file_of(folder, name))
        save_file(_contiguous(model.state_dict()), folder / MODEL)
        save_file(_contiguous(_optimizer_tensors(model, optimizer)), folder / OPTIMIZER)
    except SafetensorError as error:  # how that library reports a full disk
        raise OSError(errno.EIO, str(error)) from None
    atomic.replace(folder / LOOP, {"loop": asdict(state), "generators": generators.states()})


def restore_payload(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    extras: Mapping[str, Stateful],
    device: torch.device,
) -> LoopState:
    """Bring model, optimizer, extras and generators to what the checkpoint holds; return the loop state.

    Parameters take the shapes of the checkpoint: a layer that was cut since, or was not cut yet, gets its
    dimensions back. Raises CheckpointError when the checkpoint does not fit the model.
    """
    record = read_loop(folder)
    load_tensors(model, optimizer, read_tensors(folder / MODEL, device))
    _load_moments(model, optimizer, read_tensors(folder / OPTIMIZER, device))
    for name, extra in extras.items():
        if opening.is_there(file := _file_of(folder, name)):
            extra.load_state_dict(read_tensors(file, device))
    generators.restore(record["generators"])
    names = {item.name for item in fields(LoopState)}
    return LoopState(**{key: value for key, value in record["loop"].items() if key in names})


def read_loop(folder: Path) -> Record:
    """Return what a checkpoint holds of the loop. Raises CheckpointError when that cannot be read."""
    record = read_record(folder / LOOP)
    if record is None:
        raise CheckpointError(f"checkpoint {folder.name}: {LOOP} cannot be read")
    return record


def read_tensors(file: Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Return the tensors in a file of a checkpoint.

    Raises CheckpointError when it is no such file: what a link leads to is never read.
    """
    try:
        return load_file(opening.checked(file), device=str(device))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"checkpoint {file.parent.name}: {file.name} cannot be read: {error}") from None


def _file_of(folder: Path, name: str) -> Path:
    return folder / f"{name}.safetensors"


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def load_tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer | None, tensors: dict[str, Tensor]
) -> None:
    """Load parameters and buffers by name and keep the optimizer pointing at them.

    What a cut changes takes the shapes that are loaded. Raises CheckpointMisfit, with the model as before,
    when names or other shapes differ.
    """
    _check_fit(model, tensors)
    with torch.no_grad():
        for name, tensor in tensors.items():
            owner, _, leaf = name.rpartition(".")
            module = model.get_submodule(owner)
            current = getattr(module, leaf)
            if current.shape == tensor.shape:
                current.copy_(tensor)
            elif isinstance(current, nn.Parameter):
                replacement = nn.Parameter(tensor.to(current), requires_grad=current.requires_grad)
                setattr(module, leaf, replacement)
                if optimizer is not None:
                    _swap(optimizer, current, replacement)
            else:
                setattr(module, leaf, tensor.to(current))


def _check_fit(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Raise CheckpointMisfit when these tensors are of another model, cuts aside.

    Which axes of a reducible layer are states is known to its family alone: there, only their number counts.
    What surrounds it has the same width, heads and classes, and is compared in full.
    """
    own = model.state_dict()
    if own.keys() != tensors.keys():
        odd = ", ".join(sorted(own.keys() ^ tensors.keys())[:4])
        raise CheckpointMisfit(f"the checkpoint does not fit the model: {odd} on one side only")
    changed_by_cuts = {
        f"{path}.{name}" if path else name
        for path, module in model.named_modules()
        if isinstance(module, Reducible)
        for name in cast(nn.Module, module).state_dict()
    }
    for name, tensor in own.items():
        there, here = tuple(tensors[name].shape), tuple(tensor.shape)
        fits = len(there) == len(here) if name in changed_by_cuts else there == here
        if not fits:
            raise CheckpointMisfit(
                f"the checkpoint does not fit the model: {name} is {there} in the checkpoint, "
                f"{here} in the model"
            )


def _swap(optimizer: torch.optim.Optimizer, old: nn.Parameter, new: nn.Parameter) -> None:
    optimizer.state.pop(old, None)
    for group in optimizer.param_groups:
        group["params"] = [new if parameter is old else parameter for parameter in group["params"]]


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{name}/{key}"] = torch.as_tensor(value)
    return tensors


def _load_moments(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    optimizer.state.clear()
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        parameter, _, key = name.rpartition("/")
        optimizer.state[parameters[parameter]][key] = tensor
