"""Our tasks as compression sees them: a classification of sequences, or of their steps."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hankelboard.settings.config import Config
from hankelboard.storage.schema import Scores
from hankelboard.trainer.compression.workload import Answers
from hankelboard.trainer.data.scoring import cross_entropy, judged
from hankelboard.trainer.data.task import Split, Task, batch_indices, without_waiting
from hankelboard.trainer.layers.recurrences.precision import autocast
from hankelboard.trainer.training.evaluation import answers, evaluate, evaluation_batch
from hankelboard.trainer.training.model import build_model


@dataclass(frozen=True)
class TaskWorkload:
    """A task with the configuration of its run: `hankelboard.trainer.compression.workload.Workload`."""

    config: Config
    task: Task
    device: torch.device

    @property
    def batch_shape(self) -> tuple[int, int]:
        return min(self.config.training.batch, len(self.task.train)), self.task.length

    def autocast(self) -> AbstractContextManager[Any]:
        """Return what forward passes of training and evaluation run in. Measurements for cuts run without."""
        return autocast(self.device, self.config.training.precision)

    def evaluate(self, model: nn.Module) -> Scores:
        return self._evaluate(model, self.task.val)

    def test(self, model: nn.Module) -> Scores:
        """Return the scores on the test data: for the end of training alone."""
        return self._evaluate(model, self.task.test)

    def _evaluate(self, model: nn.Module, split: Split) -> Scores:
        with self.autocast():
            return evaluate(model, split, text=self.task.text)

    def answer(self, model: nn.Module, limit: int) -> Answers:
        val = self.task.val
        logits = answers(model, val.inputs[:limit], evaluation_batch(val)).float()
        loss, correct, scored = judged(logits, val.labels[:limit].cpu())
        counts = scored > 0  # a sample in which nothing is scored says nothing
        loss, correct, scored = loss[counts], correct[counts], scored[counts]
        return Answers(logits, (loss / scored).numpy(), (correct / scored).numpy())

    def calibration_inputs(self, position: int) -> Tensor:
        """Return the last `reduction.calibration` training sequences, at the beginning the first ones."""
        train = self.task.train
        count = min(self.config.reduction.calibration, len(train))
        first = max(0, position - count)
        chosen = batch_indices(len(train), count, first, self.config.training.seed)
        return train.inputs[without_waiting(chosen, self.device)]

    def forward(self, model: nn.Module, inputs: Tensor) -> Tensor:
        logits: Tensor = model(inputs)
        return logits

    def forward_backward(self, model: nn.Module) -> None:
        train, count = self.task.train, self.config.training.batch
        with self.autocast():
            loss = cross_entropy(model(train.inputs[:count]), train.labels[:count])
        torch.autograd.backward(loss)

    def untrained(self) -> nn.Module:
        return build_model(self.config, self.task).to(self.device)
