"""Asking Hankelboard's command line, in a process of its own: the app does not import the trainer."""

import json
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from hankelboard.storage.layout import runs_directory

TIMEOUT_S = 60.0
KEEP_S = 300.0
_lock = threading.Lock()
_kept: dict[tuple[str, ...], tuple[float, Any]] = {}


class CommandLineError(Exception):
    """The command line refused or could not be asked; the message is its own."""


def presets() -> list[dict[str, Any]]:
    """Presets: name, family, task, role, description, config."""
    return _kept_answer("presets", "--json")


def fields() -> list[dict[str, Any]]:
    """Configuration keys: key, type, default, limits, choices, help."""
    return _kept_answer("presets", "--fields", "--json")


def suites() -> list[dict[str, Any]]:
    """Built-in suites: suite, description, series (name, role, seeds, needs)."""
    return _kept_answer("suite", "--json")


def suite_arguments(name: str, seeds: str = "", group: str = "") -> list[str]:
    """Arguments of `hankelboard suite` for these choices."""
    seeds = seeds.replace(" ", "")
    return ["suite", name, *([f"--seeds={seeds}"] if seeds else []), *([f"--group={group}"] if group else [])]


def create_suite(arguments: Sequence[str]) -> list[dict[str, Any]]:
    """Queue what is missing of a suite; its runs, each with `created`. Raises CommandLineError."""
    answer = _ask([*arguments, "--runs-dir", str(runs_directory().resolve()), "--json"])
    return list(answer)


def _kept_answer(*arguments: str) -> Any:
    with _lock:
        known = _kept.get(arguments)
        if known is None or time.monotonic() - known[0] > KEEP_S:
            known = _kept[arguments] = (time.monotonic(), _ask(arguments))
        return known[1]


def create(arguments: Sequence[str]) -> str:
    """Create a run; returns its id. Raises CommandLineError with the reason when it was refused."""
    folder = str(runs_directory().resolve())
    answer = _ask([*arguments, "--runs-dir", folder, "--json"])
    return str(answer["run"])


def new_arguments(
    preset: str, changed: Mapping[str, Any], *, policy: str = "", name: str = "", group: str = ""
) -> list[str]:
    """Arguments of `hankelboard new` for these choices; what equals the preset is left out."""
    arguments = ["new", "--preset", preset]
    for option, value in (("--name", name), ("--group", group), ("--policy", policy)):
        arguments += [f"{option}={value}"] if value else []
    for key, value in changed.items():
        arguments += ["--set", f"{key}={written(value)}"]
    return arguments


def written(value: Any) -> str:
    """A value as `--set` takes it: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def shown(arguments: Sequence[str]) -> str:
    """The command to type."""
    return shlex.join(["hankelboard", *arguments])


def _ask(arguments: Sequence[str]) -> Any:
    command = [sys.executable, "-P", "-m", "hankelboard", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandLineError(f"the command line could not be asked: {error}") from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise CommandLineError(lines[-1].removeprefix("hankelboard: "))
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise CommandLineError("the command line gave an answer that is not JSON") from None
