"""Commands that only read: presets, runs, show, proposals, checkpoints, verify."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from hankelboard.storage import checkpoints, savings
from hankelboard.storage.figures import percent, points, seconds, significant
from hankelboard.storage.history import History, read_history
from hankelboard.storage.proposals import problem_of_proposal, proposal_numbers, read_decision, read_proposal
from hankelboard.storage.records import Record
from hankelboard.storage.runs import list_runs
from hankelboard.storage.schema import Best, Point
from hankelboard.storage.scores import PRIMARY_METRIC, bits_in_words
from hankelboard.storage.summary import Summary, summarise
from hankelboard.storage.verification import verify_run
from hankelboard.storage.vocabulary import RunState
from hankelboard.trainer.cli.adopting import why_not_adopted
from hankelboard.trainer.cli.arguments import add_command, run_of, runs_of


def add_commands(commands: Any) -> None:
    parser = add_command(commands, "presets", list_presets, "list the presets", json=True)
    parser.add_argument("--fields", action="store_true", help="list the configuration keys instead")
    add_command(commands, "runs", show_runs, "list the runs", json=True)
    for name, command, help in (
        ("show", show_run, "show one run"),
        ("proposals", show_proposals, "list a run's proposals and what became of them"),
        ("checkpoints", show_checkpoints, "list a run's checkpoints"),
        ("verify", verify, "check journals, proposals and the hashes of all checkpoints"),
    ):
        parser = add_command(commands, name, command, help, example=f"hankelboard {name} RUN", json=True)
        parser.add_argument("run", metavar="RUN")
        if name == "verify":
            parser.add_argument(
                "--strict", action="store_true",
                help="also say what another program that wrote the run leaves out (exit code 1)",
            )  # fmt: skip


def print_json(value: Any) -> None:
    """Write JSON to stdout: UTF-8, or where that is of another encoding ASCII, which is UTF-8 as well."""
    utf8 = (sys.stdout.encoding or "utf-8").lower().replace("-", "") == "utf8"
    print(json.dumps(value, ensure_ascii=not utf8, indent=2, allow_nan=False))


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    cells = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def list_presets(options: argparse.Namespace) -> int:
    from hankelboard.settings.config import Config  # no other command of these needs settings
    from hankelboard.settings.preset import presets
    from hankelboard.settings.setting import describe_fields

    if options.fields:
        fields = describe_fields(Config())
        if options.json:
            print_json(fields)
        else:
            print_table(("key", "default", "help"), [(f["key"], f["default"], f["help"]) for f in fields])
        return 0
    rows = [
        {key: getattr(preset, key) for key in ("name", "family", "task", "role", "description")}
        | {"config": preset.config.as_dict()}
        for preset in presets().values()
    ]
    if options.json:
        print_json(rows)
    else:
        print_table(("preset", "task", "role", "description"),
                    [(r["name"], r["task"], r["role"], r["description"]) for r in rows])  # fmt: skip
    return 0


def show_runs(options: argparse.Namespace) -> int:
    listed = list_runs(runs_of(options))
    summaries = [summarise(paths) for paths in listed]
    not_adopted = [why_not_adopted(paths, one) for paths, one in zip(listed, summaries, strict=True)]
    if options.json:
        print_json([asdict(summary) | {"not_adopted": why}
                    for summary, why in zip(summaries, not_adopted, strict=True)])  # fmt: skip
    elif not summaries:
        print(f"no runs in {runs_of(options)}; start one with: hankelboard new --preset digits-lru")
    else:
        rows = [_row(summary, why) for summary, why in zip(summaries, not_adopted, strict=True)]
        print_table(("run", "state", "step", "N", "best", "role"), rows)
    return 0


def _row(summary: Summary, not_adopted: str) -> tuple[object, ...]:
    best = summary.best
    return (
        summary.run,
        summary.problem or _state(summary) + (", not adopted" if not_adopted else ""),
        f"{summary.step}/{summary.total_steps}",
        dims_in_words(summary),
        _best(best) if best else "",
        summary.role,
    )


def _score(accuracy: float | None, record: Mapping[str, Any]) -> str:
    """Return 94.12 %, with bits per character for a text."""
    return ", ".join(filter(None, (_share(accuracy), bits_in_words(record))))


def _best(best: Best) -> str:
    """Return 94.12 %, or of a run with another primary metric its value and name."""
    if best["metric"] == PRIMARY_METRIC:
        return _score(best["value"], best)
    return f"{best['metric']} {significant(best['value'])}"


def _share(value: float | None, digits: int = 2) -> str:
    """Return a share in percent; an empty text for none."""
    return "" if value is None else percent(value, digits)


def _state(summary: Summary) -> str:
    waits = summary.pending_proposal and summary.state == RunState.WAITING_FOR_DECISION
    if summary.held:
        return "waiting for you (not resumed)"
    return f"waiting for you (proposal {summary.pending_proposal})" if waits else summary.state


def dims_in_words(summary: Summary) -> str:
    """Return state dimensions at the start and now: 64,64 → 20,23."""
    first, now = (",".join(map(str, d)) for d in (summary.initial_state_dims, summary.state_dims))
    return now if first == now else f"{first} → {now}"


def show_run(options: argparse.Namespace) -> int:
    paths = run_of(options)
    summary, history = summarise(paths), read_history(paths)
    not_adopted = why_not_adopted(paths, summary)
    if options.json:
        branches = [asdict(branch) for branch in history.branches.values()]
        said = {"not_adopted": not_adopted, "branches": branches, "commands": _commands(history)}
        print_json(asdict(summary) | said)
        return 1 if summary.problem else 0
    if summary.problem:
        print(summary.problem)
        return 1
    best, test, saved = summary.best, summary.test, summary.savings
    lines = [
        ("run", summary.run), ("name", summary.name), ("state", _state(summary)), ("phase", summary.phase),
        ("why", summary.held or summary.reason),
        ("not adopted", not_adopted and f"{not_adopted}; to let workers: hankelboard adopt {summary.run}"),
        ("step", f"{summary.step} of {summary.total_steps}"),
        ("branch", f"{summary.branch} of {len(history.branches)}"), ("policy", summary.policy),
        ("state dimension N", dims_in_words(summary)),
        ("best", best and f"{_best(best)} on validation at step {best['step']}"),
        ("test", test and _score(test.get("accuracy"), test)),
        ("training", summary.train_s and
         f"{seconds(summary.train_s)}, waiting {seconds(summary.waiting_s or 0)}"),
        ("cuts", saved and f"{savings.in_words(saved)} ({savings.parts_in_words(saved)})"),
    ]  # fmt: skip
    for name, value in lines:
        if value:
            print(f"{name:18} {value}")
    return 0


def _commands(history: History) -> list[dict[str, Any]]:
    return [{"command_id": key, **asdict(outcome)} for key, outcome in history.commands.items()]


def point_in_words(point: Point) -> str:
    """Return a measured cut as a line: N 20,24: loss 0.23, accuracy 94.12 % (−1.20 to +0.30 points, …), …"""
    ends = point.get("accuracy_change", [None])
    change = " to ".join(points(end) for end in ends if end is not None)
    errors = ", ".join(_share(error, 1) for error in point.get("output_error", []))
    loss = point.get("loss")
    return (
        f"N {','.join(map(str, point['ranks']))}: loss {'' if loss is None else f'{loss:.4f}'}, "
        f"accuracy {_score(point.get('accuracy'), point)} ({change} points, 95 % interval), "
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
    from hankelboard.settings.families import importance_of  # only where a proposal is printed

    """5% of Σσ."""

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
              _share(r["metrics"].get(PRIMARY_METRIC)), r["bytes"] // 1000) for r in rows],
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
