"""Records a run of this version as tests/golden/vN/: python -m tests.golden.record

Once for each version of the format, when nothing more is added to it: what is there is never made again.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

from hankelboard.storage import checkpoints
from hankelboard.storage.history import read_history
from hankelboard.storage.layout import FORMAT_VERSION
from hankelboard.storage.summary import summarise
from tests.trainer.small_run import SmallRun

KEYS = {
    "model": {"width": 4, "state_dim": 6},
    "training": {
        "steps": 40, "batch": 16, "log_every": 5, "evaluate_every": 10, "spectra_every": 20,
        "checkpoint_every": 15,
    },
    "reduction": {
        "policy": "ask", "tolerance": 0.3, "steps": [10, 20], "grid": [1.0], "evidence_samples": 32,
    },
}  # fmt: skip
TARGET = Path(__file__).parent / f"v{FORMAT_VERSION}" / "lru-cut-and-rolled-back"


def lived(folder: Path) -> SmallRun:
    """A run that was cut, rolled back by a person, kept from a cut and cut again."""
    run = SmallRun(folder, **KEYS)
    with run.training():
        run.wait_pending(1)
        run.decide(1, "approve")
        run.wait_pending(2)
        run.wait_answer(run.send("rollback", checkpoint=str(run.checkpoints("before_reduction")[0].name)))
        run.wait_pending(3)
        run.decide(3, "approve", reason="the tail is flat")
        run.wait(lambda history: history.state == "finished")
    return run


def expected(run: SmallRun) -> dict:
    history, summary = read_history(run.paths), summarise(run.paths)
    return {
        "run": summary.run, "state": summary.state, "step": summary.step, "state_dims": summary.state_dims,
        "best": summary.best, "branches": list(history.branches),
        "proposals": [outcome.state for outcome in history.proposals.values()],
        "checkpoints": [str(checkpoint.name) for checkpoint in checkpoints.list_checkpoints(run.paths)[0]],
    }  # fmt: skip


if __name__ == "__main__":
    if TARGET.exists() and "--again" not in sys.argv:
        sys.exit(f"{TARGET.name} is there already")
    shutil.rmtree(TARGET, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        run = lived(Path(folder))
        for left_out in (run.paths.lock, run.paths.log):
            left_out.unlink(missing_ok=True)
        shutil.copytree(run.paths.root, TARGET / "run")
        (TARGET / "expected.json").write_text(json.dumps(expected(run), indent=1) + "\n")
