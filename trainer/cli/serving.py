"""Commands that keep running: demo, up, web, run, worker."""

import argparse
import importlib
import os
import socket
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hankelboard.access.state_folder import state_folder
from hankelboard.storage import lifeline
from hankelboard.storage.errors import CommandRefused, DamagedRun, HankelboardError, RunHeld
from hankelboard.storage.history import History, read_history
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.lifeline import CHILD_MARK
from hankelboard.storage.references import state_beside, waits_for
from hankelboard.storage.runs import Run, list_runs, read_run
from hankelboard.storage.schema import Whose
from hankelboard.storage.vocabulary import CommandKind, RunState
from hankelboard.trainer.cli import entering
from hankelboard.trainer.cli.adopting import offer
from hankelboard.trainer.cli.arguments import add_by, add_command, need, run_of, runs_of, whose
from hankelboard.trainer.cli.port_holder import port_holder
from hankelboard.trainer.cli.side_by_side import Kept, SideBySide
from hankelboard.trainer.compression.inbox import unanswered
from hankelboard.trainer.compression.terminal import say
from hankelboard.trainer.work.orphans import wants_trainer
from hankelboard.trainer.work.worker import JOBS_MARK, LEFT_ALONE

DEMO_GROUP = "demo"
# (preset, name, keys that differ). One CPU thread each: two runs train side by side on two cores.
DEMO_RUNS = (
    (
        "digits-lru",
        "Digits, cut while it trains",
        ("reduction.policy=ask", "reduction.steps=[450, 900, 1500]", "reduction.tolerance=0.07"),
    ),
    ("digits-baseline", "Digits, full size", ()),
    ("digits-scratch", "Digits, small from scratch", ()),
)
DEMO_TRAINING = ("training.threads=1", "training.steps=6000")
WEB_PATIENCE_S = 5.0
WORKER_PATIENCE_S = 30.0
"""More than the worker gives its own children to save."""
PACKAGES_OF_PAGES = ("streamlit", "pandas", "altair", "pyarrow", "watchdog")


def add_commands(commands: Any) -> None:
    parser = add_command(commands, "demo", demo)
    _add_serving(parser)
    parser = add_command(commands, "up", up)
    _add_serving(parser)
    _add_jobs(parser)
    _add_serving(add_command(commands, "web", web))
    parser = add_command(commands, "run", run,
                         example="hankelboard run RUN")  # fmt: skip
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--accept-changes", action="store_true",
                        help="train on although data, split or the model's code changed")  # fmt: skip
    add_by(parser)
    parser = add_command(commands, "worker", worker)
    parser.add_argument("--once", action="store_true", help="end when nothing is left to do")
    _add_jobs(parser)


def _add_serving(parser: argparse.ArgumentParser) -> None:
    entering.add_arguments(parser)
    _add_allowed(parser)


def _add_allowed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--allow-code", action="append", default=[], metavar="PACKAGE[.MODULE][:NAME]",
                        help="code of your own that page New run may start; repeatable")  # fmt: skip
    parser.add_argument("--allow-folder", action="append", default=[], metavar="DIR",
                        help="folder that it may name, as it may the current one; repeatable")  # fmt: skip


def _allowed(options: argparse.Namespace) -> dict[str, str]:
    """Return the variables that say what a browser may start and read."""
    from hankelboard.settings.limits import ALLOW_CODE, ALLOW_FOLDERS

    code = [*options.allow_code, os.environ.get(ALLOW_CODE, "")]
    folders = [*options.allow_folder, *os.environ.get(ALLOW_FOLDERS, "").split(os.pathsep)]
    return {
        ALLOW_CODE: ",".join(filter(None, code)),
        ALLOW_FOLDERS: os.pathsep.join(str(Path(folder).absolute()) for folder in folders if folder),
    }


def _add_jobs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs to train at once (default: 1)")


def demo(options: argparse.Namespace) -> int:
    _make_ready(options)
    runs = runs_of(options)
    if any(_is_demo(paths) for paths in list_runs(runs)):
        say(f"the demo's runs are in {runs} already; starting the servers")
    else:
        _queue_demo(runs, whose(options))
        say(f"three runs queued in {runs}; the first one will ask you for a decision within two minutes")
    return serve(options, jobs=2)


def _queue_demo(runs: Path, who: Whose) -> None:
    from hankelboard.settings.new_run import NewRun, create

    for preset, name, keys in DEMO_RUNS:
        chosen = NewRun(preset=preset, name=name, group=DEMO_GROUP, assignments=(*DEMO_TRAINING, *keys))
        create(runs, chosen, **who)


def _is_demo(paths: Any) -> bool:
    try:
        return read_run(paths).group == DEMO_GROUP
    except (HankelboardError, OSError):
        return False


def up(options: argparse.Namespace) -> int:
    _make_ready(options)
    return serve(options, jobs=options.jobs)


def _make_ready(options: argparse.Namespace) -> None:
    """Refuse what cannot or must not be served, before anything starts."""
    need("the dashboard", *PACKAGES_OF_PAGES, install="hankelboard")
    entering.check(options)
    _refuse_used_port(options)


def _refuse_used_port(options: argparse.Namespace) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((options.host, options.port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            if holder := port_holder(options.port):
                reason = f"{reason}, by {holder}"
            raise CommandRefused(
                f"port {options.port} on {options.host}: {reason}; choose another with --port "
                f"(make demo PORT={options.port + 1})"
            ) from None


def serve(options: argparse.Namespace, *, jobs: int) -> int:
    """Run web and worker side by side, as the Procfile does, until a signal; restart the one that dies."""
    hankelboard = [sys.executable, "-P", "-m", "hankelboard"]
    web = [*hankelboard, "web", *entering.as_arguments(options)]
    worker = [*hankelboard, "worker", "--jobs", str(jobs)]
    both = SideBySide(
        [
            Kept(name="web", command=web, patience_s=WEB_PATIENCE_S),
            Kept(name="worker", command=worker, patience_s=WORKER_PATIENCE_S),
        ],
        {**os.environ, **_allowed(options), "HANKELBOARD_RUNS": str(runs_of(options).resolve()),
         "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    offer(runs_of(options))
    both.stop_at_signals()
    address = entering.address_with_token(options)
    say(f"\n    Hankelboard: {address}    (Ctrl-C ends it; runs are saved)\n")
    return both.run()


def web(options: argparse.Namespace) -> int:
    """Turn this process into the web server.

    It runs in the folder of the dashboard, so that nothing in the current one is imported or, as another
    project's .streamlit/config.toml, read. What is meant from here is handed on in full.
    """
    _make_ready(options)
    folder = dashboard()
    command = [sys.executable, "-P", "-m", "hankelboard.app", options.host, str(options.port)]
    environment = {**entering.environment(options), **_places(options), **_allowed(options)}
    if not lifeline.is_held():
        say(f"the dashboard: {entering.address_with_token(options)}")
    os.chdir(folder)
    os.execve(sys.executable, command, environment)


def _places(options: argparse.Namespace) -> dict[str, str]:
    """Return the variables that hold folders, none of them relative."""
    from hankelboard.settings.toml import home_expanded

    here = Path.cwd()
    places = {
        "HANKELBOARD_FOLDER": str(here),
        "HANKELBOARD_RUNS": str(runs_of(options).resolve()),
        "HANKELBOARD_STATE": str(here / state_folder()),
    }
    if data := os.environ.get("HANKELBOARD_DATA"):
        places["HANKELBOARD_DATA"] = str(here / home_expanded(data))
    if path := os.environ.get("PYTHONPATH"):
        places["PYTHONPATH"] = os.pathsep.join(str(here / part) for part in path.split(os.pathsep))
    return places


def dashboard() -> Path:
    """Return the folder of the dashboard. It is located, not imported: trainer never imports app."""
    spec = find_spec("hankelboard.app")
    if spec is None or spec.origin is None:
        raise CommandRefused("hankelboard.app is not installed; reinstall hankelboard")
    return Path(spec.origin).parent


def run(options: argparse.Namespace) -> int:
    paths = run_of(options)
    identity, history = read_run(paths), read_history(paths)
    wanted = partial(_is_wanted, paths, identity)
    if not wanted(history):
        return _left_alone(identity, history)
    waits = waits_for(identity.config, state_beside(paths)) if history.state == RunState.QUEUED else ""
    if waits:
        raise CommandRefused(f"{identity.id} {waits}")
    if not os.access(paths.root, os.W_OK):
        raise DamagedRun(f"{identity.id}: the directory is read-only; copy it to a place that can be written")
    from hankelboard.trainer.work import log_keeper

    is_child = CHILD_MARK in os.environ
    if is_child:
        log_keeper.keep_output(paths.log)
    # Several runs on one machine: threads that spin while they wait would take the cores from each other.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from hankelboard.trainer.training.cores import take_share  # imports torch
    from hankelboard.trainer.training.loop import train_run

    jobs = os.environ.get(JOBS_MARK, "")
    take_share(int(jobs) if jobs.isdecimal() else 1)
    accepts = whose(options) if options.accept_changes else None
    try:
        outcome = train_run(paths, keep_log=not is_child, accept_changes=accepts, wanted=wanted)
    except RunHeld as error:
        if not is_child:
            raise
        say(str(error), sys.stderr)
        return LEFT_ALONE
    if not outcome:
        return _left_alone(identity, read_history(paths))
    return 0 if outcome in (RunState.FINISHED, RunState.STOPPED) else 1


def _is_wanted(paths: RunPaths, identity: Run, history: History) -> bool:
    """Return whether there is something to train: by a worker's rules for its child, else if possible."""
    asked = list(unanswered(paths, history))
    if CHILD_MARK in os.environ:
        return wants_trainer(identity, history, asked)
    revived_by = {RunState.FINISHED: CommandKind.ROLLBACK, RunState.CANCELLED: CommandKind.RESUME}
    needed = revived_by.get(RunState(history.state))
    return needed is None or any(command.kind == needed for command in asked)


def _left_alone(identity: Run, history: History) -> int:
    if CHILD_MARK in os.environ:
        return LEFT_ALONE
    if history.state != RunState.FINISHED:
        raise CommandRefused(
            f"{identity.id} was cancelled; `hankelboard send {identity.id} resume` revives it"
        )
    say(f"{identity.id} is finished; roll it back to train on from a checkpoint")
    return 0


def worker(options: argparse.Namespace) -> int:
    importlib.import_module("hankelboard.settings")  # a plugin that fails ends the worker, not each child
    from hankelboard.trainer.work.worker import Worker

    if options.jobs < 1:
        raise CommandRefused("--jobs: must be at least 1")
    lifeline.follow(WORKER_PATIENCE_S)
    Worker(runs_of(options), jobs=options.jobs).work(once=options.once)
    return 0
