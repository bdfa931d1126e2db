"""Commands that create: new, decide, send, rollback."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hankelboard.storage import commands
from hankelboard.storage.commands import KINDS, POLICIES, WAITING
from hankelboard.storage.errors import CommandRefused, ConfigError
from hankelboard.storage.figures import percent
from hankelboard.storage.history import read_history
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.proposals import VERDICTS, decide, read_evidence
from hankelboard.storage.runs import is_held
from hankelboard.storage.schema import Analysis, Point
from hankelboard.storage.systems import publish_analysis
from hankelboard.storage.vocabulary import CommandKind, CommandState, Policy, Verdict
from hankelboard.storage.workers import present
from hankelboard.trainer.cli.adopting import adopt_for_command
from hankelboard.trainer.cli.arguments import add_by, add_command, run_of, runs_of, whole_numbers, whose
from hankelboard.trainer.cli.reading import print_json
from hankelboard.trainer.compression.failure import REVIVING
from hankelboard.trainer.compression.terminal import say
from hankelboard.trainer.work import orphans

if TYPE_CHECKING:
    from hankelboard.settings.new_run import NewRun

WITH_ARGUMENTS = (CommandKind.ROLLBACK, CommandKind.POLICY, CommandKind.MEASURE)
"""Kinds of commands that `send` leaves to commands of their own."""


def add_commands(commands: Any) -> None:
    _add_new(commands)
    _add_decide(commands)
    _add_send(commands)
    _add_policy(commands)
    _add_measure(commands)
    _add_rollback(commands)
    _add_analyse(commands)


def _add_new(commands: Any) -> None:
    parser = add_command(commands, "new", new, json=True,
                         example="hankelboard new --preset digits-lru --set training.steps=3000")  # fmt: skip
    parser.add_argument("--preset", required=True, metavar="NAME", help="see `hankelboard presets`")
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="TOML with keys that differ from the preset"
    )
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="assignments",
                        help="one key; see `hankelboard presets --fields`")  # fmt: skip
    parser.add_argument("--policy", choices=POLICIES, help="what decides on proposals")
    parser.add_argument("--name", help="name for people (default: the preset's)")
    parser.add_argument("--group", default="", help="runs that belong together")
    parser.add_argument(
        "--no-queue", action="store_true", help="leave it to `hankelboard run`, not to a worker"
    )
    add_by(parser)


def _add_decide(commands: Any) -> None:
    parser = add_command(commands, "decide", decide_proposal, json=True,
                         example="hankelboard decide RUN 1 approve --ranks 20,24")  # fmt: skip
    _add_proposal(parser)
    parser.add_argument("verdict", choices=VERDICTS)
    _add_ranks(parser, "other ranks than proposed, one per layer")
    parser.add_argument("--reason", default="")
    add_by(parser)


def _add_send(commands: Any) -> None:
    parser = add_command(commands, "send", send, json=True,
                         example="hankelboard send RUN stop --at-step 5000",
                         more="stop saves and ends; kill ends without saving, also what hangs")  # fmt: skip
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("kind", choices=[kind for kind in KINDS if kind not in WITH_ARGUMENTS])
    _add_acceptance(parser)
    _add_wait(parser)


def _add_policy(commands: Any) -> None:
    parser = add_command(commands, "policy", policy, json=True,
                         example="hankelboard policy RUN auto")  # fmt: skip
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("policy", choices=POLICIES, nargs="?")
    parser.add_argument("--waiting", choices=WAITING, help="while a person decides: pause, or train on")
    _add_wait(parser)


def _add_measure(commands: Any) -> None:
    parser = add_command(commands, "measure", measure, json=True,
                         example="hankelboard measure RUN 1 --ranks 20,24",
                         more="without --ranks: what the time limit had left out")  # fmt: skip
    _add_proposal(parser)
    _add_ranks(parser, "one per layer")
    _add_wait(parser)


def _add_rollback(commands: Any) -> None:
    parser = add_command(commands, "rollback", rollback, json=True,
                         example="hankelboard rollback RUN b0-00000500-a0-0003")  # fmt: skip
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="see `hankelboard checkpoints RUN`")
    parser.add_argument(
        "--policy", choices=POLICIES, default=Policy.ASK, help="of the new branch (default: ask)"
    )
    _add_acceptance(parser)
    _add_wait(parser)


def _add_analyse(commands: Any) -> None:
    parser = add_command(commands, "analyse", analyse, json=True,
                         example="hankelboard analyse RUN", more="kept for the pages")  # fmt: skip
    parser.add_argument("run", metavar="RUN")
    parser.add_argument(
        "--no-save", action="store_true", help="print only (for a directory that is read-only)"
    )


def _add_proposal(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("proposal", type=int, metavar="PROPOSAL")


def _add_ranks(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("--ranks", type=_ranks, metavar="R,R,…", help=help)


def _add_acceptance(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--accept-changes", action="store_true",
                        help="resume although data, split or the model's code changed")  # fmt: skip


def _add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", default="")
    add_by(parser)
    parser.add_argument("--at-step", type=int, metavar="N", help="at the first boundary at or after step N")
    parser.add_argument("--wait", type=float, default=0.0, metavar="S", help="wait for the trainer's answer")


def _ranks(text: str) -> list[int]:
    return whole_numbers(text.strip().strip("[]"), "one per layer, such as 20,24")


def new(options: argparse.Namespace) -> int:
    from hankelboard.settings.new_run import create  # reads presets: only where they are wanted

    run = create(runs_of(options), chosen(options), **whose(options))
    if options.json:
        print_json({"run": run.id})
    else:
        next_step = f"train it with: hankelboard run {run.id}" if options.no_queue else "queued"
        print(run.id)
        print(next_step, file=sys.stderr)
        if not options.no_queue:
            _say_when_nobody_works(runs_of(options))
    return 0


def chosen(options: argparse.Namespace) -> "NewRun":
    """Return what the options of `new` choose."""
    from hankelboard.settings.new_run import NewRun

    return NewRun(
        preset=options.preset,
        file=options.config,
        assignments=tuple(options.assignments),
        policy=options.policy or "",
        name=options.name or "",
        group=options.group,
        queued=not options.no_queue,
    )


def analyse(options: argparse.Namespace) -> int:
    from hankelboard.trainer.compression import analysis  # scipy: only where it is wanted

    paths = run_of(options)
    os.nice(5)  # a trainer may be at work beside it

    def progress(done: int, total: int) -> None:
        say(f"{done}/{total}", sys.stderr)

    record = analysis.analyse(paths, progress)
    if not options.no_save:
        publish_analysis(paths, record)
    if options.json:
        print_json(record)
    else:
        _print_regret(record)
    return 0


def _print_regret(record: Analysis) -> None:
    until = "so far" if record["provisional"] else "at the end"
    print(f"regret of a cut at an earlier step: share of the summed importance that it loses beyond what is "
          f"best {until} (step {record['until_step']}); knee: the step from which on it stays below a tenth "
          "of the tolerance")  # fmt: skip
    for layer in record["layers"]:
        for row in layer["regret"]:
            regrets = "  ".join(
                f"{step}: {percent(regret, 1)}"
                for step, regret in zip(layer["steps"], row["cut_regret"], strict=True)
            )
            chance = sum(row["random"]) / len(row["random"])
            knee = "none" if row["knee"] is None else row["knee"]
            print(f"layer {layer['layer']}  r = {row['rank']} ({percent(row['tolerance'], 0)})  {regrets}  "
                  f"by lot: {percent(chance, 1)}  knee: {knee}")  # fmt: skip


def decide_proposal(options: argparse.Namespace) -> int:
    paths = run_of(options)
    if options.ranks and options.verdict == Verdict.REJECT:
        raise ConfigError("--ranks: makes sense with approve only")
    decision = decide(
        paths, options.proposal, options.verdict, ranks=options.ranks, via="command line",
        reason=options.reason, **whose(options),
    )  # fmt: skip
    if options.json:
        print_json(vars(decision))
    else:
        print(
            f"{options.verdict} recorded for proposal {options.proposal}; the trainer acts at its next step"
        )
        _say_when_nobody_listens(paths)
    return 0


def send(options: argparse.Namespace) -> int:
    if options.accept_changes and options.kind != CommandKind.RESUME:
        raise ConfigError("--accept-changes: makes sense with resume and rollback only")
    return _send(options, options.kind, accept_changes=options.accept_changes)


def rollback(options: argparse.Namespace) -> int:
    return _send(
        options, CommandKind.ROLLBACK, checkpoint=options.checkpoint, policy=options.policy,
        accept_changes=options.accept_changes,
    )  # fmt: skip


def policy(options: argparse.Namespace) -> int:
    return _send(options, CommandKind.POLICY, policy=options.policy, waiting=options.waiting)


def measure(options: argparse.Namespace) -> int:
    return _send(options, CommandKind.MEASURE, proposal=options.proposal, ranks=options.ranks)


def _send(options: argparse.Namespace, kind: str, **arguments: Any) -> int:
    paths = run_of(options)
    history = read_history(paths)
    reason = orphans.refusal(history.state, kind, held=history.held)
    if reason:
        raise CommandRefused(f"{kind} refused: {reason}")
    if kind in REVIVING:
        adopt_for_command(paths)
    command_id = commands.send_command(
        paths, kind, via="command line", reason=options.reason, at_step=options.at_step,
        **whose(options), **arguments,
    )  # fmt: skip
    state, step, why = _wait_for_answer(paths, command_id, options.wait)
    has_points = kind == CommandKind.MEASURE and state == CommandState.APPLIED
    measured = {"points": _points(paths, **arguments)} if has_points else {}
    if options.json:
        print_json({"command_id": command_id, "state": state, "step": step, "reason": why, **measured})
    else:
        at = f" at step {step}" if step is not None else ""
        print(f"{kind} {state}{at}{': ' + why if why else ''}")
        for point in measured.get("points", []):
            from hankelboard.trainer.cli.inspecting import point_in_words  # only where there is one

            print(point_in_words(point))
        if state == CommandState.REQUESTED:
            _say_when_nobody_listens(paths)
    return 1 if state == CommandState.REFUSED else 0


def _points(paths: RunPaths, proposal: int, ranks: list[int] | None) -> list[Point]:
    """Return the measured points of a proposal at these ranks, or with None all of them."""
    evidence = read_evidence(paths, proposal)
    points: list[Point] = evidence["measured"]["points"] if evidence else []
    return [point for point in points if ranks in (None, point["ranks"])]


def _wait_for_answer(paths: RunPaths, command_id: str, wait_s: float) -> tuple[str, int | None, str]:
    deadline = time.monotonic() + wait_s
    while True:
        outcome = read_history(paths).commands.get(command_id)
        if outcome and outcome.state != CommandState.ACCEPTED:
            return outcome.state, outcome.step, outcome.reason
        if time.monotonic() >= deadline:
            return (outcome.state, outcome.step, "") if outcome else (CommandState.REQUESTED, None, "")
        time.sleep(0.1)


def _say_when_nobody_listens(paths: RunPaths) -> None:
    if not is_held(paths):
        _say_when_nobody_works(paths.root.parent)


def _say_when_nobody_works(runs: Path) -> None:
    if not present(runs):
        where = "" if "HANKELBOARD_RUNS" in os.environ or str(runs) == "runs" else f" --runs-dir {runs}"
        print(f"no worker is running; start one with: hankelboard worker{where}", file=sys.stderr)
