"""Training, top to bottom: one attempt at one run, from opening it to its last record."""

import math
import sys
import time
import traceback

import torch

from hankelboard.settings.config import Config, parse_recorded
from hankelboard.storage import checkpoints
from hankelboard.storage.errors import ConfigError, HankelboardError
from hankelboard.storage.history import read_history
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.runs import RunLock, read_run
from hankelboard.trainer.compression import systems
from hankelboard.trainer.compression.control import POLL_S, Control
from hankelboard.trainer.compression.evidence import evaluate
from hankelboard.trainer.compression.offers import Reductions
from hankelboard.trainer.compression.provenance import machine, versions
from hankelboard.trainer.compression.recorder import Recorder, memory_mb
from hankelboard.trainer.compression.session import Session
from hankelboard.trainer.data.task import batch_indices
from hankelboard.trainer.data.text import text_record
from hankelboard.trainer.training import references
from hankelboard.trainer.training.build import open_session
from hankelboard.trainer.work import orphans

MAX_FRUITLESS_ATTEMPTS = 3
SMALLEST_RATE = 1e-7


def train_run(paths: RunPaths, *, keep_log: bool = True) -> str:
    """Train a run until it ends: fresh, or from its newest valid checkpoint.

    Holds run.lock meanwhile. Returns finished, stopped, interrupted or failed; failed, too, when the settings
    in run.json are refused.

    Raises
    ------
    RunHeld
        If another process trains the run.
    RunError
        If the directory is damaged or of a newer format.
    """
    try:
        config = parse_recorded(read_run(paths).config)
    except ConfigError as error:  # edited by hand, or of another version
        print(f"{paths.run_id}: {error}", file=sys.stderr, flush=True)
        orphans.fail(paths, describe(error))
        return "failed"
    with RunLock(paths):
        checkpoints.remove_strays(paths)
        history = read_history(paths)
        recorder = Recorder(
            paths,
            total_steps=config.training.steps,
            attempt=history.attempt + 1,
            tensorboard=config.output.tensorboard,
            keep_log=keep_log,
        )
        try:
            if history.attempts_without_checkpoint >= MAX_FRUITLESS_ATTEMPTS:
                raise HankelboardError(f"{MAX_FRUITLESS_ATTEMPTS} attempts in a row reached no checkpoint")
            recorder.show("starting", "restoring")
            session = open_session(paths, config, history, recorder)
            return run_attempt(session)
        except Exception as error:  # the process edge: whatever it is, the run says so
            fail(recorder, paths, error)
            return "failed"
        finally:
            recorder.close()


def fail(recorder: Recorder, paths: RunPaths, error: Exception) -> None:
    """Say why the run failed, and refuse the commands for which a worker would start it again at once."""
    if not isinstance(error, HankelboardError):  # whose message a traceback would hide
        traceback.print_exc()
    recorder.event("run_failed", reason=describe(error))
    for command in orphans.wanting_an_attempt(paths, read_history(paths)):
        refused = {"command_id": command.id, "command": command.kind, "by": command.by}
        recorder.event("command_refused", **refused, reason=orphans.FAILED)
    recorder.show("failed", "training")


def describe(error: Exception) -> str:
    """An error in one line."""
    text = str(error).strip().splitlines()
    return text[0] if isinstance(error, HankelboardError) and text else f"{type(error).__name__}: {error}"


def run_attempt(session: Session) -> str:
    """Start or resume, train, and close."""
    begin(session)
    reductions = Reductions(session)
    control = Control(session, reductions.measure)
    control.listen_to_signals()
    train_loop(session, control, reductions)
    if control.ending is None:
        control.finish()
        outcome = finish(session)
    else:
        outcome = leave(session, control)
    session.recorder.settle(lambda: control.ending == "interrupted")
    session.recorder.show(outcome, "training")
    return outcome


def leave(session: Session, control: Control) -> str:
    """End before the last step: saved, unless somebody asked to kill."""
    session.recorder.show("stopping", "checkpointing")
    if control.ending != "killed":
        session.save("stop")
    outcome = "interrupted" if control.ending == "interrupted" else "stopped"
    kind = "run_stopped" if outcome == "stopped" else "attempt_ended"
    session.event(kind, reason=control.reason, command_id=control.command_id)
    return outcome


def begin(session: Session) -> None:
    """Restore the newest checkpoint, or save the first one."""
    restored = session.resume()
    fresh = restored is None
    if fresh:
        session.state.train_s += session.prepared_s
        if session.config.start.run:
            source = references.source_of(session.paths, session.config, "start.run")
            references.start_from(source, session.model, session.optimizer)
            session.adopt(session.state)
    session.event(
        "attempt_started",
        checkpoint=restored,
        state_dims=session.state_dims,
        policy=session.state.policy,
        device=str(session.device),
        threads=torch.get_num_threads(),
        versions=versions(),
        machine=machine(session.device),
    )
    if fresh:
        text = {"text": text_record(session.task)} if session.task.alphabet else {}
        session.event("run_started", references=session.references.records, **text)
    session.settle_forms()
    if fresh:
        session.evaluate()
        log(session, session.state.last)
        session.record_spectra("scheduled")
        session.record_systems()
        session.save("start", pinned=True)


def train_loop(session: Session, control: Control, reductions: Reductions) -> None:
    """Steps until the last one or until somebody ends it. `loss` is the mean since the last record."""
    total = session.config.training.steps
    losses: list[torch.Tensor] = []
    while True:
        hold_at_boundary(session, control, reductions)
        state = session.state  # a rollback replaces it
        if control.ending is not None or state.step >= total:
            return
        session.recorder.show("running", "training")
        started = time.perf_counter()
        losses.append(optimizer_step(session))
        state.train_s += time.perf_counter() - started
        record_step(session, losses)


def hold_at_boundary(session: Session, control: Control, reductions: Reductions) -> None:
    """Between two steps: commands first, then proposals; waits here while paused or undecided."""
    while control.ending is None:
        control.obey(at_once=reductions.holds_training or control.paused)
        if control.ending is None and not control.paused:
            reductions.advance()
            if not reductions.holds_training:
                return
        else:
            reductions.hold()
        state = "paused" if control.paused else "waiting_for_decision"
        session.recorder.show(state, "training")
        time.sleep(POLL_S / 2)
        session.state.waiting_s += POLL_S / 2


def optimizer_step(session: Session) -> torch.Tensor:
    """One update; returns the loss, still on the device."""
    state, training, train = session.state, session.config.training, session.task.train
    chosen = torch.as_tensor(
        batch_indices(len(train), training.batch, state.position, training.seed), device=session.device
    )
    set_learning_rate(session)
    session.model.train()
    forward = session.forward or session.model
    with session.autocast():
        logits = forward(train.inputs[chosen])
        loss = session.objective.loss(logits, train.labels[chosen], chosen, state.step)
    session.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    session.optimizer.step()
    state.step += 1
    state.position += training.batch
    return loss.detach()


def set_learning_rate(session: Session) -> None:
    rate = learning_rate(session.config, session.state.step)
    for group in session.optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def learning_rate(config: Config, step: int) -> float:
    """Linear warm-up from 1e-7, then cosine to 1e-7, or constant."""
    training = config.training
    warmup = round(training.warmup * training.steps)
    if step < warmup:
        return SMALLEST_RATE + (training.learning_rate - SMALLEST_RATE) * (step + 1) / warmup
    if training.schedule == "constant":
        return training.learning_rate
    progress = (step - warmup) / max(1, training.steps - warmup)
    cosine = 0.5 * (1.0 + math.cos(math.pi * progress))
    return SMALLEST_RATE + (training.learning_rate - SMALLEST_RATE) * cosine


def record_step(session: Session, losses: list[torch.Tensor]) -> None:
    """Metrics, evaluation, spectra and checkpoints, each at its own cadence."""
    state, training = session.state, session.config.training
    last = state.step == training.steps
    evaluated = session.evaluate() if state.step % training.evaluate_every == 0 or last else {}
    if state.step % training.log_every == 0 or evaluated:
        loss = torch.stack(losses).mean().item()
        note_speed(session, len(losses))
        losses.clear()
        finite = math.isfinite(loss)
        if not finite and session.loss_was_finite:
            session.event("loss_not_finite")
        session.loss_was_finite = finite
        log(session, {"train/loss": loss, **evaluated})
    if training.spectra_every and state.step % training.spectra_every == 0:
        session.record_spectra("scheduled")
    if systems.is_due(state.step, training.steps):
        session.record_systems()
    if training.checkpoint_every and state.step % training.checkpoint_every == 0 and not last:
        session.save("scheduled")


def note_speed(session: Session, steps: int) -> None:
    """Steps per second of training since the last record; waiting and measuring do not count."""
    recorder, seconds = session.recorder, session.state.train_s
    spent = seconds - recorder.train_s_noted
    if spent > 0:
        recorder.steps_per_s = steps / spent
    recorder.train_s_noted = seconds


def log(session: Session, values: dict[str, float]) -> None:
    extra: dict[str, float] = {"lr": learning_rate(session.config, session.state.step)}
    if session.recorder.steps_per_s:
        extra["steps_per_s"] = round(session.recorder.steps_per_s, 3)
    if session.device.type == "cuda":
        extra["gpu_memory_mb"] = round(torch.cuda.max_memory_allocated(session.device) / 2**20, 1)
    session.recorder.metrics({**values, **extra, "memory_mb": memory_mb()})
    if "val/accuracy" in values:
        loss = f"loss {values['train/loss']:.4f} " if "train/loss" in values else ""
        session.recorder.say(
            f"step {session.state.step}/{session.config.training.steps} branch {session.state.branch} "
            f"N {session.state_dims} {loss}validation {values['val/accuracy']:.2%}"
        )


def finish(session: Session) -> str:
    """The last checkpoint, and the test data for the first and only time."""
    cuts = [outcome.applied for outcome in session.history.proposals.values() if outcome.applied]
    if any(cut["step"] == session.state.step for cut in cuts):
        log(session, session.state.last)  # the last validation is that of the network as it is now
    session.save("finish", pinned=True)
    session.recorder.show("running", "evaluating")
    with session.autocast():
        test = evaluate(session.model, session.task.test, text=session.task.text)
    session.event("run_finished", best=session.state.best, test=test, train_s=session.state.train_s)
    session.recorder.say(
        f"finished: test accuracy {test['accuracy']:.2%}, N {session.state_dims}, "
        f"{session.state.train_s:.1f} s of training"
    )
    return "finished"
