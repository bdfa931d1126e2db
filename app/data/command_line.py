"""What `hankelboard new` and `hankelboard suite` do, done from a page, and what to type for the same.

People's own code is not imported here: a configuration holds its name only.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from hankelboard.access.roles import Action, NotAllowed, demand
from hankelboard.app.data.visitors import visitor
from hankelboard.settings import new_run, suite
from hankelboard.settings.limits import of_browser, paths_named
from hankelboard.settings.new_run import NewRun
from hankelboard.settings.own_code import own_code_named
from hankelboard.settings.suite import Planned
from hankelboard.storage.errors import HankelboardError
from hankelboard.storage.layout import runs_directory


class CreationRefused(Exception):
    """Nothing was created; the message is the one of the command line."""


def create(chosen: NewRun) -> str:
    """Create a run and return its id; raise CreationRefused.

    Whatever a browser sends is within what the owner of the server allowed; own code is the owner's to start.
    """
    try:
        who = demand(visitor(), Action.QUEUE_PRESET)
        for key in of_the_owner(chosen):
            demand_own_code(key)
        return new_run.create(runs_directory(), chosen, by=who.name, by_role=who.role, limits=of_browser()).id
    except (HankelboardError, OSError) as error:
        raise CreationRefused(_in_words(error)) from None


def create_suite(name: str, seeds: str = "", group: str = "") -> list[Planned]:
    """Queue what is missing of a suite and return all its runs; raise CreationRefused."""
    numbers = [int(seed) for seed in seeds.split(",")] if seeds else None
    if name not in suite.built_in():  # a name of a file is no choice of a browser's
        raise CreationRefused(f"{name}: no suite that ships with Hankelboard")
    try:
        who = demand(visitor(), Action.QUEUE_PRESET)
        loaded = suite.load_suite(name)
        return suite.create_suite(
            runs_directory(),
            loaded,
            seeds=numbers,
            group=group,
            by=who.name,
            by_role=who.role,
            limits=of_browser(),
        )
    except (HankelboardError, OSError) as error:
        raise CreationRefused(_in_words(error)) from None


FOLDERS = ("model.path", "data.path", "data.folder")
"""Keys that name a folder on the machine of the trainer."""


def of_the_owner(chosen: NewRun) -> list[str]:
    """Return the keys by which a choice names own code or files that its preset does not name."""
    given, preset = _named(chosen), _named(NewRun(preset=chosen.preset))
    return [key for key, name in given.items() if name != preset.get(key)]


def _named(chosen: NewRun) -> dict[str, str]:
    config = chosen.config().as_dict()
    code = {named.key: named.name for named in own_code_named(config)}
    return code | {key: str(path) for key, path in paths_named(config).items()}


def demand_own_code(what: str) -> None:
    """Raise NotAllowed, naming what names own code or a file, unless the owner asks."""
    try:
        demand(visitor(), Action.RUN_OWN_CODE)
    except NotAllowed as error:
        raise NotAllowed(f"{what}: names own code or files; {error}") from None


def _in_words(error: HankelboardError | OSError) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or ''}: {error.strerror or error}"
    return str(error)


def suite_arguments(name: str, seeds: str = "", group: str = "") -> list[str]:
    """Return the arguments of `hankelboard suite` for these choices."""
    seeds = seeds.replace(" ", "")
    return ["suite", name, *([f"--seeds={seeds}"] if seeds else []), *([f"--group={group}"] if group else [])]


def assignments(changed: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys that differ from the preset as `--set` takes them.

    >>> assignments({"training.steps": 300, "data.task": "tones"})
    ('training.steps=300', 'data.task=tones')
    """
    return tuple(f"{key}={written(value)}" for key, value in changed.items())


def written(value: Any) -> str:
    """Return a value as `--set` takes it: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def shown(arguments: Sequence[str]) -> str:
    """Return the command to type."""
    return shlex.join(["hankelboard", *arguments])
