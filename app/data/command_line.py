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
from hankelboard.settings.config import Config
from hankelboard.settings.new_run import NewRun
from hankelboard.settings.suite import Planned
from hankelboard.settings.tasks import TASKS
from hankelboard.storage.errors import HankelboardError
from hankelboard.storage.layout import runs_directory


class CreationRefused(Exception):
    """Nothing was created; the message is the one of the command line."""


def create(chosen: NewRun) -> str:
    """Create a run and return its id; raise CreationRefused."""
    try:
        who = demand(visitor(), Action.QUEUE_PRESET)
        for key in of_the_owner(chosen):
            demand_own_code(key)
        return new_run.create(runs_directory(), chosen, by=who.name, by_role=who.role).id
    except (HankelboardError, OSError) as error:
        raise CreationRefused(_in_words(error)) from None


def create_suite(name: str, seeds: str = "", group: str = "") -> list[Planned]:
    """Queue what is missing of a suite and return all its runs; raise CreationRefused."""
    numbers = [int(seed) for seed in seeds.split(",")] if seeds else None
    try:
        who = demand(visitor(), Action.QUEUE_PRESET)
        if name not in suite.built_in():
            demand_own_code(name)
        loaded = suite.load_suite(name)
        return suite.create_suite(
            runs_directory(), loaded, seeds=numbers, group=group, by=who.name, by_role=who.role
        )
    except (HankelboardError, OSError) as error:
        raise CreationRefused(_in_words(error)) from None


FOLDERS = ("model.path", "data.path", "data.folder")
"""Keys that name a folder on the machine of the trainer."""
NAMES = ("model.family", "data.task")
"""Keys that may name own code as package.module:Name."""


def of_the_owner(chosen: NewRun) -> list[str]:
    """Return the keys by which a choice names own code or files that its preset does not name."""
    given, preset = chosen.config(), NewRun(preset=chosen.preset).config()
    task = TASKS.get(given.data.task)
    names = [key for key in NAMES if ":" in str(_value(given, key))]
    files = [f"data.options.{task.file}"] if task and task.file else []
    return [
        key for key in (*names, *files, *FOLDERS) if _value(given, key) not in ("", None, _value(preset, key))
    ]


def _value(config: Config, key: str) -> Any:
    value: Any = config.as_dict()
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


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
