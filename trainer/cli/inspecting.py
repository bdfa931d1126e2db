"""Commands that look at what a run is made of: proposals, checkpoints, verify."""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from hankelboard.settings.families import importance_of
from hankelboard.storage import checkpoints
from hankelboard.storage.figures import points
from hankelboard.storage.history import read_history
from hankelboard.storage.proposals import problem_of_proposal, proposal_numbers, read_decision, read_proposal
from hankelboard.storage.records import Record
from hankelboard.storage.schema import Point
from hankelboard.storage.scores import PRIMARY_METRIC
from hankelboard.storage.verification import verify_run
from hankelboard.trainer.cli.arguments import add_command, run_of
from hankelboard.trainer.cli.reading import (
    changes_in_words,
    output_errors,
    print_json,
    print_table,
    score,
    share,
)


def add_commands(commands: Any) -> None:
    for name, command in (
        ("proposals", show_proposals), ("checkpoints", show_checkpoints), ("verify", verify),
    ):  # fmt: skip
        parser = add_command(commands, name, command, example=f"hankelboard {name} RUN", json=True)
        parser.add_argument("run", metavar="RUN")
        if name == "verify":
            parser.add_argument(
                "--strict", action="store_true",
                help="also say what another program that wrote the run leaves out (exit code 1)",
            )  # fmt: skip


def point_in_words(point: Point) -> str:
    """Return a measured cut as a line: N 20,24: loss 0.23, accuracy 94.12 % (−1.20 to +0.30 points, …), …"""
    ends = point.get("accuracy_change", [None])
    change = " to ".join(points(end) for end in ends if end is not None)
    errors = ", ".join(share(error, 1) for error in point.get("output_error", []))
    loss = point.get("loss")
    return (
        f"N {','.join(map(str, point['ranks']))}: loss {'' if loss is None else f'{loss:.4f}'}, "
        f"accuracy {score(point.get('accuracy'), point)} ({change} points, 95 % interval), "
        f"output error per layer {errors}"
    )


def show_proposals(options: argparse.Namespace) -> int:
    paths = run_of(options)
    history = read_history(paths)
    rows: list[Record] = []
    for number in proposal_numbers(paths):
        proposal, outcome = read_proposal(paths, number), history.proposals.get(number)
        decision = read_decision(paths, number)
        rows.append(
            {
                "proposal": number,
                "state": outcome.state if outcome else "pending",
                "reason": outcome.reason if outcome else "",
                "step": proposal and proposal["step"],
                "branch": proposal and proposal["branch"],
                "state_dims": proposal and [layer["state_dim"] for layer in proposal["layers"]],
                "ranks": proposal and proposal["ranks"],
                "tolerance": proposal and proposal["tolerance"],
                "importance": proposal and proposal.get("importance", "hsv"),
                "badge": proposal and proposal.get("badge"),
                "output_error": proposal and output_errors(proposal),
                "decision": decision and asdict(decision),
                "applied": outcome and outcome.applied,
            }
        )
    if options.json:
        print_json(rows)
    else:
        print_table(
            ("proposal", "step", "branch", "N", "proposed", "tolerance", "state", "by"),
            [(r["proposal"], r["step"], r["branch"], r["state_dims"], r["ranks"], _tolerance(r), r["state"],
              _who(r["decision"])) for r in rows],
        )  # fmt: skip
        for row in rows:
            if row["output_error"]:
                print(f"proposal {row['proposal']}: {changes_in_words(row['output_error'])}")
            for reason in row["badge"]["reasons"] if row["badge"] else []:
                print(f"proposal {row['proposal']}, {row['badge']['color']}: {reason}")
    damaged = {
        row["proposal"]: problem_of_proposal(paths, row["proposal"]) for row in rows if not row["ranks"]
    }
    for number, problem in damaged.items():
        print(f"damaged: proposals/{number:06d}.json: {problem}", file=sys.stderr)
    return 1 if damaged else 0


def _who(decision: Mapping[str, Any] | None) -> str:
    return ", ".join(filter(None, (decision["by"], decision["by_role"]))) if decision else ""


def _tolerance(proposal: Mapping[str, Any]) -> str:
    """Return 5% of Σσ."""
    if proposal["tolerance"] is None:
        return ""
    return f"{proposal['tolerance']:.4g} of {importance_of(proposal['importance']).short}"


def show_checkpoints(options: argparse.Namespace) -> int:
    good, damaged = checkpoints.list_checkpoints(run_of(options))
    rows: list[Record] = [
        {
            "checkpoint": str(c.name), "branch": c.name.branch, "step": c.name.step, "cause": c.cause,
            "pinned": c.pinned, "state_dims": c.state_dims, "bytes": c.bytes, "metrics": c.metrics, "t": c.t,
        }
        for c in good
    ]  # fmt: skip
    if options.json:
        print_json(rows)
    else:
        print_table(
            ("checkpoint", "N", "cause", "validation", "kB"),
            [(r["checkpoint"], ",".join(map(str, r["state_dims"])), r["cause"],
              share(r["metrics"].get(PRIMARY_METRIC)), r["bytes"] // 1000) for r in rows],
        )  # fmt: skip
    for message in damaged:
        print(f"damaged: {message}", file=sys.stderr)
    return 1 if damaged else 0


def verify(options: argparse.Namespace) -> int:
    findings = verify_run(run_of(options), strict=options.strict)
    damage, missing = (any(getattr(f, name) for f in findings) for name in ("damage", "missing"))
    if options.json:
        print_json({"sound": not damage, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            word = "damaged" if finding.damage else "missing" if finding.missing else "note"
            print(f"{word}: {finding.where}: {finding.what}")
        sound = "sound: journals, proposals and every checkpoint's hash agree"
        print("damaged" if damage else f"{sound}{'; not all is as the format says' if missing else ''}")
    return 1 if damage or missing else 0
