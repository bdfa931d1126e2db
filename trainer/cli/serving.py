"""Commands that keep running: demo, up, run, worker."""

import argparse
import os
import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hankelboard.settings.config import parse
from hankelboard.settings.preset import find_preset
from hankelboard.settings.toml import merge
from hankelboard.storage.errors import CommandRefused, DamagedRun, HankelboardError
from hankelboard.storage.history import read_history
from hankelboard.storage.references import state_beside, waits_for
from hankelboard.storage.runs import create_run, list_runs, read_run
from hankelboard.trainer.cli.arguments import add_command, run_of, runs_of, user
from hankelboard.trainer.cli.side_by_side import Kept, SideBySide
from hankelboard.trainer.compression.inbox import unanswered

DEMO_GROUP = "demo"
# (preset, name, keys that differ). One CPU thread each: two runs train side by side on two cores.
DEMO_RUNS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (
        "digits-lru",
        "Digits, cut while it trains",
        {"reduction": {"policy": "ask", "steps": [450, 900, 1500], "tolerance": 0.07}},
    ),
    ("digits-baseline", "Digits, full size", {}),
    ("digits-scratch", "Digits, small from scratch", {}),
)
WEB_PATIENCE_S = 5.0
WORKER_PATIENCE_S = 30.0
"""More than the worker gives its own children to save."""
DEMO_TRAINING = {"training": {"threads": 1, "steps": 6000}}


def add_commands(commands: Any) -> None:
    parser = add_command(commands, "demo", demo, "queue three runs on embedded data and start everything")
    _add_port(parser)
    parser = add_command(commands, "up", up, "start the dashboard and a worker")
    _add_port(parser)
    _add_jobs(parser)
    parser = add_command(commands, "run", run, "train one run in the foreground; Ctrl-C stops and saves",
                         example="hankelboard run RUN")  # fmt: skip
    parser.add_argument("run", metavar="RUN")
    parser = add_command(commands, "worker", worker, "train queued runs, one child process each")
    parser.add_argument("--once", action="store_true", help="end when nothing is left to do")
    _add_jobs(parser)


def _add_port(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=8501, help="of the dashboard (default: 8501)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to bind (default: 127.0.0.1; there is no sign-in)"
    )


def _add_jobs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs to train at once (default: 1)")


def demo(options: argparse.Namespace) -> int:
    _refuse_used_port(options)
    runs = runs_of(options)
    if any(_is_demo(paths) for paths in list_runs(runs)):
        print(f"the demo's runs are in {runs} already; starting the servers")
    else:
        for preset_name, name, keys in DEMO_RUNS:
            preset = find_preset(preset_name)
            config = parse(merge(merge(preset.tables, DEMO_TRAINING), keys))
            create_run(
                runs, name=name, config=config.as_dict(), preset=preset.name, group=DEMO_GROUP,
                role=preset.role, seed=config.training.seed, by=user(),
            )  # fmt: skip
        print(f"three runs queued in {runs}; the first one will ask you for a decision within two minutes")
    return serve(options, jobs=2)


def _is_demo(paths: Any) -> bool:
    try:
        return read_run(paths).group == DEMO_GROUP
    except HankelboardError:
        return False


def up(options: argparse.Namespace) -> int:
    _refuse_used_port(options)
    return serve(options, jobs=options.jobs)


def _refuse_used_port(options: argparse.Namespace) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((options.host, options.port))
        except OSError as error:
            raise CommandRefused(
                f"port {options.port} on {options.host}: {error.strerror}; choose another with --port "
                f"(make demo PORT={options.port + 1})"
            ) from None


def serve(options: argparse.Namespace, *, jobs: int) -> int:
    """Web and worker side by side, as in the Procfile, until a signal comes; who dies is started again."""
    runs = str(runs_of(options).resolve())
    web = ["streamlit", "run", str(dashboard()), "--server.port", str(options.port), "--server.address",
           options.host]  # fmt: skip
    worker = ["hankelboard", "worker", "--jobs", str(jobs)]
    both = SideBySide(
        [
            Kept(name="web", command=[sys.executable, "-P", "-m", *web], patience_s=WEB_PATIENCE_S),
            Kept(name="worker", command=[sys.executable, "-P", "-m", *worker], patience_s=WORKER_PATIENCE_S),
        ],
        {**os.environ, "HANKELBOARD_RUNS": runs, "PYTHONUNBUFFERED": "1"},
    )
    both.stop_at_signals()
    address = f"http://{options.host}:{options.port}"
    print(f"\n    Hankelboard: {address}    (Ctrl-C ends it; runs are saved)\n", flush=True)
    return both.run()


def dashboard() -> Path:
    """The script that Streamlit runs. Found, not imported: trainer knows nothing of app."""
    spec = find_spec("hankelboard.app")
    if spec is None or spec.origin is None:
        raise CommandRefused("hankelboard.app is not installed; reinstall hankelboard")
    return Path(spec.origin).with_name("server.py")


def run(options: argparse.Namespace) -> int:
    paths = run_of(options)
    identity, history = read_run(paths), read_history(paths)
    asked = list(unanswered(paths, history))
    if history.state == "finished" and not any(command.kind == "rollback" for command in asked):
        print(f"{identity.id} is finished; roll it back to train on from a checkpoint")
        return 0
    if history.state == "cancelled" and not any(command.kind == "resume" for command in asked):
        raise CommandRefused(
            f"{identity.id} was cancelled; `hankelboard send {identity.id} resume` revives it"
        )
    waits = waits_for(identity.config, state_beside(paths)) if history.state == "queued" else ""
    if waits:
        raise CommandRefused(f"{identity.id} {waits}")
    if not os.access(paths.root, os.W_OK):
        raise DamagedRun(f"{identity.id}: the directory is read-only; copy it to a place that can be written")
    # Several runs on one machine: threads that spin while they wait would take the cores from each other.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from hankelboard.trainer.training.loop import train_run  # imports torch
    from hankelboard.trainer.work.worker import CHILD_MARK

    outcome = train_run(paths, keep_log=CHILD_MARK not in os.environ)
    return 0 if outcome in ("finished", "stopped") else 1


def worker(options: argparse.Namespace) -> int:
    from hankelboard.trainer.work.worker import Worker

    if options.jobs < 1:
        raise CommandRefused("--jobs: must be at least 1")
    Worker(runs_of(options), jobs=options.jobs).work(once=options.once)
    return 0
