"""What the configuration knows of the tasks: their names, and options with limits. No torch."""

from collections.abc import Callable, Mapping
from typing import Any

from hankelboard.settings.setting import suggest
from hankelboard.storage.errors import ConfigError

Limits = tuple[float, float, float]
"""Default, smallest and largest value of an option; whole numbers where the default is one."""

_LENGTH = (1, 65_536)
_DRAWN: dict[str, Limits] = {"sequences": (20_000, 20, 1_000_000), "test": (2_000, 10, 100_000)}
OPTIONS: dict[str, dict[str, Limits]] = {
    "digits": {},
    "tones": {
        "classes": (10, 2, 1_000),
        "length": (128, *_LENGTH),
        "sequences": (4_000, 20, 1_000_000),
        "amplitude": (0.7, 0.0, 1e6),
    },
    "listops": {
        "sequences": (98_000, 20, 1_000_000),
        "test": (2_000, 10, 100_000),
        "max_depth": (10, 1, 100),
        "max_args": (10, 2, 100),
        "min_length": (500, *_LENGTH),
        "max_length": (2_000, *_LENGTH),
    },
    "copying": {"length": (64, 2, 65_536), "tokens": (8, 1, 1_024), "vocabulary": (16, 2, 4_096), **_DRAWN},
    "induction": {"length": (64, 3, 65_536), "vocabulary": (16, 2, 4_096), **_DRAWN},
    "mqar": {"length": (64, 3, 65_536), "pairs": (8, 1, 4_096), "vocabulary": (64, 4, 16_384), **_DRAWN},
    "text": {"length": (128, *_LENGTH), "characters": (0, 0, 50_000_000)},
    "smnist": {},
    "cifar": {},
}
"""Options of each task; its file in trainer/data/ says what they are."""
WITHOUT_OPTIONS = [task for task, known in OPTIONS.items() if not known]
FILE = {"text": "file"}
"""Tasks that read a file of the user's, and the option that is its path."""


def check_task(task: str, options: Mapping[str, Any]) -> None:
    """Raise ConfigError unless there is such a task and it takes these options, or it is one's own.

    A function of one's own checks its options itself.
    """
    if task in OPTIONS:
        task_options(task, options)
    elif ":" not in task:
        own = "data of your own are package.module:function"
        raise ConfigError(f"data.task = {task!r}: unknown{suggest(task, OPTIONS)}; {own}")


def task_options(task: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """`data.options` of a task on top of its defaults; `file` only where it is given.

    Raises
    ------
    ConfigError
        If an option is unknown, not a number of its kind, outside its limits, or does not go with another:
        names key, value and what is allowed.
    """
    known = OPTIONS[task]
    _check_names(task, given)
    for name, limits in known.items():
        if name in given:
            _check_number(name, given[name], limits)
    settled = {name: given.get(name, default) for name, (default, _, _) in known.items()}
    if task in RULES:
        RULES[task](settled)
    if task in FILE and FILE[task] in given:
        settled[FILE[task]] = _path(FILE[task], given[FILE[task]])
    return settled


def _check_names(task: str, given: Mapping[str, Any]) -> None:
    known = [*OPTIONS[task], *([FILE[task]] if task in FILE else [])]
    unknown = sorted(set(given) - set(known))
    if unknown and not known:
        raise ConfigError(f"data.options: {', '.join(unknown)} unknown; task {task} has no options")
    if unknown:
        raise ConfigError(f"data.options: {', '.join(unknown)} unknown; there are {', '.join(known)}")


def _check_number(name: str, value: Any, limits: Limits) -> None:
    default, low, high = limits
    whole = isinstance(default, int)
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise ConfigError(f"data.options.{name} = {value!r}: must be {kind} from {low} to {high}")


def _path(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"data.options.{name} = {value!r}: must be the path of a text file")
    return value


def _tokens_fit(options: Mapping[str, Any]) -> None:
    """Of copying: every token has a step to be read and one to be asked for."""
    tokens, length = options["tokens"], options["length"]
    if 2 * tokens > length:
        raise ConfigError(
            f"data.options.tokens = {tokens}: must be at most half of data.options.length = {length}"
        )


def _pairs_fit(options: Mapping[str, Any]) -> None:
    """Of mqar: a pair takes two steps and its question one; half of the tokens, less a blank, are keys."""
    length, pairs, vocabulary = (options[name] for name in ("length", "pairs", "vocabulary"))
    if 3 * pairs > length:
        raise ConfigError(
            f"data.options.pairs = {pairs}: must be at most a third of data.options.length = {length}"
        )
    if vocabulary % 2 or pairs > vocabulary // 2 - 1:
        raise ConfigError(
            f"data.options.vocabulary = {vocabulary}: must be even, and at least {2 * pairs + 2} for "
            f"{pairs} pairs"
        )


def _lengths_in_order(options: Mapping[str, Any]) -> None:
    """Of listops."""
    low, high = options["min_length"], options["max_length"]
    if low > high:
        raise ConfigError(
            f"data.options.min_length = {low}: must be at most data.options.max_length = {high}"
        )


RULES: dict[str, Callable[[Mapping[str, Any]], None]] = {
    "copying": _tokens_fit,
    "mqar": _pairs_fit,
    "listops": _lengths_in_order,
}
"""What the options of a task must be to each other."""
