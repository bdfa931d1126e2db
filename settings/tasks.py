"""The tasks, one row each, and what a configuration may say of them. No torch.

Everything that is known of a task outside the file that loads its data is its row in `TASKS`: see
docs/FAMILIES.md, "A task of your own".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hankelboard.settings.setting import suggest
from hankelboard.storage.errors import ConfigError

Limits = tuple[float, float, float]
"""Default, smallest and largest value of an option; whole numbers where the default is one."""


@dataclass(frozen=True, kw_only=True)
class TaskRow:
    """Data and what is asked of them."""

    name: str
    """Value of `data.task`."""
    title: str
    """For people."""
    description: str
    """One sentence: what a model is asked."""
    loader: str
    """`module:function` that makes a `hankelboard.trainer.data.task.Task` of a DataConfig."""
    options: Mapping[str, Limits] = field(default_factory=dict)
    """Numbers that `data.options` may hold; the file of the loader says what they are."""
    rule: Callable[[Mapping[str, Any]], None] | None = None
    """Raises ConfigError where options, defaults among them, do not go together."""
    file: str = ""
    """Option that is the path of a file of the user's."""
    per_step: bool = False
    """Whether every step has a label: the model then answers at every step."""
    text: bool = False
    """Whether labels are the next characters of a text."""
    small: Mapping[str, float] = field(default_factory=dict)
    """Options that make the task quick to load and to learn from: for tests and benchmarks/digests.py."""


TASKS: dict[str, TaskRow] = {}
"""All tasks by name."""


def register_task(task: TaskRow) -> TaskRow:
    """Add a row to `TASKS`.

    Raises
    ------
    ValueError
        If the name is taken, or a part of the row cannot be.
    """
    for problem in _problems(task):
        raise ValueError(f"task {task.name!r}: {problem}")
    TASKS[task.name] = task
    return task


def _problems(task: TaskRow) -> list[str]:
    """Return what is wrong with a new row, most important first."""
    module, _, function = task.loader.partition(":")
    names = (*module.split("."), function)
    within = all(low <= default <= high for default, low, high in task.options.values())
    checks = (
        (task.name.isidentifier(), "the name must be a word"),
        (task.name not in TASKS, "a task of this name is registered already"),
        (all(name.isidentifier() for name in names), f"loader = {task.loader!r} must be module:function"),
        (within, "the default of an option is outside its limits"),
        (task.file not in task.options, "the option that is a file is among the numbers"),
        (set(task.small) <= set(task.options), "small names what is no option"),
    )
    return [problem for holds, problem in checks if not holds]


def check_task(name: str, options: Mapping[str, Any]) -> None:
    """Raise ConfigError unless the task is known and takes these options, or is a function of the user's.

    A function of the user's checks its options itself.
    """
    if name in TASKS:
        task_options(name, options)
    elif ":" not in name:
        own = "data of your own are package.module:function"
        raise ConfigError(f"data.task = {name!r}: unknown{suggest(name, TASKS)}; {own}")


def takes_no_options(name: object) -> bool:
    """Return whether this is a task, and one without options."""
    task = TASKS.get(str(name))
    return task is not None and not task.options and not task.file


def task_options(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `data.options` of a task on top of its defaults; a file only where it is given.

    Raises
    ------
    ConfigError
        If an option is unknown, not a number of its kind, outside its limits, or does not go with another:
        names key, value and what is allowed.
    """
    task = TASKS[name]
    _check_names(task, given)
    for option, limits in task.options.items():
        if option in given:
            _check_number(option, given[option], limits)
    settled = {option: given.get(option, default) for option, (default, _, _) in task.options.items()}
    if task.rule is not None:
        task.rule(settled)
    if task.file and task.file in given:
        settled[task.file] = _path(task.file, given[task.file])
    return settled


def _check_names(task: TaskRow, given: Mapping[str, Any]) -> None:
    allowed = [*task.options, *([task.file] if task.file else [])]
    unknown = sorted(set(given) - set(allowed))
    if unknown and not allowed:
        raise ConfigError(f"data.options: {', '.join(unknown)} unknown; task {task.name} has no options")
    if unknown:
        raise ConfigError(f"data.options: {', '.join(unknown)} unknown; there are {', '.join(allowed)}")


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
    """Check that each token of copying has a step to be read and one to be asked for."""
    tokens, length = options["tokens"], options["length"]
    if 2 * tokens > length:
        raise ConfigError(
            f"data.options.tokens = {tokens}: must be at most half of data.options.length = {length}"
        )


def _pairs_fit(options: Mapping[str, Any]) -> None:
    """Check mqar: a pair takes two steps and its question one; half of the tokens, less a blank, are keys."""
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
    """Check that the shortest expression of listops is no longer than the longest."""
    low, high = options["min_length"], options["max_length"]
    if low > high:
        raise ConfigError(
            f"data.options.min_length = {low}: must be at most data.options.max_length = {high}"
        )


_DATA = "hankelboard.trainer.data"
_LENGTH = (1, 65_536)
_DRAWN: dict[str, Limits] = {"sequences": (20_000, 20, 1_000_000), "test": (2_000, 10, 100_000)}
_FEW = {"sequences": 600, "test": 50}

for _task in (
    TaskRow(
        name="digits",
        title="Digits",
        description="Which digit an image of 8 × 8 pixels shows, read pixel by pixel.",
        loader=f"{_DATA}.digits:load_digits_task",
    ),
    TaskRow(
        name="tones",
        title="Tones in noise",
        description="Which of some frequencies is hidden in a noisy sequence.",
        loader=f"{_DATA}.tones:load_tones_task",
        options={
            "classes": (10, 2, 1_000),
            "length": (128, *_LENGTH),
            "sequences": (4_000, 20, 1_000_000),
            "amplitude": (0.7, 0.0, 1e6),
        },
        small={"sequences": 600},
    ),
    TaskRow(
        name="listops",
        title="ListOps",
        description="The value of a nested expression of digits.",
        loader=f"{_DATA}.listops:load_listops_task",
        options={
            "sequences": (98_000, 20, 1_000_000),
            "test": (2_000, 10, 100_000),
            "max_depth": (10, 1, 100),
            "max_args": (10, 2, 100),
            "min_length": (500, *_LENGTH),
            "max_length": (2_000, *_LENGTH),
        },
        rule=_lengths_in_order,
        small={"sequences": 100, "test": 10, "max_depth": 5},
    ),
    TaskRow(
        name="copying",
        title="Copying",
        description="Tokens that stood among blanks, again and in order.",
        loader=f"{_DATA}.copying:load_copying_task",
        options={"length": (64, 2, 65_536), "tokens": (8, 1, 1_024), "vocabulary": (16, 2, 4_096), **_DRAWN},
        rule=_tokens_fit,
        per_step=True,
        small=_FEW,
    ),
    TaskRow(
        name="induction",
        title="Induction",
        description="The token that once followed the trigger.",
        loader=f"{_DATA}.induction:load_induction_task",
        options={"length": (64, 3, 65_536), "vocabulary": (16, 2, 4_096), **_DRAWN},
        per_step=True,
        small=_FEW,
    ),
    TaskRow(
        name="mqar",
        title="Associative recall",
        description="The value of every key that was read before.",
        loader=f"{_DATA}.mqar:load_mqar_task",
        options={"length": (64, 3, 65_536), "pairs": (8, 1, 4_096), "vocabulary": (64, 4, 16_384), **_DRAWN},
        rule=_pairs_fit,
        per_step=True,
        small=_FEW,
    ),
    TaskRow(
        name="text",
        title="Text",
        description="The next character of a text, from a file or of a small grammar.",
        loader=f"{_DATA}.text:load_text_task",
        options={"length": (128, *_LENGTH), "characters": (0, 0, 50_000_000)},
        file="file",
        per_step=True,
        text=True,
        small={"characters": 50_000},
    ),
    TaskRow(
        name="smnist",
        title="Sequential MNIST",
        description="Which digit an image of 28 × 28 pixels shows, read pixel by pixel.",
        loader=f"{_DATA}.smnist:load_smnist_task",
    ),
    TaskRow(
        name="cifar",
        title="Sequential CIFAR-10",
        description="What an image of 32 × 32 pixels shows, read pixel by pixel.",
        loader=f"{_DATA}.cifar:load_cifar_task",
    ),
):
    register_task(_task)
