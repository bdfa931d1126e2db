import math

import pytest
import torch

from tests.trainer.small_run import SmallRun

torch.set_num_threads(1)  # small shapes; threads that wait would take the cores from each other


@pytest.fixture(autouse=True)
def seeded():
    """Which tests ran in this process before is chance: what a test draws must not depend on it."""
    torch.manual_seed(0)


@pytest.fixture
def small_run(tmp_path, monkeypatch):
    """Makes runs: small_run(reduction={"policy": "ask"}).

    They tell more often than in life that they live, so that tests wait less, and measure all they can,
    however long it takes: what a proposal leaves out for want of time is tested where it is asked for.
    """
    monkeypatch.setattr("hankelboard.trainer.compression.recorder.BEAT_S", 0.01)
    for least in ("LEAST_MEASURING_S", "LEAST_UNWATCHED_S"):
        monkeypatch.setattr(f"hankelboard.trainer.compression.measurement.{least}", math.inf)
    return lambda **keys: SmallRun(tmp_path, **keys)
