import pytest

from tests.trainer.small_run import SmallRun


@pytest.fixture
def small_run(tmp_path):
    """Makes runs: small_run(reduction={"policy": "ask"})."""
    return lambda **keys: SmallRun(tmp_path, **keys)
