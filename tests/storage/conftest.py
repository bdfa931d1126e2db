import pytest

from hankelboard.storage import proposals, runs
from hankelboard.storage.journal import Journal
from hankelboard.storage.layout import run_paths
from tests.storage.model_trainer import PROPOSAL


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
    proposals.publish_proposal(paths, 1, PROPOSAL)
    return proposals.read_proposal(paths, 1)
