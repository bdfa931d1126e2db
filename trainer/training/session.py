"""One process's work at a run with our own loop: the run, its task and what the loss is made of."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from hankelboard.settings.config import Config
from hankelboard.storage.schema import Fingerprints
from hankelboard.trainer.compression.energy import EnergyMeter, counters_of
from hankelboard.trainer.compression.monitor import Monitor
from hankelboard.trainer.compression.run import Run
from hankelboard.trainer.data.task import Task
from hankelboard.trainer.layers.compilation import Compiled
from hankelboard.trainer.training.objective import Objective
from hankelboard.trainer.training.references import References
from hankelboard.trainer.training.workload import TaskWorkload


@dataclass
class Session:
    """What the loop works with. All that a checkpoint keeps is in `run`."""

    config: Config
    task: Task
    objective: Objective
    references: References
    run: Run
    monitor: Monitor
    workload: TaskWorkload
    prepared_s: float
    """Seconds spent on the objective before training: a teacher's predictions."""
    forward: Callable[[Tensor], Tensor]
    """The model's forward pass in training: the model itself, or compiled."""
    fingerprints: Fingerprints
    """Of the task and of own modules."""
    data_seed: int
    """Of all generators while the data were made."""
    losses: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    """Of updates since the last metrics record, on the device: the loss, and if anything was scored."""
    loss_was_finite: bool = True
    """Whether the last recorded loss was a number: the change is an event, not every record."""
    noted_s: float = 0.0
    """Seconds of training at the last metrics record."""

    def __post_init__(self) -> None:
        self.energy = EnergyMeter(counters_of(self.run.device))
        self.run.when_restored.append(self._forget_losses)
        if self.config.training.compile:
            self.run.when_reshaped.append(self._compile)

    def _forget_losses(self) -> None:
        """Begin a record anew: what came before belongs to the path that was left."""
        self.losses.clear()
        self.loss_was_finite, self.noted_s = True, self.run.state.train_s

    def _compile(self) -> None:
        """Compile the forward pass for the state dimensions that the model has now."""
        self.forward = Compiled(self.run.model, cuda_graphs=self.config.training.cuda_graphs)
