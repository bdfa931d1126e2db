"""Training, top to bottom: one attempt at one run, from opening it to its last record."""

import math
import sys
import time
from collections.abc import Callable
from functools import partial

import torch

from hankelboard.settings.config import Config, parse_recorded
from hankelboard.storage import checkpoints
from hankelboard.storage.attempts import Fence
from hankelboard.storage.errors import ConfigError, DamagedRun, Superseded
from hankelboard.storage.figures import percent
from hankelboard.storage.history import History, read_history
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.opening import irregularities
from hankelboard.storage.runs import RunLock, read_run
from hankelboard.storage.schema import EventFields, Whose
from hankelboard.storage.scores import PRIMARY_METRIC
from hankelboard.storage.status import read_status
from hankelboard.storage.vocabulary import Cause, EventKind, Phase, RunState, SnapshotCause
from hankelboard.trainer.compression import permission, systems
from hankelboard.trainer.compression.clock import Clock
from hankelboard.trainer.compression.control import POLL_S, Control, Ending
from hankelboard.trainer.compression.failure import describe, fail, give_up, not_begun
from hankelboard.trainer.compression.offers import Offers
from hankelboard.trainer.compression.provenance import machine, versions
from hankelboard.trainer.compression.recorder import Recorder, StoodAt, memory_mb
from hankelboard.trainer.compression.run import Run
from hankelboard.trainer.compression.signals import AskedToEnd, Signals
from hankelboard.trainer.compression.terminal import say
from hankelboard.trainer.data.scoring import any_scored
from hankelboard.trainer.data.task import batch_indices, without_waiting
from hankelboard.trainer.data.text import text_record
from hankelboard.trainer.training import references
from hankelboard.trainer.training.build import open_session
from hankelboard.trainer.training.resumption import Changes, changes_since
from hankelboard.trainer.training.session import Session
from hankelboard.trainer.training.surroundings import surroundings

SMALLEST_RATE = 1e-7


def train_run(
    paths: RunPaths,
    *,
    keep_log: bool = True,
    accept_changes: Whose | None = None,
    clock: Clock = time,
    wanted: Callable[[History], bool] = lambda history: True,
) -> str:
    """Train a run until it ends: fresh, or from its newest valid checkpoint.

    Hold run.lock meanwhile. Return finished, stopped, interrupted or failed; failed, too, when the settings
    in run.json are refused; interrupted, too, when a later attempt began elsewhere. Handlers of signals,
    threads and generators of the process are afterwards what they were.

    Parameters
    ----------
    keep_log : bool
        Write log.txt. A worker's child need not: its output goes there already.
    accept_changes : Whose, optional
        Who trains on although data, their split or the model's code changed.
    clock : Clock
        By which it waits and deadlines pass.
    wanted : callable
        Whether the run is still to be trained, asked once nobody else can change that: what was known before
        may be over. If not, nothing is done and nothing returned.

    Raises
    ------
    RunHeld
        If another process trains the run.
    RunError
        If the directory is damaged, of a newer format, or holds a link or pipe in a file's place.
    NoTicket
        If a worker started this process, and the run is not the one that the worker looked at.
    """
    if oddities := irregularities(paths):
        raise DamagedRun(f"{paths.run_id}: {'; '.join(oddities)}")
    try:
        run = read_run(paths)
        permission.demand(paths, run)
        config = parse_recorded(run.config)
    except ConfigError as error:  # edited by hand, or of another version
        say(f"{paths.run_id}: {error}", sys.stderr)
        give_up(paths, describe(error), wanted)
        return RunState.FAILED
    try:
        with RunLock(paths, say=partial(say, stream=sys.stderr)) as lock, surroundings(config.training):
            return _train(lock.fence, config, keep_log, accept_changes, clock, wanted)
    except Superseded as error:
        say(str(error), sys.stderr)
        return RunState.INTERRUPTED


def _train(
    fence: Fence,
    config: Config,
    keep_log: bool,
    accept_changes: Whose | None,
    clock: Clock,
    wanted: Callable[[History], bool],
) -> str:
    paths = fence.paths
    history = read_history(paths)
    if not wanted(history):
        return ""
    fence.check()
    checkpoints.remove_strays(paths, fence.number)
    recorder = Recorder(
        fence,
        total_steps=config.training.steps,
        tensorboard=config.output.tensorboard,
        keep_log=keep_log,
    )
    stood = StoodAt.of(history, read_status(paths))
    recorder.follow(stood)
    with Signals() as signals:
        try:
            recorder.show(RunState.STARTING, Phase.RESTORING)
            session = open_session(paths, config, history, recorder, clock)
            changes = changes_since(session, accept_changes)
            signals.hold()
            return run_attempt(session, changes, signals)
        except Superseded:
            raise
        except (Exception, AskedToEnd) as error:  # the process edge: whatever it is, the run says so
            if history.attempt < recorder.attempt:  # it did not begin
                recorder.follow(stood)
                return not_begun(recorder, paths, history, error)
            return fail(recorder, paths, error)
        finally:
            recorder.close()


def run_attempt(session: Session, changes: Changes, signals: Signals) -> RunState:
    """Start or resume, train, and close."""
    run, config = session.run, session.config.reduction
    begin(session, changes)
    followed = session.references if config.ranks_as else None
    offers = Offers(run, session.monitor, session.workload, config, followed)
    control = Control(run, offers.measure)
    signals.listen(control.on_signal)
    train_loop(session, control, offers)
    if control.ending is None:
        control.finish()
        outcome = finish(session)
    else:
        outcome = leave(run, control)
    run.recorder.settle(lambda: control.ending == Ending.INTERRUPTED, run.clock)
    run.recorder.show(outcome, Phase.TRAINING)
    return outcome


def leave(run: Run, control: Control) -> RunState:
    """End before the last step: saved, unless somebody asked to kill."""
    run.recorder.show(RunState.STOPPING, Phase.CHECKPOINTING)
    if control.ending != Ending.KILLED:
        run.save(Cause.STOP)
    interrupted = control.ending == Ending.INTERRUPTED
    kind = EventKind.ATTEMPT_ENDED if interrupted else EventKind.RUN_STOPPED
    run.event(kind, reason=control.reason, command_id=control.command_id)
    return RunState.INTERRUPTED if interrupted else RunState.STOPPED


def begin(session: Session, changes: Changes) -> None:
    """Restore the newest checkpoint, or save the first one."""
    run, monitor = session.run, session.monitor
    restored = run.resume()
    fresh = restored is None
    if fresh:
        run.state.train_s = session.noted_s = session.prepared_s
        if session.config.start.run:
            source = references.source_of(run.paths, session.config, "start.run")
            references.start_from(source, run.model, run.optimizer)
    changes.record_accepted(run)
    run.event(
        EventKind.ATTEMPT_STARTED,
        checkpoint=restored,
        state_dims=run.state_dims,
        policy=run.state.policy,
        device=str(run.device),
        threads=torch.get_num_threads(),
        versions=versions(),
        machine=machine(run.device),
        fingerprints=session.fingerprints,
        data_seed=session.data_seed,
    )
    changes.record_noticed(run)
    if fresh:
        started: EventFields = {"references": session.references.records}
        if session.task.alphabet:
            started["text"] = text_record(session.task)
        run.event(EventKind.RUN_STARTED, **started)
    run.reshaped()
    if fresh:
        monitor.evaluate()
        log(session, run.state.last)
        monitor.record_spectra(SnapshotCause.SCHEDULED)
        monitor.record_systems()
        run.save(Cause.START, pinned=True)


def train_loop(session: Session, control: Control, offers: Offers) -> None:
    """Update until the last step or until somebody ends it."""
    run = session.run
    while True:
        hold_at_boundary(run, control, offers)
        state = run.state  # a rollback replaces it
        if control.ending is not None or state.step >= run.steps:
            return
        run.recorder.show(RunState.RUNNING, Phase.TRAINING)
        started = time.perf_counter()
        session.losses.append(optimizer_step(session))
        state.train_s += time.perf_counter() - started
        record_step(session)


def hold_at_boundary(run: Run, control: Control, offers: Offers) -> None:
    """Obey commands, then propose and cut, between two steps; wait here while paused or undecided."""
    while control.ending is None:
        control.obey(at_once=offers.holds_training or control.paused)
        if control.ending is None and not control.paused:
            offers.advance()
            if not offers.holds_training:
                return
        else:
            offers.hold()
        run.recorder.show(
            RunState.PAUSED if control.paused else RunState.WAITING_FOR_DECISION, Phase.TRAINING
        )
        run.clock.sleep(POLL_S / 2)
        run.state.waiting_s += POLL_S / 2


def optimizer_step(session: Session) -> tuple[torch.Tensor, torch.Tensor]:
    """Update once; return the loss and whether anything was scored, both still on the device."""
    run, training, train = session.run, session.config.training, session.task.train
    state, optimizer = run.state, run.optimizer
    numbers = batch_indices(len(train), training.batch, state.position, training.seed)
    chosen = without_waiting(numbers, run.device)
    set_learning_rate(optimizer, learning_rate(session.config, state.step))
    run.model.train()
    with session.workload.autocast():
        logits, labels = session.forward(train.inputs[chosen]), train.labels[chosen]
        loss = session.objective.loss(logits, labels, chosen, state.step)
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    optimizer.step()
    state.step += 1
    state.position += training.batch
    return loss.detach(), any_scored(labels)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def learning_rate(config: Config, step: int) -> float:
    """Return the rate of a step: linear warm-up from 1e-7, then cosine to 1e-7, or constant."""
    training = config.training
    warmup = round(training.warmup * training.steps)
    if step < warmup:
        return SMALLEST_RATE + (training.learning_rate - SMALLEST_RATE) * (step + 1) / warmup
    if training.schedule == "constant":
        return training.learning_rate
    progress = (step - warmup) / max(1, training.steps - warmup)
    cosine = 0.5 * (1.0 + math.cos(math.pi * progress))
    return SMALLEST_RATE + (training.learning_rate - SMALLEST_RATE) * cosine


def record_step(session: Session) -> None:
    """Record metrics, evaluation, spectra and checkpoints, each at its own cadence."""
    run, monitor, training = session.run, session.monitor, session.config.training
    step, last = run.state.step, run.state.step == run.steps
    evaluated = monitor.evaluate() if step % training.evaluate_every == 0 or last else {}
    if step % training.log_every == 0 or evaluated:
        note_speed(session, len(session.losses))
        log(session, {**training_loss(session), **evaluated})
    if training.spectra_every and step % training.spectra_every == 0:
        monitor.record_spectra(SnapshotCause.SCHEDULED)
    if systems.is_due(step, run.steps):
        monitor.record_systems()
    if training.checkpoint_every and step % training.checkpoint_every == 0 and not last:
        run.save(Cause.SCHEDULED)


def training_loss(session: Session) -> dict[str, float]:
    """Return the mean loss since the last record, of updates in which something was scored; none, nothing."""
    losses, scored = (torch.stack(parts) for parts in zip(*session.losses, strict=True))
    session.losses.clear()
    if not scored.any():
        return {}
    loss = losses[scored].mean().item()
    finite = math.isfinite(loss)
    if not finite and session.loss_was_finite:
        session.run.event(EventKind.LOSS_NOT_FINITE)
    session.loss_was_finite = finite
    return {"train/loss": loss}


def note_speed(session: Session, steps: int) -> None:
    """Note steps per second of training since the last record; waiting and measuring do not count."""
    seconds = session.run.state.train_s
    spent = seconds - session.noted_s
    if spent > 0:
        session.run.recorder.steps_per_s = steps / spent
    session.noted_s = seconds


def log(session: Session, values: dict[str, float]) -> None:
    """Record metrics, with the learning rate and what the process uses."""
    run, recorder = session.run, session.run.recorder
    session.energy.note(run.state)
    extra: dict[str, float] = {"lr": learning_rate(session.config, run.state.step)}
    if recorder.steps_per_s:
        extra["steps_per_s"] = round(recorder.steps_per_s, 3)
    if run.device.type == "cuda":
        extra["gpu_memory_mb"] = round(torch.cuda.max_memory_allocated(run.device) / 2**20, 1)
    recorder.metrics({**values, **extra, "memory_mb": memory_mb()})
    if PRIMARY_METRIC in values:
        loss = f"loss {values['train/loss']:.4f} " if "train/loss" in values else ""
        recorder.say(
            f"step {run.state.step}/{run.steps} branch {run.state.branch} "
            f"N {run.state_dims} {loss}validation {percent(values[PRIMARY_METRIC])}"
        )


def finish(session: Session) -> RunState:
    """Save the last checkpoint, and evaluate the test data for the first and only time."""
    run, state = session.run, session.run.state
    cuts = [outcome.applied for outcome in run.history.proposals.values() if outcome.applied]
    if any(cut["step"] == state.step for cut in cuts):
        log(session, state.last)  # the last validation is that of the network as it is now
    run.save(Cause.FINISH, pinned=True)
    run.recorder.show(RunState.RUNNING, Phase.EVALUATING)
    test = session.workload.test(run.model)
    said = f"test accuracy {percent(test['accuracy'])}" if "accuracy" in test else "no test data is scored"
    run.event(
        EventKind.RUN_FINISHED, best=state.best, test=test, train_s=state.train_s, cutting_s=state.cutting_s
    )
    run.recorder.say(f"finished: {said}, N {run.state_dims}, {state.train_s:.1f} s of training")
    return RunState.FINISHED
