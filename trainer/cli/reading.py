"""Commands that list and show: presets, runs, show."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from hankelboard.storage import savings
from hankelboard.storage.figures import percent, seconds, significant
from hankelboard.storage.history import History, read_history
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.proposals import measured_error, read_evidence
from hankelboard.storage.runs import list_runs
from hankelboard.storage.schema import Best, Proposal
from hankelboard.storage.scores import PRIMARY_METRIC, bits_in_words
from hankelboard.storage.summary import Summary, summarise
from hankelboard.storage.vocabulary import RunState
from hankelboard.trainer.cli.adopting import why_not_adopted
from hankelboard.trainer.cli.arguments import add_command, run_of, runs_of


def add_commands(commands: Any) -> None:
    parser = add_command(commands, "presets", list_presets, json=True)
    parser.add_argument("--fields", action="store_true", help="list the configuration keys instead")
    add_command(commands, "runs", show_runs, json=True)
    parser = add_command(commands, "show", show_run, example="hankelboard show RUN", json=True)
    parser.add_argument("run", metavar="RUN")


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


def score(accuracy: float | None, record: Mapping[str, Any]) -> str:
    """Return 94.12 %, with bits per character for a text."""
    return ", ".join(filter(None, (share(accuracy), bits_in_words(record))))


def _best(best: Best) -> str:
    """Return 94.12 %, or of a run with another primary metric its value and name."""
    if best["metric"] == PRIMARY_METRIC:
        return score(best["value"], best)
    return f"{best['metric']} {significant(best['value'])}"


def share(value: float | None, digits: int = 2) -> str:
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
        ("proposal", _pending(paths, summary)),
        ("best", best and f"{_best(best)} on validation at step {best['step']}"),
        ("test", test and score(test.get("accuracy"), test)),
        ("training", summary.train_s and
         f"{seconds(summary.train_s)}, waiting {seconds(summary.waiting_s or 0)}"),
        ("energy", summary.energy_j and savings.energy_in_words(summary.energy_j, summary.train_s, saved)),
        ("cuts", saved and f"{savings.in_words(saved)} ({savings.parts_in_words(saved)})"),
    ]  # fmt: skip
    for name, value in lines:
        if value:
            print(f"{name:18} {value}")
    return 0


def _commands(history: History) -> list[dict[str, Any]]:
    return [{"command_id": key, **asdict(outcome)} for key, outcome in history.commands.items()]


def output_errors(proposal: Proposal) -> list[float | None]:
    """Return the measured error of each layer's output at the ranks as proposed; None: not measured."""
    found = [measured_error(layer, layer["rank"]) for layer in proposal["layers"]]
    at_ranks = zip(found, proposal["layers"], strict=True)
    return [near[1] if near and near[0] == layer["rank"] else None for near, layer in at_ranks]


def changes_in_words(errors: Sequence[float | None]) -> str:
    each = ", ".join("not measured" if error is None else percent(error, 1) for error in errors)
    return f"output changes per layer: {each} (measured, held out)"


def _pending(paths: RunPaths, summary: Summary) -> str:
    """Return what a decision is waited for on: the ranks, the badge, and how far outputs change."""
    number = summary.pending_proposal
    proposal = None if number is None else read_evidence(paths, number)
    if proposal is None:
        return ""
    color = proposal["badge"]["color"] if "badge" in proposal else "not judged"
    ranks = ",".join(map(str, proposal["ranks"]))
    return f"{number}: to {ranks}, {color}; {changes_in_words(output_errors(proposal))}"
