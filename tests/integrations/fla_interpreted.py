"""The real kernels of fla-core against our recurrences, on a CPU in Triton's interpreter.

`make integrations` puts fla-core, triton and einops into a folder of their own and names it in FLA_FOLDER.
What a CPU cannot show: TF32, the tile sizes that autotuning chooses, and speed. Kernels of mamba-ssm are a
CUDA extension, which no interpreter runs.
"""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

FOLDER = os.environ.get("FLA_FOLDER", "")
if not FOLDER:
    pytest.skip("FLA_FOLDER names no folder of fla-core: run make integrations", allow_module_level=True)
os.environ["TRITON_INTERPRET"] = "1"
sys.path.insert(0, FOLDER)

from hankelboard.trainer.layers.recurrences import installed_kernels as installed  # noqa: E402

SHAPES = {
    installed.SCALAR_DECAY: [
        ((1, 2, 16, 16), 100), ((1, 4, 32, 16), 64), ((2, 4, 12, 16), 37),
        ((1, 1, 5, 64), 100), ((2, 2, 1, 8), 20), ((1, 2, 8, 48), 130),
    ],
    installed.CHANNEL_DECAY: [((2, 16, 16), 100), ((2, 5, 16), 64), ((1, 1, 8), 20), ((2, 12, 24), 37)],
    installed.DELTA_RULE: [((2, 16, 16), 100), ((2, 5, 16), 64), ((1, 1, 8), 20), ((2, 12, 48), 37)],
}  # fmt: skip
CASES = [(kernel, sizes, steps) for kernel, each in SHAPES.items() for sizes, steps in each]


class Silent:
    """A device that does as asked and says nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


class Driver:
    """What Triton asks of a driver before it interprets."""

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cpu", 0, 1)

    def get_current_device(self) -> int:
        return 0

    def set_current_device(self, number: int) -> None:
        pass

    def get_current_stream(self, device: Any = None) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")

    def get_device_interface(self) -> Silent:
        return Silent()

    def get_benchmarker(self) -> Any:
        return lambda function, quantiles=None, **options: [1.0] * len(quantiles or [1])

    def get_empty_cache_for_benchmark(self) -> torch.Tensor:
        return torch.empty(1)

    def clear_cache(self, cache: Any) -> None:
        pass

    def map_python_to_cpp_type(self, kind: str) -> str:
        return kind


@pytest.fixture(scope="module", autouse=True)
def interpreter() -> None:
    """Set Triton up; in its interpreter a loop counter is a number of Python's, which has no `.to`."""
    for source in Path(FOLDER, "fla", "ops").rglob("*.py"):
        text = source.read_text()
        plain = text.replace("i_t_int64 = i_t.to(tl.int64)", "i_t_int64 = i_t")
        if plain != text:
            source.write_text(plain)
    from triton.runtime import driver
    from triton.runtime.autotuner import Autotuner

    driver.set_active(Driver())
    init = Autotuner.__init__

    def only_the_first(self: Any, fn: Any, names: Any, configs: Any, *args: Any, **kwargs: Any) -> None:
        init(self, fn, names, list(configs or [])[:1], *args, **kwargs)

    Autotuner.__init__ = only_the_first


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("kernel", "sizes", "steps"), CASES, ids=lambda each: getattr(each, "function", str(each))
)
def test_output_and_gradients_agree(
    kernel: Any, sizes: tuple[int, ...], steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "STEPS", steps)
    monkeypatch.setattr(installed, "TOLERANCE", 1e-5)
    assert installed._difference(kernel, torch.device("cpu"), sizes) == ""
