"""A checkpoint as a folder of its own: weights, configuration, and a loader that needs no Hankelboard.

config.json  model.safetensors      what was trained
loader.py                           the network around any sequence layer (trainer/export/loader.py)
mixer.py                            the family's streaming form (trainer/layers/streaming/)
"""

import json
import shutil
from importlib import resources, util
from pathlib import Path
from typing import Any

from hankelboard.settings.config import parse
from hankelboard.settings.families import FAMILIES
from hankelboard.settings.tasks import TASKS
from hankelboard.storage import atomic, checkpoints, opening
from hankelboard.storage.errors import CheckpointError, ConfigError
from hankelboard.storage.history import read_history
from hankelboard.storage.layout import CheckpointName, RunPaths
from hankelboard.storage.runs import read_run
from hankelboard.trainer.data import answers_every_step, load_task

WEIGHTS = "model.safetensors"  # as in a checkpoint
LOADER = "loader.py"


def export_checkpoint(paths: RunPaths, checkpoint: str, folder: Path) -> list[str]:
    """Write the checkpoint's weights, the run's configuration and the loader into a new folder.

    There is no loader where the family has no streaming form, or the model is the user's.

    Parameters
    ----------
    paths : RunPaths
    checkpoint : str
        Name of a checkpoint, or "last".
    folder : Path
        Must not exist, or be empty.

    Returns
    -------
    files : list of str
        Names of what was written.

    Raises
    ------
    CheckpointError
        If there is no such checkpoint, or it is damaged.
    ConfigError
        If the folder holds files.
    """
    name = _find(paths, checkpoint)
    for problem in checkpoints.problems(paths, name):
        raise CheckpointError(problem)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: is there already and not empty; choose another folder")
    run, published = read_run(paths), checkpoints.read_checkpoint(paths, name)
    model = {**_described_model(run.config), "state_dim": published.state_dims}
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()  # no link is followed in a folder that is called as one of a run is
    shutil.copyfile(opening.checked(paths.checkpoint(name) / WEIGHTS), folder / WEIGHTS)
    described = {
        "model": model, "data": run.config["data"], "state_dims": published.state_dims,
        "run": run.id, "name": run.name, "checkpoint": str(name), "step": name.step,
        "metrics": published.metrics,
    }  # fmt: skip
    if alphabet := _alphabet(paths, run.config):
        described["alphabet"] = alphabet
    text = json.dumps(described, indent=2, ensure_ascii=False) + "\n"
    atomic.create_bytes(folder / "config.json", text.encode())
    family = FAMILIES.get(model["family"])
    if family is not None and family.streaming:
        loader = resources.files("hankelboard.trainer.export").joinpath(LOADER)
        atomic.create_bytes(folder / LOADER, loader.read_bytes())
        atomic.create_bytes(folder / "mixer.py", _source(family.streaming))
    return sorted(path.name for path in folder.iterdir())


def _source(module: str) -> bytes:
    """Return the source text of a module."""
    spec = util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ConfigError(f"{module}: there is no such module to go along with the model")
    return Path(spec.origin).read_bytes()


def _described_model(config: dict[str, Any]) -> dict[str, Any]:
    """Return [model] of a configuration, with pooling = "none" where the model answers at every step."""
    model = dict(config["model"])
    if model["family"] in FAMILIES:
        parsed = parse(config)
        model["pooling"] = "none" if answers_every_step(parsed.data) else parsed.model.pooling
    return model


def _alphabet(paths: RunPaths, config: dict[str, Any]) -> str:
    """Return what the tokens of a text mean. Older runs did not record it: then it is read from the text."""
    recorded: str = read_history(paths).text.get("alphabet", "")
    task = TASKS.get(config["data"]["task"])
    if recorded or task is None or not task.text:
        return recorded
    try:
        return load_task(parse(config).data).alphabet
    except ConfigError:
        return ""


def _find(paths: RunPaths, checkpoint: str) -> CheckpointName:
    names = {str(name): name for name in checkpoints.checkpoint_names(paths)}
    if not names:
        raise CheckpointError(f"{paths.run_id} has no checkpoint yet")
    if checkpoint == "last":
        return list(names.values())[-1]
    if checkpoint not in names:
        raise CheckpointError(
            f"{paths.run_id} has no checkpoint {checkpoint}; "
            f"`hankelboard checkpoints {paths.run_id}` lists them"
        )
    return names[checkpoint]
