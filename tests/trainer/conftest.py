import pytest
import torch

from tests.trainer.small_run import SmallRun

torch.set_num_threads(1)  # small shapes; threads that wait would take the cores from each other


@pytest.fixture
def small_run(tmp_path):
    """Makes runs: small_run(reduction={"policy": "ask"})."""
    return lambda **keys: SmallRun(tmp_path, **keys)
