"""The command suite: many runs from one file, with their seeds and what they need of each other."""

import argparse
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from hankelboard.storage.errors import CommandRefused
from hankelboard.storage.figures import percent
from hankelboard.storage.layout import run_paths
from hankelboard.storage.summary import Summary, summarise
from hankelboard.storage.vocabulary import RunState
from hankelboard.trainer.cli.adopting import why_not_adopted
from hankelboard.trainer.cli.arguments import add_by, add_command, runs_of, whole_numbers, whose
from hankelboard.trainer.cli.reading import dims_in_words, print_json, print_table

if TYPE_CHECKING:
    from hankelboard.settings.suite import Planned


def add_commands(commands: Any) -> None:
    parser = add_command(
        commands, "suite", suite, json=True,
        example="hankelboard suite digits-headline --jobs 2",
        more="without a name: list the suites; said again, it goes on where it was",
    )  # fmt: skip
    parser.add_argument("suite", metavar="NAME|FILE", nargs="?", help="a built-in suite or a TOML file")
    parser.add_argument("--seeds", type=_seeds, metavar="S,S,…", help="instead of the suite's own")
    parser.add_argument("--group", default="", help="the runs' group (default: the suite's name)")
    add_by(parser)
    parser.add_argument(
        "--jobs", type=int, default=0, metavar="N", help="train here, N at once, until all is done"
    )


def _seeds(text: str) -> list[int]:
    return whole_numbers(text, "such as 0,1,2")


def suite(options: argparse.Namespace) -> int:
    from hankelboard.settings import suite as suites  # reads presets: only where they are wanted

    if options.suite is None:
        return _list(options)
    if options.jobs < 0:
        raise CommandRefused("--jobs: must be at least 1")
    chosen = suites.load_suite(options.suite)
    runs = runs_of(options)
    planned = suites.create_suite(runs, chosen, seeds=options.seeds, group=options.group, **whose(options))
    if options.jobs:
        from hankelboard.trainer.work.worker import Worker

        Worker(runs, jobs=options.jobs).work(once=True)
    summaries = [summarise(run_paths(runs, item.run)) for item in planned]
    if options.json:
        print_json([_record(item, summary) for item, summary in zip(planned, summaries, strict=True)])
    else:
        _print(planned, summaries)
        for line in what_stands_in_the_way(summaries, trained=bool(options.jobs)):
            print(line)
        for item, summary in zip(planned, summaries, strict=True):
            if why := why_not_adopted(run_paths(runs, item.run), summary):
                print(
                    f"{item.run} is not adopted: {why}; to let workers start it: hankelboard adopt {item.run}"
                )
    return 1 if options.jobs and any(summary.state != RunState.FINISHED for summary in summaries) else 0


def _list(options: argparse.Namespace) -> int:
    from hankelboard.settings import suite as suites

    rows = [(name, suites.load_suite(name)) for name in suites.built_in()]
    if options.json:
        print_json([
            {"suite": name, "description": suite.description,
             "series": [{"name": s.name, "role": s.role, "seeds": s.seeds, "needs": s.needs()}
                        for s in suite.series]}
            for name, suite in rows
        ])  # fmt: skip
    else:
        print_table(
            ("suite", "runs", "description"),
            [(name, sum(len(s.seeds) for s in suite.series), suite.description) for name, suite in rows],
        )
    return 0


def _record(item: "Planned", summary: Summary) -> dict[str, Any]:
    return {
        "run": item.run, "series": item.series.name, "seed": item.seed, "role": item.series.role,
        "created": item.created, "differs": item.differs, "state": summary.state,
        "reason": summary.reason or summary.problem,
    }  # fmt: skip


def _print(planned: "list[Planned]", summaries: list[Summary]) -> None:
    rows = [
        (item.series.name, item.seed, summary.state, dims_in_words(summary), _accuracy(summary), item.run)
        for item, summary in zip(planned, summaries, strict=True)
    ]
    print_table(("series", "seed", "state", "N", "test", "run"), rows)
    created = sum(item.created for item in planned)
    print(f"{created} queued now, {len(planned) - created} were there")
    for item in planned:
        if item.differs:
            print(f"{item.run} was created with another {', '.join(item.differs)}; it stays as it is")


def what_stands_in_the_way(summaries: Iterable[Summary], *, trained: bool) -> Iterator[str]:
    """Yield why runs are not finished, and what helps; waiting runs only once nothing trains any more."""
    for summary in summaries:
        waits = f"{summary.run} is {summary.state.replace('_', ' ')}: {summary.reason}"
        if summary.held:
            yield f"{summary.run} waits for you: {summary.held}"
        elif summary.state in (RunState.FAILED, RunState.STOPPED, RunState.CANCELLED):
            yield f"{waits}; `hankelboard send {summary.run} resume` and this command again try once more"
        elif summary.state == RunState.UNREADABLE:
            yield f"{summary.problem} This command again creates the run anew."
        elif summary.problem:
            yield f"{summary.run}: {summary.problem}"
        elif trained and summary.state == RunState.QUEUED and summary.reason:
            yield waits


def _accuracy(summary: Summary) -> str:
    return percent(summary.test["accuracy"]) if summary.test else ""
