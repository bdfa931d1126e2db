"""A session at the initial state of a run: task, model, optimizer and objective from its configuration."""

import time
from dataclasses import replace

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from hankelboard.settings.config import Config
from hankelboard.storage.history import History
from hankelboard.storage.layout import RunPaths
from hankelboard.trainer.compression.loop_state import LoopState
from hankelboard.trainer.compression.recorder import Recorder
from hankelboard.trainer.compression.session import Session
from hankelboard.trainer.data import load_task
from hankelboard.trainer.data.text import check_same_text
from hankelboard.trainer.layers.build import build_model
from hankelboard.trainer.layers.recurrences.precision import check_precision
from hankelboard.trainer.reduction.surgery import reducible_layers
from hankelboard.trainer.training import references
from hankelboard.trainer.training.objective import Objective
from hankelboard.trainer.training.objective.distillation import Distillation
from hankelboard.trainer.training.objective.regularisation import HankelRegulariser


def open_session(paths: RunPaths, config: Config, history: History, recorder: Recorder) -> Session:
    """Build task, model and optimizer from the configuration, at their initial state."""
    training = config.training
    device = choose_device(training.device)
    check_precision(device, training.precision)
    if training.threads:
        torch.set_num_threads(training.threads)
    threadpool_limits(training.threads or 1, user_api="blas")  # NumPy's: the reductions, see blas_threads.py
    found = references.resolve(paths, config, history)
    if dims := found.dims():
        config = replace(config, model=replace(config.model, state_dim=dims, layers=len(dims)))
    torch.manual_seed(training.seed)
    np.random.seed(training.seed)  # people's own code may draw from it
    task = load_task(config.data).to(device)
    check_same_text(config.data, task, history.text)
    model = build_model(config, task).to(device)
    session = Session(
        paths=paths, config=config, history=history, task=task, model=model,
        optimizer=make_optimizer(model, config), objective=Objective(), references=found,
        recorder=recorder, device=device,
        state=LoopState(policy=config.reduction.policy, waiting=config.reduction.waiting),
    )  # fmt: skip
    session.adopt(session.state)
    started = time.perf_counter()
    session.objective = make_objective(session)
    session.prepared_s = time.perf_counter() - started
    return session


def make_objective(session: Session) -> Objective:
    """The loss that the configuration asks for; a teacher predicts the training data here, once."""
    config, task = session.config, session.task
    distillation = regulariser = None
    if config.distillation.teacher:
        source = references.source_of(session.paths, config, "distillation.teacher")
        teacher = references.teacher_of(source, task, session.device)
        distillation = Distillation(config.distillation, teacher, task.train, task.classes)
    if config.regularisation.hankel_nuclear:
        regulariser = HankelRegulariser(config.regularisation, session.model)
    return Objective(distillation, regulariser)


def choose_device(name: str) -> torch.device:
    """The device of that name; auto takes CUDA, then MPS, then the CPU."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def make_optimizer(model: nn.Module, config: Config) -> torch.optim.AdamW:
    """AdamW with a group of its own for the state-space parameters: factor on the rate, no decay.

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
