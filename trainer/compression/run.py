"""A run as the process that trains it holds it: what is trained, where training is, and its records.

Nothing here knows a task, a loss or a loop: those stand in `hankelboard.trainer.training`.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Unpack

import torch
from torch import nn

from hankelboard.storage import checkpoints
from hankelboard.storage.checkpoints import Checkpoint
from hankelboard.storage.errors import CheckpointError, CheckpointMisfit
from hankelboard.storage.history import History
from hankelboard.storage.layout import CheckpointName, RunPaths
from hankelboard.storage.schema import EventFields
from hankelboard.storage.vocabulary import Cause, EventKind, Phase
from hankelboard.trainer.compression.checkpoint import Stateful, restore_payload, write_payload
from hankelboard.trainer.compression.clock import Clock
from hankelboard.trainer.compression.loop_state import LoopState
from hankelboard.trainer.compression.recorder import Recorder
from hankelboard.trainer.compression.retention import superfluous
from hankelboard.trainer.reduction.reducible import ReducibleLayer
from hankelboard.trainer.reduction.surgery import reducible_layers

UNREPEATED = (Cause.SCHEDULED, Cause.BEFORE_REDUCTION, Cause.STOP, Cause.FINISH)
"""Causes for which a checkpoint of the same state is not written twice."""


@dataclass
class Run:
    """Model, optimizer and loop state of a run, which it saves, restores and rolls back together.

    `state` is replaced by a restore. So nobody keeps it: who needs it asks the run, the recorder included.
    """

    paths: RunPaths
    history: History
    recorder: Recorder
    model: nn.Module
    optimizer: torch.optim.Optimizer
    device: torch.device
    state: LoopState
    steps: int
    """Optimizer updates from beginning to end."""
    keep_checkpoints: int = 0
    """Unpinned checkpoints that retention keeps on each branch; 0 = all."""
    extras: Mapping[str, Stateful] = field(default_factory=dict)
    """What else is saved and restored, by name: a file each."""
    when_restored: list[Callable[[], None]] = field(default_factory=list)
    """Called, in this order, when model and state have become those of a checkpoint."""
    when_reshaped: list[Callable[[], None]] = field(default_factory=list)
    """Called, in this order, when layers may have other state dimensions: see `reshaped`."""
    clock: Clock = time
    """By which training waits and deadlines pass; the heartbeat is of the machine always."""
    _saved: tuple[tuple[Any, ...], Checkpoint] | None = None
    """What the newest checkpoint holds, and itself, so that the same state is not written twice."""

    def __post_init__(self) -> None:
        self.layers: list[tuple[str, ReducibleLayer]] = reducible_layers(self.model)
        """Name and module of each layer that can be cut. A cut changes their parameters, not the modules."""
        self.recorder.follow(self)

    @property
    def state_dims(self) -> list[int]:
        """State dimension of each layer now."""
        return [layer.state_dim for _, layer in self.layers]

    def event(self, kind: EventKind, **fields: Unpack[EventFields]) -> None:
        """Record an event and fold it: the trainer knows its own history as readers do."""
        self.history.apply(self.recorder.event(kind, **fields))

    def reshaped(self) -> None:
        """Notify who depends on the shapes of layers: before the first step, after a cut or a rollback."""
        for notify in self.when_reshaped:
            notify()

    def save(self, cause: Cause, *, pinned: bool = False) -> Checkpoint | None:
        """Publish a checkpoint.

        Return None when it could not be written: training goes on, and the status says why.
        """
        state = self.state
        waits = (state.pending_proposal, state.trial is not None)
        holds = (state.branch, state.step, tuple(state.reductions), waits, pinned)
        if self._saved is not None and self._saved[0] == holds and cause in UNREPEATED:
            return self._saved[1]
        self.recorder.show_phase(Phase.CHECKPOINTING)
        try:
            published = checkpoints.publish(
                self.paths,
                self._next_name(),
                lambda folder: write_payload(folder, self.model, self.optimizer, self.extras, state),
                cause=cause,
                pinned=pinned,
                state_dims=self.state_dims,
                metrics=state.last,
                reductions=state.reductions,
                guard=self.recorder.check,
            )
        except (OSError, CheckpointError) as error:  # the latter: what was written cannot be read
            reason = getattr(error, "strerror", None) or error
            self.recorder.trouble = f"checkpoint not written: {reason}"
            return None
        self.recorder.trouble = None
        self._saved = holds, published
        self.event(EventKind.CHECKPOINT_PUBLISHED, checkpoint=str(published.name), cause=cause, pinned=pinned)
        self._prune()
        return published

    def _next_name(self) -> CheckpointName:
        last = max((name.sequence for name in checkpoints.checkpoint_names(self.paths)), default=0)
        return CheckpointName(
            sequence=last + 1, branch=self.state.branch, step=self.state.step, attempt=self.recorder.attempt
        )

    def _prune(self) -> None:
        """Remove the checkpoints that retention does not keep, and record what that freed."""
        for checkpoint in superfluous(self.paths, self.history, keep=self.keep_checkpoints):
            name = str(checkpoint.name)
            self.event(EventKind.CHECKPOINT_PRUNED, checkpoint=name, bytes=checkpoint.bytes)
            self.recorder.check()
            try:
                checkpoints.remove(self.paths, checkpoint.name)
            except OSError as error:
                self.recorder.say(f"checkpoint {name} not removed: {error.strerror or error}")

    def restore(self, name: CheckpointName) -> None:
        """Bring weights, optimizer, extras, generators and loop state back to a checkpoint.

        Raises CheckpointError, with everything as before, when the checkpoint is damaged.
        """
        for problem in checkpoints.problems(self.paths, name):
            raise CheckpointError(problem)
        folder = self.paths.checkpoint(name)
        self.state = restore_payload(folder, self.model, self.optimizer, self.extras, self.device)
        self._saved = None
        for notify in self.when_restored:
            notify()

    def resume(self) -> str | None:
        """Restore the newest checkpoint on the live branch's path that verifies.

        Return its name, None if none does. Damaged ones are named in the log and skipped. Raises
        CheckpointMisfit when one is of another model: to begin anew would lose what was trained.
        """
        configured = self.state
        for name in self._candidates():
            try:
                self.restore(name)
            except CheckpointMisfit as error:
                raise CheckpointMisfit(f"checkpoint {name}: {error}") from None
            except CheckpointError as error:
                self.recorder.say(f"{error}; trying the one before")
                continue
            branch = self.history.branches[self.history.branch]
            if name.branch != branch.number:  # the first checkpoint of a branch is its parent's
                self._enter(branch.number, branch.attempts_consumed)
            self.state.policy = self.history.policy or self.state.policy
            self.state.waiting = self.history.waiting or self.state.waiting or configured.waiting
            return str(name)
        return None

    def _candidates(self) -> list[CheckpointName]:
        """Return the checkpoints on the live branch's path, the one to resume from first."""
        path = self.history.segments()
        branch = self.history.branches[self.history.branch]
        origin = CheckpointName.parse(branch.checkpoint or "")
        names = [
            name
            for name in checkpoints.checkpoint_names(self.paths)
            if name.branch in path and (path[name.branch] is None or name.step <= (path[name.branch] or 0))
            if not self.history.is_replaced(vars(name))
        ]
        return sorted(names, key=lambda n: (n.branch == branch.number, n == origin, n.sequence), reverse=True)

    def _enter(self, branch: int, consumed: int) -> None:
        self.state.branch = branch
        self.state.attempts_consumed = max(self.state.attempts_consumed, consumed)
        self.state.pending_proposal, self.state.pending_s, self.state.trial = None, 0.0, None

    def roll_back(
        self,
        name: CheckpointName,
        *,
        policy: str,
        by: str,
        by_role: str = "",
        command_id: str | None = None,
        consumed: int = -1,
    ) -> None:
        """Restore a checkpoint as the start of a new branch, and save that.

        Opportunities up to and including those of the undone reductions, and up to the step `consumed`, do
        not come again, so that no policy cuts at the same place. Raises CheckpointError, with everything as
        before, when the checkpoint is damaged.
        """
        left = self.state
        if self.history.is_replaced(vars(name)):
            raise CheckpointError(f"checkpoint {name}: a later attempt trained this step again")
        self.restore(name)
        undone = [number for number in left.reductions if number not in self.state.reductions]
        opportunities = [self.history.proposals[number].attempt_step for number in undone]
        self._enter(max(self.history.branches) + 1, max([consumed, *opportunities]))
        self.state.policy, self.state.waiting = policy, left.waiting
        self.event(
            EventKind.BRANCH_STARTED,
            parent=name.branch,
            from_step=name.step,
            checkpoint=str(name),
            command_id=command_id,
            by=by,
            by_role=by_role,
            policy=policy,
            attempts_consumed=self.state.attempts_consumed,
            state_dims=self.state_dims,
            undone=undone,
        )
        self.reshaped()
        self.save(Cause.BRANCH)
