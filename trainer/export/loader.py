"""Loads the model beside this file. Needs torch and safetensors, nothing else.

    model = load(folder)              # folder: where config.json, model.safetensors and mixer.py lie
    logits = model(x)                 # x: (batch, length, channels); tokens in one channel

    logits, state = model.step(x[:, 0])           # or step by step, in memory that does not grow
    logits, state = model.step(x[:, 1], state)

Logits are (batch, classes), of the whole sequence or of what was seen so far. Where the model answers at each
step (pooling "none") they are (batch, length, classes), and `step` gives those of its step. Call it under
torch.no_grad() where no gradients are wanted: they remember all steps. Of a text, token i, among inputs and
logits, is the character config["alphabet"][i] of config.json.
"""

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import embedding, gelu, glu, layer_norm, linear

CONSTANT = ("running_mean", "running_var", "num_batches_tracked")
"""Ends of the names of tensors that are not trained; those of the layer are in CONSTANT of mixer.py."""


class Model(nn.Module):
    """Residual blocks of a sequence layer; its names of tensors are those of model.safetensors.

        h = encoder(x),   h ← h + gated(mixer(norm(h))) in every block,   logits = head(h or its mean so far)

    Parameters
    ----------
    tensors : dict of str to Tensor
    mixer : module
        mixer.py: its `step` takes the layer's tensors, the input (batch, H) and the states before, and
        returns the output and the states after.
    layers : int
    pooling : str
        "mean" over all steps, "masked": over those where not all channels are 0; "none": every step answers.
    """

    encoder: Any
    blocks: Any
    head: Any

    def __init__(self, tensors: dict[str, Tensor], mixer: ModuleType, *, layers: int, pooling: str) -> None:
        super().__init__()
        self.mixer_step, self.layers, self.pooling = mixer.step, layers, pooling
        constant = (*CONSTANT, *getattr(mixer, "CONSTANT", ()))
        for name, tensor in tensors.items():
            _plant(self, name, tensor, trained=not name.endswith(constant))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of sequences (batch, L, channels)."""
        state, answers = None, []
        for now in x.unbind(1):
            logits, state = self.step(now, state)
            answers.append(logits)
        return torch.stack(answers, 1) if self.pooling == "none" else answers[-1]

    def step(self, x: Tensor, state: list[Any] | None = None) -> tuple[Tensor, list[Any]]:
        """Return logits (batch, classes) after one step more, x (batch, channels), and the next state."""
        total, steps, *states = state or [0.0, 0, *(() for _ in range(self.layers))]
        h = self._encoded(x)  # (batch, H)
        for i in range(self.layers):
            h, *states[i] = self._block(self.blocks.get_submodule(str(i)), h, *states[i])
        if self.pooling != "none":
            counts = self._counts(x)
            total, steps = total + counts * h, steps + counts
            h = total / steps.clamp_min(1)  # (batch, H)
        return linear(h, self.head.weight, self.head.bias), [total, steps, *states]

    def _encoded(self, x: Tensor) -> Tensor:
        if not hasattr(self.encoder, "bias"):  # a table of tokens
            return embedding(x[:, 0].long(), self.encoder.weight)
        return linear(x.to(self.encoder.weight.dtype), self.encoder.weight, self.encoder.bias)

    def _block(self, block: Any, h: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Return h (batch, H) behind a block, and the next states of its layer."""
        z, *states = self.mixer_step(block.mixer, _normalised(block, h), *states)
        if hasattr(block, "glu"):
            z = glu(linear(gelu(z), block.glu.weight, block.glu.bias))
        return h + z, *states

    def _counts(self, x: Tensor) -> Tensor:
        """Return 1 where this step counts in the mean, 0 where it is padding; (batch, 1)."""
        if self.pooling == "masked":
            return (x != 0).any(1, keepdim=True).long()
        return x.new_ones(len(x), 1, dtype=torch.long)


def load(folder: str | Path = Path(__file__).parent) -> Model:
    """Return the model of an exported folder, on the CPU, in evaluation mode."""
    folder = Path(folder).resolve()
    described = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model"]
    tensors = load_file(folder / "model.safetensors")
    mixer = _module(f"mixer_of_{folder.name}", folder / "mixer.py")
    return Model(tensors, mixer, layers=described["layers"], pooling=described["pooling"]).eval()


def _plant(module: nn.Module, name: str, tensor: Tensor, *, trained: bool) -> None:
    """Put a tensor at its dotted name: blocks.0.mixer.D is model.blocks.0.mixer.D."""
    *path, leaf = name.split(".")
    for part in path:
        if part not in dict(module.named_children()):
            module.add_module(part, nn.Module())
        module = module.get_submodule(part)
    if trained:
        module.register_parameter(leaf, nn.Parameter(tensor))
    else:
        module.register_buffer(leaf, tensor)


def _normalised(block: Any, h: Tensor) -> Tensor:
    """Normalise by the statistics of batch normalisation if there are any, else over the channels."""
    if not hasattr(block, "norm"):
        return layer_norm(h, h.shape[-1:])
    return (h - block.norm.running_mean) / torch.sqrt(block.norm.running_var + 1e-5)


def _module(name: str, file: Path) -> ModuleType:
    """Return a module by its file, so that folders of different families can be loaded side by side."""
    spec = spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
