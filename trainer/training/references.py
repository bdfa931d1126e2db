"""What a run takes from other runs: state dimensions, weights, ranks, a teacher's predictions."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from hankelboard.settings.config import Config, parse_recorded
from hankelboard.storage import checkpoints
from hankelboard.storage.errors import CheckpointError, ConfigError
from hankelboard.storage.history import History, read_history
from hankelboard.storage.layout import CheckpointName, RunPaths, run_paths
from hankelboard.storage.references import references, state_beside, waits_for
from hankelboard.storage.runs import read_run
from hankelboard.storage.schema import Reference
from hankelboard.storage.vocabulary import ProposalState
from hankelboard.trainer.compression import generators, permission
from hankelboard.trainer.compression.checkpoint import MODEL, load_tensors, read_loop, read_tensors
from hankelboard.trainer.data.task import Task
from hankelboard.trainer.training.model import build_model


@dataclass(frozen=True)
class Source:
    """A checkpoint of a finished run."""

    paths: RunPaths
    name: CheckpointName

    @property
    def folder(self) -> Path:
        return self.paths.checkpoint(self.name)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return parameters and buffers of its model. Raises CheckpointError when it is damaged."""
        for problem in checkpoints.problems(self.paths, self.name):
            raise CheckpointError(f"{self.paths.run_id}: {problem}")
        return read_tensors(self.folder / MODEL)

    def record(self, key: str) -> Reference:
        """Return what run_started keeps: the run, the checkpoint and the seconds of training behind it."""
        loop = read_loop(self.folder)["loop"]
        before = sum(float(item.get("train_s") or 0.0) for item in read_history(self.paths).references)
        return {
            "key": key, "run": self.paths.run_id, "checkpoint": str(self.name),
            "state_dims": checkpoints.read_checkpoint(self.paths, self.name).state_dims,
            "train_s": loop["train_s"] + before,
        }  # fmt: skip


@dataclass(frozen=True)
class References:
    """What a run takes from others beside weights and predictions, as its event run_started keeps it.

    So a resumed run no longer needs those others, and does not change when they do.
    """

    records: list[Reference]
    """One per key that names a run: key, run, state_dims, and what else the key gives."""

    def dims(self) -> list[int] | None:
        """Return the state dimensions of `model.state_dim_as`, None without it."""
        return next(
            (item["state_dims"] for item in self.records if item["key"] == "model.state_dim_as"), None
        )

    def ranks_at(self, opportunity: int, last: bool) -> list[int] | None:
        """Return the ranks of `reduction.ranks_as`: after its cut at this step, at the last opportunity its
        final ones; None where it was not cut."""
        record = next(item for item in self.records if item["key"] == "reduction.ranks_as")
        ranks: list[int] | None = record["state_dims"] if last else record["cuts"].get(str(opportunity))
        return ranks


def resolve(paths: RunPaths, config: Config, history: History) -> References:
    """Return what a run takes from those that its configuration names, as it was when it started.

    Raises
    ------
    ConfigError
        If a run that it names is missing or not finished.
    CheckpointError
        If a checkpoint that it names is not there.
    """
    if history.references:
        return References(history.references)
    if waits := waits_for(config.as_dict(), state_beside(paths)):
        raise ConfigError(waits)
    records: list[Reference] = []
    for key, run in references(config.as_dict()).items():
        if key in WITH_CHECKPOINT:
            records.append(source_of(paths, config, key).record(key))
            continue
        other = read_history(run_paths(paths.root.parent, run))
        record: Reference = {"key": key, "run": run, "state_dims": other.state_dims}
        if key == "reduction.ranks_as":
            record["cuts"] = {
                str(outcome.attempt_step): outcome.applied["to"]
                for outcome in other.proposals.values()
                if outcome.applied and outcome.state == ProposalState.APPLIED
            }
        records.append(record)
    return References(records)


WITH_CHECKPOINT = ("start.run", "distillation.teacher")


def source_of(paths: RunPaths, config: Config, key: str) -> Source:
    """Return the checkpoint that `start` or `distillation` names: its last one unless one is given."""
    section = config.start if key == "start.run" else config.distillation
    beside = run_paths(paths.root.parent, references(config.as_dict())[key])
    names = {str(name): name for name in checkpoints.checkpoint_names(beside)}
    if not names or section.checkpoint not in ("", *names):
        raise CheckpointError(f"{key} = {beside.run_id}: it has no checkpoint {section.checkpoint}")
    return Source(beside, names[section.checkpoint] if section.checkpoint else list(names.values())[-1])


def start_from(source: Source, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Give a model the weights of a checkpoint; the optimizer begins anew.

    Raises CheckpointError when they do not fit: another width, number of layers or family.
    """
    try:
        load_tensors(model, optimizer, source.tensors())
    except CheckpointError as error:
        raise CheckpointError(f"start.run = {source.paths.run_id}: {error}") from None


def teacher_of(source: Source, task: Task, device: torch.device) -> nn.Module:
    """Return the model of a checkpoint, ready to predict on a task.

    Raises CheckpointError when it was trained on a task with other channels, classes or tokens, and as
    `permission.demand` where the teacher is a model of the user's.
    """
    run = read_run(source.paths)
    permission.demand_for_code(source.paths, run)
    with generators.kept():  # its initial weights, drawn for nothing
        model = build_model(parse_recorded(run.config), task)
    try:
        load_tensors(model, None, source.tensors())
    except CheckpointError as error:
        raise CheckpointError(f"distillation.teacher = {source.paths.run_id}: {error}") from None
    return model.to(device).eval()
