"""Suites: a TOML file lists series of runs, their seeds, roles, and what they need of each other.

    description = "…"
    preset = "digits-lru"                 # of every series that names no other
    seeds = [0, 1, 2]                     # likewise
    [config.training]                     # keys for every run, on top of its preset
    steps = 2000

    [[series]]
    name = "compressed"
    role = "compressed"
    config.reduction.tolerance = 0.1

    [[series]]
    name = "from scratch, as compressed"
    role = "scratch"
    config.reduction.attempts = 0
    config.model.state_dim_as = "compressed"   # a series above; becomes the run of the same seed

Creating a suite again creates what is missing and nothing else. A run that waits for one that was removed
would wait for ever: it is put away and created anew. Relative paths are those of the folder in which a suite
is created, as for a single run. No torch here.
"""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from hankelboard.access import tickets
from hankelboard.access.tickets import Limits
from hankelboard.settings.config import Config, parse
from hankelboard.settings.limits import within
from hankelboard.settings.preset import find_preset
from hankelboard.settings.setting import suggest
from hankelboard.settings.toml import merge, read_toml, spelt_out, with_absolute_paths
from hankelboard.storage.commands import add_note, read_notes, send_command
from hankelboard.storage.errors import ConfigError, DamagedRun, NewerFormat, RunError, RunNotFound
from hankelboard.storage.history import read_history
from hankelboard.storage.layout import RunPaths, run_paths
from hankelboard.storage.references import REFERENCES, references
from hankelboard.storage.runs import Run, create_run, creating, list_runs, read_run
from hankelboard.storage.schema import Whose
from hankelboard.storage.summary import fold_notes
from hankelboard.storage.vocabulary import CommandKind, NoteKind, Role, RunState, values

SUITE_KEYS = ("description", "preset", "seeds", "config", "series")
SERIES_KEYS = ("name", "role", "preset", "seeds", "config")
ROLES = values(Role)
"""A comparison refers to the first series whose role is baseline."""


@dataclass(frozen=True, kw_only=True)
class SuiteSeries:
    """Runs that differ in their seed alone."""

    name: str
    role: str
    preset: str
    seeds: list[int]
    tables: dict[str, Any]
    """Preset and keys of the suite and of the series; keys that name a run hold the name of a series."""

    def needs(self) -> dict[str, str]:
        """Return the series that this one needs, by configuration key."""
        needed = {}
        for key in REFERENCES:
            section, _, name = key.partition(".")
            if series := self.tables.get(section, {}).get(name):
                needed[key] = str(series)
        return needed

    def config(self, seed: int, run_of: Mapping[str, str]) -> Config:
        """Return the configuration of one run; `run_of` gives the run of this seed of each needed series."""
        tables = merge(self.tables, {"training": {"seed": seed}})
        for key, series in self.needs().items():
            section, _, name = key.partition(".")
            tables = merge(tables, {section: {name: run_of[series]}})
        return parse(with_absolute_paths(tables))

    def preset_of(self, config: Config) -> str:
        """Return the preset that a run is named after: empty where the suite runs another family or task."""
        base = find_preset(self.preset)
        return self.preset if (base.family, base.task) == (config.model.family, config.data.task) else ""


@dataclass(frozen=True, kw_only=True)
class Suite:
    name: str
    description: str
    series: list[SuiteSeries]


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One run of a suite: an existing one, or created now."""

    series: SuiteSeries
    seed: int
    run: str
    created: bool
    differs: list[str]
    """Keys in which a run that was there differs from what the suite says now."""


def built_in() -> list[str]:
    """Return the names of the suites that ship with Hankelboard."""
    folder = resources.files("hankelboard.settings") / "suites"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def load_suite(name: str) -> Suite:
    """Return a built-in suite by its name, or one from a TOML file.

    Raises
    ------
    ConfigError
        Names the series and key that is wrong.
    """
    if name in built_in():
        path = Path(str(resources.files("hankelboard.settings") / "suites" / f"{name}.toml"))
    elif name.endswith(".toml"):
        path = Path(name)
    else:
        close = difflib.get_close_matches(name, built_in(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(built_in())}"
        raise ConfigError(f"no suite {name!r}; {hint} A file's name ends in .toml")
    return parse_suite(path.stem, read_toml(path))


def parse_suite(name: str, tables: Mapping[str, Any]) -> Suite:
    """Return a suite from the tables of its file; ConfigError as `load_suite`."""
    _refuse_unknown(f"suite {name}", tables, SUITE_KEYS)
    given = tables.get("series")
    if not isinstance(given, list) or not given:
        raise ConfigError(f"suite {name}: has no [[series]]")
    series: list[SuiteSeries] = []
    for entry in given:
        one = _parse_series(name, tables, entry)
        where = f"suite {name}, series {one.name!r}"
        above = {other.name: other for other in series}
        if one.name in above:
            raise ConfigError(f"{where}: two series have this name")
        for key, needed in one.needs().items():
            if needed not in above:
                raise ConfigError(f"{where}: {key} = {needed!r} is no series above it")
        try:
            one.config(0, dict.fromkeys(above, "checked"))
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        series.append(one)
    return Suite(name=name, description=str(tables.get("description", "")), series=series)


def _parse_series(suite: str, tables: Mapping[str, Any], entry: Any) -> SuiteSeries:
    name = entry.get("name") if isinstance(entry, Mapping) else None
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f"suite {suite}: a series has no name")
    where = f"suite {suite}, series {name!r}"
    _refuse_unknown(where, entry, SERIES_KEYS)
    preset = entry.get("preset", tables.get("preset"))
    if not isinstance(preset, str):
        raise ConfigError(f"{where}: needs a preset, here or for the whole suite")
    seeds = entry.get("seeds", tables.get("seeds", [0]))
    if not isinstance(seeds, list) or not all(type(seed) is int and seed >= 0 for seed in seeds) or not seeds:
        raise ConfigError(f"{where}: seeds = {seeds!r} must be whole numbers")
    base = find_preset(preset)
    role = entry.get("role", base.role)
    if role not in ROLES:
        raise ConfigError(f"{where}: unknown role {role!r}{suggest(str(role), ROLES)}")
    merged = merge(merge(base.tables, _config_of(f"suite {suite}", tables)), _config_of(where, entry))
    return SuiteSeries(name=name, role=role, preset=preset, seeds=seeds, tables=merged)


def _config_of(where: str, table: Mapping[str, Any]) -> dict[str, Any]:
    config = table.get("config", {})
    if not isinstance(config, Mapping):
        raise ConfigError(f"{where}: config = {config!r}: must be a table of sections")
    return spelt_out(config)


def _refuse_unknown(where: str, table: Mapping[str, Any], allowed: Sequence[str]) -> None:
    for key in table:
        if key not in allowed:
            raise ConfigError(f"{where}: unknown key {key}; there are {', '.join(allowed)}")


def create_suite(
    runs: Path,
    suite: Suite,
    *,
    seeds: Iterable[int] | None = None,
    group: str = "",
    by: str = "",
    by_role: str = "",
    limits: Limits | None = None,
) -> list[Planned]:
    """Queue what is missing of a suite, seed by seed, so that every series has its first seed early.

    Concurrency: a second caller waits, and finds these runs there.

    Parameters
    ----------
    runs : folder of the runs
    suite : Suite
    seeds : these instead of the file's, for every series
    group : under which the runs are found again; default: the suite's name
    by : str
    limits : what the runs may start and read; None at the command line, whose owner may start anything

    Raises
    ------
    ConfigError
        If a series needs another one with a seed that that one does not have, or a seed cannot be. Nothing
        is created then. Also if one names code or a path that is not allowed.
    NoTicket
        If tickets cannot be written. Nothing is created then.
    """
    group = group or suite.name
    chosen = None if seeds is None else set(seeds)
    order = [
        (seed, one)
        for seed in sorted(chosen or {seed for one in suite.series for seed in one.seeds})
        for one in suite.series
        if seed in (one.seeds if chosen is None else chosen)
    ]
    _check_seeds(suite, order)
    with creating(runs):
        tickets.prepare(runs)
        return _create_missing(runs, order, group, {"by": by, "by_role": by_role}, limits)


def _create_missing(
    runs: Path, order: Sequence[tuple[int, SuiteSeries]], group: str, who: Whose, limits: Limits | None
) -> list[Planned]:
    present = _present(runs, group, who)
    planned: list[Planned] = []
    run_of: dict[tuple[str, int], str] = {}
    for number, (seed, one) in enumerate(order):
        config = one.config(seed, {name: run_of[name, seed] for name in one.needs().values()})
        existing = present.get((one.name, seed))
        config = config if limits is None or existing else within(config, limits, runs)
        run = existing or create_run(
            runs, name=one.name, config=config.as_dict(), preset=one.preset_of(config), group=group,
            role=one.role, series=one.name, seed=seed, slug=f"{group[:32]}-{number:03d}-s{seed}", **who,
        )  # fmt: skip
        if existing is None:
            tickets.issue(run_paths(runs, run.id), limits)
        run_of[one.name, seed] = run.id
        differs = _differences(config.as_dict(), run.config) if existing else []
        planned.append(Planned(series=one, seed=seed, run=run.id, created=existing is None, differs=differs))
    return planned


def _check_seeds(suite: Suite, order: Sequence[tuple[int, SuiteSeries]]) -> None:
    there = {(one.name, seed) for seed, one in order}
    for seed, one in order:
        for key, needed in one.needs().items():
            if (needed, seed) not in there:
                raise ConfigError(
                    f"suite {suite.name}, series {one.name!r}: {key} = {needed!r} has no seed {seed}"
                )
        one.config(seed, dict.fromkeys(one.needs().values(), "checked"))


def _present(runs: Path, group: str, who: Whose) -> dict[tuple[str, int], Run]:
    """Return the runs of the group by series and seed, of several the newest; put stranded ones away."""
    present: dict[tuple[str, int], Run] = {}
    for paths in reversed(list_runs(runs)):
        try:
            run = read_run(paths)
        except (RunError, OSError):
            continue
        if run.group == group and run.series and not run.copy_of:
            if _is_stranded(paths, run):
                _put_away(paths, who)
            else:
                present[run.series, run.seed] = run
    return present


def _is_stranded(paths: RunPaths, run: Run) -> bool:
    """Return whether a run never began and names one that is gone: it would wait forever."""
    needed = references(run.config).values()
    there = all(_is_there(paths.root.parent, run_id) for run_id in needed)
    return not there and read_history(paths).state in (RunState.QUEUED, RunState.CANCELLED)


def _is_there(runs: Path, run: str) -> bool:
    """Return whether there is such a run; a trainer may leave the folder of a run that was removed."""
    try:
        read_run(run_paths(runs, run))
    except (RunNotFound, DamagedRun):
        return False
    except NewerFormat:  # there, though not readable here
        return True
    return True


def _put_away(paths: RunPaths, who: Whose) -> None:
    """Cancel and archive a run that another one will replace."""
    if not fold_notes(read_run(paths), read_notes(paths))["archived"]:
        send_command(paths, CommandKind.STOP, via="cli", reason="a run that it needs was removed", **who)
        add_note(paths, NoteKind.ARCHIVE, True, via="cli", **who)


def _differences(planned: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """Return keys with another value; keys that a run's older configuration lacks have their default."""
    default = dataclasses.asdict(Config())
    return [
        f"{section}.{key}"
        for section, part in planned.items()
        for key, value in part.items()
        if there.get(section, default[section]).get(key, default[section][key]) != value
    ]
