"""The command worth: is cutting worth it here, or does a small network do as well?"""

import argparse
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hankelboard.storage import lifeline
from hankelboard.storage.errors import ConfigError
from hankelboard.storage.figures import percent, seconds
from hankelboard.storage.references import references
from hankelboard.trainer.cli.arguments import add_command
from hankelboard.trainer.compression.terminal import say

if TYPE_CHECKING:
    from hankelboard.settings.config import Config
    from hankelboard.trainer.worth.findings import Findings
    from hankelboard.trainer.worth.verdict import ShortRun

PATIENCE_S = 5.0


def add_commands(commands: Any) -> None:
    parser = add_command(
        commands, "worth", worth, json=True,
        example="hankelboard worth --preset tones-lru",
        more="a few short runs at N, N/4 and N/16 states from scratch; no run is created",
    )  # fmt: skip
    parser.add_argument("--preset", default="", metavar="NAME", help="see `hankelboard presets`")
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="TOML with keys that differ from the preset, or from the "
        "defaults",
    )  # fmt: skip
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="assignments",
                        help="one key; see `hankelboard presets --fields`")  # fmt: skip
    parser.add_argument("--budget", type=float, metavar="X",
                        help="updates to spend, in trainings (default: 0.1, a tenth of one; where a training "
                        "has at most 3,000 updates, 5)")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=3, metavar="N",
                        help="from training.seed on (default: 3, the fewest)")  # fmt: skip
    parser.add_argument("--margin", type=float, metavar="X", help="difference in validation accuracy that "
                        "does not matter (default: reduction.threshold)")  # fmt: skip


def worth(options: argparse.Namespace) -> int:
    """Make the short runs, saying each on stderr, and print the answer."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: nothing is left behind
    lifeline.follow(PATIENCE_S)
    try:
        findings = _ask(options, _config(options))
    except KeyboardInterrupt:
        say("stopped: no answer, and nothing is kept", sys.stderr)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    if options.json:
        from hankelboard.trainer.cli.reading import print_json

        print_json(findings.record())
    else:
        say("\n".join(findings.words()))
    return 0


def _ask(options: argparse.Namespace, config: "Config") -> "Findings":
    from hankelboard.trainer.data import load_task  # torch: only once the settings are right
    from hankelboard.trainer.worth.findings import find
    from hankelboard.trainer.worth.search import Search, default_budget

    steps = config.training.steps
    budget = default_budget(steps) if options.budget is None else options.budget
    search = Search(
        config=config,
        task=load_task(config.data),
        budget=round(budget * steps),
        seeds=options.seeds,
        margin=config.reduction.threshold if options.margin is None else options.margin,
        tell=_tell,
    )
    say(f"at most {search.budget:,} updates, {budget:.3g} times those of the training itself; Ctrl-C ends it",
        sys.stderr)  # fmt: skip
    return find(search)


def _config(options: argparse.Namespace) -> "Config":
    """Return the configuration to ask about; raise ConfigError where `new` would, or nothing can be asked."""
    from hankelboard.settings.families import FAMILIES
    from hankelboard.settings.new_run import NewRun

    if not (options.preset or options.config):
        raise ConfigError("worth: say --preset NAME, --config FILE, or both")
    chosen = NewRun(preset=options.preset, file=options.config, assignments=tuple(options.assignments))
    config = chosen.config()
    if config.model.family not in FAMILIES:
        raise ConfigError(
            f"model.family = {config.model.family}: worth divides model.state_dim, which a model of your own "
            "does not take"
        )
    for key in references(config.as_dict()):
        raise ConfigError(f"{key}: worth compares networks trained from scratch, without another run")
    if max(config.state_dims) == 1:
        raise ConfigError("model.state_dim = 1: there is nothing smaller")
    if options.seeds < 3:
        raise ConfigError(f"--seeds {options.seeds}: must be at least 3, below which nothing can be claimed")
    for name, value in (("budget", options.budget), ("margin", options.margin)):
        if value is not None and not 0 < value < float("inf"):
            raise ConfigError(f"--{name} {value}: must be a number above 0")
    return config


def _tell(run: "ShortRun") -> None:
    size = "N" if run.divisor == 1 else f"N/{run.divisor}"
    say(
        f"{run.steps} updates, seed {run.seed}, {size}: validation {percent(float(run.accuracy.mean()))}, "
        f"loss {float(run.loss.mean()):.4f}, {seconds(run.step_s * run.steps)}",
        sys.stderr,
    )
