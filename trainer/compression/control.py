"""What people ask of a running training: commands from the inbox and signals, at step boundaries."""

import signal
from collections.abc import Callable
from enum import StrEnum

from hankelboard.storage import commands
from hankelboard.storage.commands import Command
from hankelboard.storage.errors import CheckpointError
from hankelboard.storage.layout import CheckpointName
from hankelboard.storage.vocabulary import Cause, CommandKind, CommandState, EventKind, Phase, Policy
from hankelboard.trainer.compression.inbox import naming, whose
from hankelboard.trainer.compression.run import Run

POLL_S = 0.2


class Ending(StrEnum):
    """Why a training ends before its last step."""

    STOPPED = "stopped"
    """Somebody asked for it."""
    KILLED = "killed"
    """Somebody asked for it, without saving."""
    INTERRUPTED = "interrupted"
    """This process must go; another one resumes the run."""


class Control:
    """Commands are answered once, in the order of their ids: accepted, then applied or refused."""

    def __init__(self, run: Run, measure: Callable[[Command], str | None]):
        """Take `measure`, which carries the command of that name out: it belongs to the proposals."""
        self.ending: Ending | None = None
        """Why the loop must end now."""
        self.reason = ""
        self.command_id: str | None = None
        """The command that asked for the end: answered by the event that ends the run, after the save."""
        self._run = run
        self._polled_at = float("-inf")
        self._postponed: dict[str, int] = {}
        self._commands = {
            CommandKind.PAUSE: self._pause,
            CommandKind.RESUME: self._resume,
            CommandKind.STOP: self._stop,
            CommandKind.KILL: self._kill,
            CommandKind.POLICY: self._policy,
            CommandKind.CHECKPOINT: self._checkpoint,
            CommandKind.ROLLBACK: self._rollback,
            CommandKind.MEASURE: measure,
        }

    @property
    def paused(self) -> bool:
        return self._run.history.paused

    def on_signal(self, number: int) -> None:
        """Let Ctrl-C stop and save; let SIGTERM and SIGHUP save, too, but leave the run to be resumed."""
        if number == signal.SIGINT:
            self.ending, self.reason = Ending.STOPPED, "Ctrl-C"
        else:
            self.ending, self.reason = self.ending or Ending.INTERRUPTED, "the process was asked to end"

    def obey(self, *, at_once: bool = False) -> None:
        """Carry out the commands that came since the last poll; looks at the inbox every 0.2 s."""
        due = any(step <= self._run.state.step for step in self._postponed.values())
        if not (at_once or due) and self._run.clock.monotonic() - self._polled_at < POLL_S:
            return
        self._polled_at = self._run.clock.monotonic()
        for command_id in commands.command_ids(self._run.paths):
            outcome = self._run.history.commands.get(command_id)
            if self.ending is None and (outcome is None or outcome.state == CommandState.ACCEPTED):
                self._answer(command_id)

    def _answer(self, command_id: str) -> None:
        run = self._run
        command = commands.read_command(run.paths, command_id)
        if command is None:
            run.event(EventKind.COMMAND_REFUSED, command_id=command_id, reason="the file is no command")
            return
        who = naming(command)
        if command.id not in run.history.commands:
            run.event(EventKind.COMMAND_ACCEPTED, **who, at_step=command.at_step)
        if command.at_step is not None and run.state.step < command.at_step:
            self._postponed[command.id] = command.at_step
            return  # later: the first boundary at or after that step
        self._postponed.pop(command.id, None)
        reason = self._commands[command.kind](command)
        if command.id == self.command_id:
            return
        if reason is None:
            run.event(EventKind.COMMAND_APPLIED, **who)
        else:
            run.event(EventKind.COMMAND_REFUSED, **who, reason=reason)

    def finish(self) -> None:
        """Refuse what was meant for a step that training does not reach."""
        run = self._run
        for command_id, outcome in run.history.commands.items():
            if outcome.state == CommandState.ACCEPTED and outcome.at_step is not None:
                reason = f"training ended at step {run.state.step}, before step {outcome.at_step}"
                run.event(EventKind.COMMAND_REFUSED, command_id=command_id, reason=reason)

    # Each returns None when the command was carried out, else why it was not.

    def _pause(self, command: Command) -> str | None:
        if not self.paused:
            self._run.event(EventKind.PAUSED, **whose(command), command_id=command.id)
        return None

    def _resume(self, command: Command) -> str | None:
        if self.paused:
            self._run.event(EventKind.RESUMED, **whose(command), command_id=command.id)
        return None

    def _stop(self, command: Command) -> str | None:
        self._run.event(EventKind.STOP_REQUESTED, **whose(command), command_id=command.id)
        self.ending, self.reason = Ending.STOPPED, f"asked for by {command.by}"
        self.command_id = command.id
        return None

    def _kill(self, command: Command) -> str | None:
        self.ending, self.reason = Ending.KILLED, f"killed by {command.by}, without saving"
        self.command_id = command.id
        return None

    def _policy(self, command: Command) -> str | None:
        state = self._run.state
        state.policy = command.policy if command.policy in commands.POLICIES else state.policy
        state.waiting = command.waiting if command.waiting in commands.WAITING else state.waiting
        self._run.event(
            EventKind.POLICY_CHANGED,
            policy=state.policy,
            waiting=state.waiting,
            **whose(command),
            command_id=command.id,
        )
        return None

    def _checkpoint(self, command: Command) -> str | None:
        saved = self._run.save(Cause.COMMAND, pinned=True)
        return None if saved else self._run.recorder.trouble

    def _rollback(self, command: Command) -> str | None:
        name = CheckpointName.parse(command.checkpoint or "")
        if name is None:
            return f"{command.checkpoint!r} is not a checkpoint's name"
        policy = command.policy if command.policy in commands.POLICIES else Policy.ASK
        self._run.recorder.show_phase(Phase.RESTORING)
        try:
            self._run.roll_back(name, policy=policy, **whose(command), command_id=command.id)
        except CheckpointError as error:
            return str(error)
        return None
