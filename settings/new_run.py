"""A new run: what is chosen at the command line or on page New run, checked and queued. No torch here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hankelboard.access import tickets
from hankelboard.access.tickets import Limits
from hankelboard.settings.config import Config, parse
from hankelboard.settings.limits import within
from hankelboard.settings.preset import Preset, find_preset
from hankelboard.settings.toml import merge, parse_assignment, read_toml, spelt_out, with_absolute_paths
from hankelboard.storage.errors import ConfigError, RunNotFound
from hankelboard.storage.layout import run_paths
from hankelboard.storage.references import references
from hankelboard.storage.runs import Run, create_run, find_run


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """The choices of `hankelboard new`."""

    preset: str
    file: Path | None = None
    """TOML with keys that differ from the preset."""
    assignments: tuple[str, ...] = ()
    """Texts `section.key=value`, on top of the file."""
    policy: str = ""
    """Empty: as the keys above say."""
    name: str = ""
    """Empty: the preset's."""
    group: str = ""
    queued: bool = True

    def arguments(self) -> list[str]:
        """Return the arguments of `hankelboard new` that make the same choices."""
        texts = {"config": self.file or "", "name": self.name, "group": self.group, "policy": self.policy}
        arguments = ["new", "--preset", self.preset]
        arguments += [f"--{option}={text}" for option, text in texts.items() if text]
        for assignment in self.assignments:
            arguments += ["--set", assignment]
        return arguments if self.queued else [*arguments, "--no-queue"]

    def config(self) -> Config:
        """Return the preset with the file, the assignments and the policy on top, in this order.

        Raises
        ------
        ConfigError
            Names the first key that is wrong.
        """
        tables = find_preset(self.preset).tables if self.preset else {}
        if self.file is not None:
            tables = merge(tables, spelt_out(read_toml(self.file)))
        for assignment in self.assignments:
            tables = merge(tables, spelt_out(parse_assignment(assignment)))
        if self.policy:
            tables = merge(tables, {"reduction": {"policy": self.policy}})
        return parse(with_absolute_paths(tables))


def create(runs: Path, chosen: NewRun, *, by: str, by_role: str = "", limits: Limits | None = None) -> Run:
    """Create the run in the folder `runs`, with a ticket, so that a worker of this account starts it.

    Parameters
    ----------
    runs, chosen, by, by_role
    limits : what it may start and read; None at the command line, whose owner may start anything

    Raises
    ------
    ConfigError
        If a key is wrong, names a run that is not there, or code or a path that is not allowed.
    NoTicket
        If tickets cannot be written. Nothing is created then.
    """
    preset = find_preset(chosen.preset)
    config = _with_references(runs, preset, chosen.config())
    config = config if limits is None else within(config, limits, runs)
    tickets.prepare(runs)
    run = create_run(
        runs,
        name=chosen.name or preset.name,
        config=config.as_dict(),
        preset=preset.name,
        group=chosen.group,
        role=preset.role,
        seed=config.training.seed,
        queued=chosen.queued,
        by=by,
        by_role=by_role,
    )
    tickets.issue(run_paths(runs, run.id), limits)
    return run


def _with_references(runs: Path, preset: Preset, config: Config) -> Config:
    """Return the configuration with the runs that it names by their whole ids."""
    tables: dict[str, Any] = config.as_dict()
    named = references(tables)
    for key in preset.requires:
        if key not in named:
            raise ConfigError(f"{key}: preset {preset.name} needs a run here: --set {key}=RUN")
    for key, run in named.items():
        section, _, name = key.partition(".")
        try:
            tables[section][name] = find_run(runs, run).run_id
        except RunNotFound as error:
            raise ConfigError(f"{key}: {error}") from None
    return parse(tables)
