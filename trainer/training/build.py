"""A session at the initial state of a run: task, model, optimizer and objective from its configuration."""

import time
from dataclasses import replace

import torch
from torch import nn

from hankelboard.settings.config import Config
from hankelboard.storage.history import History
from hankelboard.storage.layout import RunPaths
from hankelboard.trainer.compression import generators
from hankelboard.trainer.compression.clock import Clock
from hankelboard.trainer.compression.loop_state import LoopState
from hankelboard.trainer.compression.monitor import Monitor
from hankelboard.trainer.compression.recorder import Recorder
from hankelboard.trainer.compression.run import Run
from hankelboard.trainer.data import load_task
from hankelboard.trainer.data.task import Task
from hankelboard.trainer.layers.recurrences.precision import check_precision
from hankelboard.trainer.reduction.surgery import reducible_layers
from hankelboard.trainer.training.fingerprints import fingerprints
from hankelboard.trainer.training.model import build_model
from hankelboard.trainer.training.objective import Objective
from hankelboard.trainer.training.objective.distillation import Distillation
from hankelboard.trainer.training.objective.regularisation import HankelRegulariser
from hankelboard.trainer.training.references import resolve, source_of, teacher_of
from hankelboard.trainer.training.session import Session
from hankelboard.trainer.training.workload import TaskWorkload

APART = 2**31
"""Makes another seed of one: else data that are drawn and first weights would be the same numbers."""


def open_session(
    paths: RunPaths,
    config: Config,
    history: History,
    recorder: Recorder,
    clock: Clock = time,
    task: Task | None = None,
) -> Session:
    """Build task, model and optimizer from the configuration, at their initial state.

    A task that was loaded before, from the same configuration of data, is taken as it is.
    """
    training = config.training
    device = choose_device(training.device)
    check_precision(device, training.precision)
    references = resolve(paths, config, history)
    if dims := references.dims():
        config = replace(config, model=replace(config.model, state_dim=dims, layers=len(dims)))
    generators.seed(seed_of_data := data_seed(config, history))  # people's own code may draw from any of them
    loaded = load_task(config.data) if task is None else task
    generators.seed(training.seed)
    model = build_model(config, loaded).to(device)
    made_of, task = fingerprints(config, loaded), loaded.to(device)
    optimizer = make_optimizer(model, config)
    started = time.perf_counter()
    objective = make_objective(paths, config, task, model, device)
    prepared_s = time.perf_counter() - started
    run = Run(
        paths=paths, history=history, recorder=recorder, model=model, optimizer=optimizer, device=device,
        state=LoopState(policy=config.reduction.policy, waiting=config.reduction.waiting),
        steps=training.steps, keep_checkpoints=training.keep_checkpoints, extras={"objective": objective},
        clock=clock,
    )  # fmt: skip
    workload = TaskWorkload(config, task, device)
    return Session(
        config=config, task=task, objective=objective, references=references, run=run,
        monitor=Monitor(run, workload, keep_systems=config.output.systems), workload=workload,
        prepared_s=prepared_s, forward=model, fingerprints=made_of,
        data_seed=seed_of_data,
    )  # fmt: skip


def data_seed(config: Config, history: History) -> int:
    """Return the seed of all generators while the user's own function makes and splits the data.

    It follows the seed of the split, so that runs whose seeds differ have the same data. Runs of before that
    go on with the seed that they began with.
    """
    if history.attempt < 0:
        return config.data.split_seed ^ APART
    return config.training.seed if history.data_seed is None else history.data_seed


def make_objective(
    paths: RunPaths, config: Config, task: Task, model: nn.Module, device: torch.device
) -> Objective:
    """Return the loss that the configuration asks for; a teacher predicts the training data here, once."""
    distillation = regulariser = None
    if config.distillation.teacher:
        teacher = teacher_of(source_of(paths, config, "distillation.teacher"), task, device)
        distillation = Distillation(config.distillation, teacher, task.train, task.classes)
    if config.regularisation.hankel_nuclear:
        regulariser = HankelRegulariser(config.regularisation, model)
    return Objective(distillation, regulariser)


def choose_device(name: str) -> torch.device:
    """Return the device of that name; auto takes CUDA, then MPS, then the CPU."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def make_optimizer(model: nn.Module, config: Config) -> torch.optim.AdamW:
    """Return AdamW with a separate group for the state-space parameters: factor on the rate, no decay.

    A layer names them in `ssm_parameters` (the LRU: ν, θ, γ, B).
    """
    ssm = {id(getattr(layer, name)) for _, layer in reducible_layers(model) for name in layer.ssm_parameters}
    parameters = list(model.parameters())
    training = config.training
    groups = [
        {"params": [p for p in parameters if id(p) not in ssm], "factor": 1.0},
        {
            "params": [p for p in parameters if id(p) in ssm],
            "factor": training.ssm_learning_rate_factor,
            "weight_decay": 0.0,
        },
    ]
    groups = [group for group in groups if group["params"]]
    fused = parameters[0].device.type in ("cpu", "cuda")  # a third of the time on the CPU
    return torch.optim.AdamW(
        groups, lr=training.learning_rate, weight_decay=training.weight_decay, fused=fused
    )
