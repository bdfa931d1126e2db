"""One attempt at a run: its model, optimizer, data and records, and how it saves and restores them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from hankelboard.settings.config import Config
from hankelboard.storage import checkpoints
from hankelboard.storage.checkpoints import Checkpoint
from hankelboard.storage.errors import CheckpointError, CheckpointMisfit
from hankelboard.storage.history import History
from hankelboard.storage.layout import CheckpointName, RunPaths, SystemsName
from hankelboard.storage.scores import BITS, BITS_METRIC
from hankelboard.storage.systems import publish_systems
from hankelboard.trainer.compression.calibration import calibrate, monitored
from hankelboard.trainer.compression.checkpoint import restore_payload, write_payload
from hankelboard.trainer.compression.evidence import evaluate
from hankelboard.trainer.compression.loop_state import LoopState
from hankelboard.trainer.compression.recorder import Recorder
from hankelboard.trainer.compression.retention import superfluous
from hankelboard.trainer.compression.systems import encode
from hankelboard.trainer.data.task import Split, Task, batch_indices
from hankelboard.trainer.layers.build import state_dims
from hankelboard.trainer.layers.compilation import Compiled
from hankelboard.trainer.layers.recurrences.installed_kernels import OWN
from hankelboard.trainer.layers.recurrences.precision import autocast
from hankelboard.trainer.reduction.surgery import reducible_layers
from hankelboard.trainer.training.objective import Objective
from hankelboard.trainer.training.references import References

PRIMARY = "val/accuracy"


@dataclass
class Session:
    """What loop, control and reductions share. `state` is the loop's and is kept in every checkpoint."""

    paths: RunPaths
    config: Config
    history: History
    task: Task
    model: nn.Module
    optimizer: torch.optim.Optimizer
    objective: Objective
    references: References
    recorder: Recorder
    device: torch.device
    state: LoopState
    loss_was_finite: bool = True
    """Whether the last recorded loss was a number: the change is an event, not every record."""
    snapshots: list[tuple[int, tuple[int, ...], list[Any]]] = field(default_factory=list)
    """Step, reductions in the weights and systems of all layers at the last two scheduled snapshots."""
    prepared_s: float = 0.0
    """Seconds spent on the objective before training: a teacher's predictions."""
    calibrated: tuple[int, int, tuple[int, ...]] | None = None
    """Branch, step and reductions of the weights that the layers' statistics are of."""
    forward: Callable[[torch.Tensor], torch.Tensor] | None = None
    """The model's forward pass in training when it is compiled."""
    saved: tuple[Any, ...] | None = None
    """What the newest checkpoint holds, so that the same state is not written twice."""

    def event(self, kind: str, **fields: Any) -> None:
        """Record an event and fold it: the trainer knows its own history as readers do."""
        self.history.apply(self.recorder.event(kind, **fields))

    @property
    def state_dims(self) -> list[int]:
        return state_dims(self.model)

    def adopt(self, state: LoopState) -> None:
        """Make `state` the current one, everywhere."""
        self.state = self.recorder.state = state
        self.recorder.state_dims = self.state_dims
        self._keep_forms()

    # Saving and restoring.

    def save(self, cause: str, *, pinned: bool = False) -> Checkpoint | None:
        """Publish a checkpoint. None when it could not be written: training goes on and status says so."""
        state = self.state
        waits = (state.pending_proposal, state.trial is not None)
        holds = (state.branch, state.step, tuple(state.reductions), waits, pinned)
        if holds == self.saved and cause in ("scheduled", "before_reduction", "stop", "finish"):
            return checkpoints.read_checkpoint(self.paths, checkpoints.checkpoint_names(self.paths)[-1])
        self.recorder.show_phase("checkpointing")
        try:
            published = checkpoints.publish(
                self.paths,
                self._next_name(),
                lambda folder: write_payload(folder, self.model, self.optimizer, self.objective, state),
                cause=cause,
                pinned=pinned,
                state_dims=self.state_dims,
                metrics=state.last,
                reductions=state.reductions,
            )
        except OSError as error:
            self.recorder.trouble = f"checkpoint not written: {error.strerror or error}"
            return None
        self.recorder.trouble = None
        self.saved = holds
        self.event("checkpoint_published", checkpoint=str(published.name), cause=cause, pinned=pinned)
        self._prune()
        return published

    def _prune(self) -> None:
        """Remove the checkpoints that retention does not keep, and say what that freed."""
        keep = self.config.training.keep_checkpoints
        for checkpoint in superfluous(self.paths, self.history, keep=keep):
            name = str(checkpoint.name)
            self.event("checkpoint_pruned", checkpoint=name, bytes=checkpoint.bytes)
            try:
                checkpoints.remove(self.paths, checkpoint.name)
            except OSError as error:
                self.recorder.say(f"checkpoint {name} not removed: {error.strerror or error}")

    def _next_name(self) -> CheckpointName:
        last = max((name.sequence for name in checkpoints.checkpoint_names(self.paths)), default=0)
        return CheckpointName(
            sequence=last + 1, branch=self.state.branch, step=self.state.step, attempt=self.recorder.attempt
        )

    def restore(self, name: CheckpointName) -> None:
        """Bring weights, optimizer, generators and loop state back to a checkpoint.

        Raises CheckpointError, with everything as before, when the checkpoint is damaged.
        """
        for problem in checkpoints.problems(self.paths, name):
            raise CheckpointError(problem)
        folder = self.paths.checkpoint(name)
        self.adopt(restore_payload(folder, self.model, self.optimizer, self.objective, self.device))
        self.saved, self.calibrated, self.snapshots = None, None, []

    def resume(self) -> str | None:
        """Restore the newest checkpoint on the live branch's path that verifies; its name, None if none does.

        Damaged ones are named in the log and skipped. Raises CheckpointMisfit when one is of another model:
        to begin anew would lose what was trained.
        """
        path = self.history.segments()
        names = [
            name
            for name in checkpoints.checkpoint_names(self.paths)
            if name.branch in path and (path[name.branch] is None or name.step <= (path[name.branch] or 0))
        ]
        branch = self.history.branches[self.history.branch]
        origin = CheckpointName.parse(branch.checkpoint or "")
        for name in sorted(
            names, key=lambda n: (n.branch == branch.number, n == origin, n.sequence), reverse=True
        ):
            try:
                self.restore(name)
            except CheckpointMisfit as error:
                raise CheckpointMisfit(f"checkpoint {name}: {error}") from None
            except CheckpointError as error:
                self.recorder.say(f"{error}; trying the one before")
                continue
            if name.branch != branch.number:  # the first checkpoint of a branch is its parent's
                self._enter(branch.number, branch.attempts_consumed)
            self.state.policy = self.history.policy or self.state.policy
            self.state.waiting = self.history.waiting or self.state.waiting or self.config.reduction.waiting
            self.adopt(self.state)
            return str(name)
        return None

    def _enter(self, branch: int, attempts_consumed: int) -> None:
        self.state.branch = branch
        self.state.attempts_consumed = max(self.state.attempts_consumed, attempts_consumed)
        self.state.pending_proposal, self.state.pending_s, self.state.trial = None, 0.0, None

    def roll_back(
        self,
        name: CheckpointName,
        *,
        policy: str,
        by: str,
        command_id: str | None = None,
        consumed: int = -1,
    ) -> None:
        """Restore a checkpoint as the start of a new branch.

        Attempts up to and including those of the undone reductions, and up to the step `consumed`, are not
        made again, so that no policy cuts at the same place. Raises CheckpointError, with everything as
        before, when it is damaged.
        """
        left = self.state
        self.restore(name)
        undone = [number for number in left.reductions if number not in self.state.reductions]
        attempts = [self.history.proposals[number].attempt_step for number in undone]
        self._enter(max(self.history.branches) + 1, max([consumed, *attempts]))
        self.state.policy, self.state.waiting = policy, left.waiting
        self.event(
            "branch_started",
            parent=name.branch,
            from_step=name.step,
            checkpoint=str(name),
            command_id=command_id,
            by=by,
            policy=policy,
            attempts_consumed=self.state.attempts_consumed,
            state_dims=self.state_dims,
            undone=undone,
        )
        self.settle_forms()
        self.adopt(self.state)

    def autocast(self) -> AbstractContextManager[Any]:
        """What forward passes of training and evaluation run in. Measurements for cuts run without."""
        return autocast(self.device, self.config.training.precision)

    # Measuring.

    def measure(self) -> dict[str, float]:
        """Validation loss and accuracy now, for an event; the next checkpoint carries them, too."""
        self.recorder.show_phase("evaluating")
        with self.autocast():
            measured = evaluate(self.model, self.task.val, text=self.task.text)
        self.state.last = {f"val/{name}": value for name, value in measured.items()}
        return measured

    def evaluate(self) -> dict[str, float]:
        """`measure`, as metrics; keeps the best of this path."""
        self.measure()
        value = self.state.last[PRIMARY]
        if self.state.best is None or value > self.state.best["value"]:
            best = {"metric": PRIMARY, "value": value, "step": self.state.step}
            if BITS_METRIC in self.state.last:
                best[BITS] = self.state.last[BITS_METRIC]
            self.state.best = best
        return self.state.last

    def record_spectra(self, snapshot: str) -> None:
        """One record per reducible layer. A scheduled snapshot is what the next proposal compares with."""
        self.calibrate()
        if snapshot == "scheduled":
            systems = [layer.extract() for _, layer in reducible_layers(self.model)]
            self.snapshots = [
                *self.snapshots[-1:],
                (self.state.step, tuple(self.state.reductions), systems),
            ]
        for index, (name, layer) in enumerate(reducible_layers(self.model)):
            try:
                spectrum = layer.spectrum(layer.extract())
            except ValueError as error:
                self.recorder.say(f"no spectrum of {name}: {error}")
                continue
            self.recorder.spectrum(
                index, [float(value) for value in spectrum], importance=monitored(layer), snapshot=snapshot
            )

    def calibrate(self) -> None:
        """Measure the states of layers that depend on data, on the last training sequences that were seen.

        Once for the same weights; which sequences follows from the state alone, so that a replay measures the
        same.
        """
        now = (self.state.branch, self.state.step, tuple(self.state.reductions))
        if now != self.calibrated:
            calibrate(self.model, self.calibration_inputs())
            self.calibrated = now

    def calibration_inputs(self) -> torch.Tensor:
        """The last `reduction.calibration` training sequences, or the first ones at the beginning."""
        train, wanted = self.task.train, min(self.config.reduction.calibration, len(self.task.train))
        first = max(0, self.state.position - wanted)
        chosen = batch_indices(len(train), wanted, first, self.config.training.seed)
        return train.inputs[torch.as_tensor(chosen, device=self.device)]

    def record_systems(self) -> None:
        """Keep (λ, B, C) of all layers for a later analysis, where every layer has such a system."""
        layers = [layer for _, layer in reducible_layers(self.model)]
        if not self.config.output.systems or not all(layer.offers("realisation") for layer in layers):
            return
        state = self.state
        name = SystemsName(
            step=state.step,
            reductions=len(state.reductions),
            branch=state.branch,
            attempt=self.recorder.attempt,
        )
        try:
            systems = [layer.realisation(layer.extract()) for layer in layers]
            publish_systems(self.paths, name, encode(systems))
        except (OSError, ValueError) as error:
            self.recorder.say(f"systems not kept: {error}")

    def earlier_systems(self) -> list[Any] | None:
        """The systems of all layers at the last scheduled snapshot before this step, in the same coordinates:
        None when there is none since the last cut or rollback."""
        for step, reductions, systems in reversed(self.snapshots):
            if step < self.state.step and reductions == tuple(self.state.reductions):
                return systems
        return None

    def settle_forms(self) -> None:
        """Choose the form of each layer's recurrence for the training batches, once for its state dimension.

        Recorded before its first use and kept in checkpoints: a resumed run goes on with it, whatever a later
        version would choose, and rounds as it would have done.
        """
        batch, length = self.timing_batch().inputs.shape[:2]
        layers = [layer for _, layer in reducible_layers(self.model)]
        forms = [layer.form_for(batch, length) for layer in layers]
        if (forms, self.state_dims) != (self.state.forms, self.state.forms_of):
            self.state.forms, self.state.forms_of = forms, self.state_dims
            self.event("kernel_chosen", forms=forms)
        self._keep_forms()
        if self.config.training.compile:
            self.forward = Compiled(self.model, cuda_graphs=self.config.training.cuda_graphs)

    def _keep_forms(self) -> None:
        """Bind the layers to the forms of the loop state, where those were chosen for these states."""
        layers = [layer for _, layer in reducible_layers(self.model)]
        settled = self.state.forms_of == self.state_dims
        known = self.state.forms if settled else [None] * len(layers)
        for layer, form in zip(layers, known, strict=True):
            if layer.offers("form_for"):
                layer.form_kept = form or (OWN if settled else None)  # None: when there were no kernels yet

    def timing_batch(self) -> Split:
        """The first training sequences, one batch of them, to time a step with."""
        train, count = self.task.train, self.config.training.batch
        return Split(train.inputs[:count], train.labels[:count])
