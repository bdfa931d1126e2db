import pytest

from hankelboard.storage import proposals, runs
from hankelboard.storage.journal import Journal
from hankelboard.storage.layout import run_paths


@pytest.fixture
def paths(tmp_path):
    """A fresh run."""
    run = runs.create_run(tmp_path, name="a run", config={"training": {"steps": 100}})
    return run_paths(tmp_path, run.id)


@pytest.fixture
def tell(paths):
    """Append events to the run's journal: tell("paused", step=3)."""

    def append(kind, **fields):
        with Journal(paths.events) as journal:
            journal.append({"kind": kind, "step": 0, "branch": 0, "attempt": 0, **fields}, durable=True)

    return append


@pytest.fixture
def proposal(paths):
    """A proposal for one layer of 4 states; rank 2 cannot be realised."""
    layer = {
        "layer": 0, "name": "mixer", "state_dim": 4, "rank": 1, "hsv": [4.0, 3.0, 2.0, 1.0],
        "discarded_share": [1.0, 0.6, 0.3, 0.1, 0.0], "error_bound": [20.0, 12.0, 6.0, 2.0, 0.0],
        "realisable": [False, True, False, True, True], "parameters": [8, 16, 24, 32, 40],
    }  # fmt: skip
    record = {
        "step": 0, "branch": 0, "gate": 0.95, "tolerance": 0.6, "parameters_elsewhere": 100, "ranks": [1],
        "layers": [layer], "measured": {"points": [{"ranks": [1], "accuracy": 0.5}]},
    }  # fmt: skip
    proposals.publish_proposal(paths, 1, record)
    return proposals.read_proposal(paths, 1)
