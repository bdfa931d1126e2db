"""The generators that training draws from, its own and those of people's code: Python's, NumPy's, PyTorch's.

All of them are part of a checkpoint. Measuring keeps them, so that what is measured, and how often, does not
change what is trained.
"""

import base64
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from hankelboard.storage.records import Record

SEEDS = 2**32
"""NumPy's takes a seed below this."""


def seed(number: int) -> None:
    """Begin all generators anew."""
    random.seed(number)
    np.random.seed(number % SEEDS)
    torch.manual_seed(number)


@contextmanager
def kept() -> Iterator[None]:
    """Leave no trace, in any generator, of what is drawn inside."""
    pythons, numpys, torchs = random.getstate(), np.random.get_state(), _torch_states()
    try:
        yield
    finally:
        random.setstate(pythons)
        np.random.set_state(numpys)
        _set_torch_states(torchs)


def states() -> Record:
    """Return the states of all generators as JSON."""
    version, words, gauss = random.getstate()
    name, key, position, has_gauss, cached = np.random.get_state()
    return {
        **{device: _as_text(state) for device, state in _torch_states().items()},
        "python": [version, _text(np.array(words, dtype=np.uint32)), gauss],
        "numpy": [name, _text(cast(np.ndarray, key)), position, has_gauss, cached],
    }


def restore(recorded: dict[str, Any]) -> None:
    """Set what `states` returned; a device that is not here, and what an older record lacks, stays."""
    _set_torch_states({device: _as_states(recorded[device]) for device in DEVICES if device in recorded})
    if "python" in recorded:
        version, words, gauss = recorded["python"]
        random.setstate((version, tuple(_words(words).tolist()), gauss))
    if "numpy" in recorded:
        name, key, *rest = recorded["numpy"]
        np.random.set_state((name, _words(key), *rest))


DEVICES = ("cpu", "cuda", "mps")


def _torch_states() -> dict[str, Any]:
    """Return the states by kind of device: of CUDA a list, one for each; none before it is used."""
    found: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        found["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        found["mps"] = torch.mps.get_rng_state()
    return found


def _set_torch_states(found: dict[str, Any]) -> None:
    torch.set_rng_state(found["cpu"])
    if "cuda" in found and torch.cuda.is_available():
        for index, state in enumerate(found["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(state, index)
    if "mps" in found and torch.backends.mps.is_available():
        torch.mps.set_rng_state(found["mps"])


def _as_text(state: Any) -> Any:
    return [_text(one.numpy()) for one in state] if isinstance(state, list) else _text(state.numpy())


def _as_states(recorded: Any) -> Any:
    return [_tensor(one) for one in recorded] if isinstance(recorded, list) else _tensor(recorded)


def _text(numbers: np.ndarray) -> str:
    return base64.b64encode(numbers.tobytes()).decode()


def _words(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=np.uint32)


def _tensor(text: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
