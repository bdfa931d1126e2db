"""People's own code that a configuration names: which, whether it is allowed, what it is, unexecuted.

The command line is its owner's and starts anything. From a browser only what the owner of the server allowed
is started, and of that only what is defined there: a class of a model, or a function marked with
`@hankelboard.data`. Else `os:system` would be a function of data as good as any. No torch here.
"""

import ast
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar

from hankelboard.settings.families import FAMILIES
from hankelboard.settings.tasks import TASKS
from hankelboard.settings.toml import spelt_out
from hankelboard.storage.errors import ConfigError

MARK = "__hankelboard_data__"
ALLOW = "the owner of this server can allow it: hankelboard up --allow-code"
F = TypeVar("F", bound=Callable[..., Any])


def data(function: F) -> F:
    """Return the function, marked as one that loads data: a browser, too, may name it as `data.task`.

    >>> @data
    ... def load():
    ...     ...
    """
    setattr(function, MARK, True)
    return function


@dataclass(frozen=True, kw_only=True)
class Named:
    """A name of code in a configuration."""

    key: str
    name: str
    """`package.module:Name`."""
    folder: str
    """In which the module is looked for first."""
    is_model: bool

    @property
    def module(self) -> str:
        return self.name.partition(":")[0]

    @property
    def attribute(self) -> str:
        return self.name.partition(":")[2]

    def refusal(self, why: str) -> ConfigError:
        return ConfigError(f"{self.key} = {self.name!r}: {why}")


def own_code_named(config: Mapping[str, Any]) -> list[Named]:
    """Return all that a configuration would import, rows of Hankelboard and of plugins left out."""
    model, task = section(config, "model"), section(config, "data")
    named = []
    if (family := str(model.get("family", "lru"))) not in FAMILIES:
        named.append(Named(key="model.family", name=family, folder=str(model.get("path", "")), is_model=True))
    if (load := str(task.get("task", "digits"))) not in TASKS:
        named.append(Named(key="data.task", name=load, folder=str(task.get("path", "")), is_model=False))
    return named


def section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a section of a configuration of any quality, spelt out."""
    part = spelt_out(config).get(name)
    return part if isinstance(part, Mapping) else {}


def check_allowed(named: Named, allowed: Sequence[str]) -> None:
    """Raise ConfigError unless the name, its module or a package around that is among those allowed."""
    if not {named.name, *_prefixes(named.module)} & set(allowed):
        raise named.refusal(f"code of your own is not started from a browser here; {ALLOW} {named.module}")


def check_source(named: Named) -> None:
    """Raise ConfigError unless the source defines such a class or marked function. Nothing is imported."""
    path = _source_of(named)
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError) as error:
        raise named.refusal(f"{path} cannot be read: {error}") from None
    kinds = (ast.ClassDef,) if named.is_model else (ast.FunctionDef,)
    found = [node for node in tree.body if isinstance(node, kinds) and node.name == named.attribute]
    if not found:
        raise named.refusal(f"{path.name} defines no such {'class' if named.is_model else 'function'}")
    if not named.is_model and not any(map(_is_mark, found[-1].decorator_list)):
        raise named.refusal("the function is not marked with @hankelboard.data")


def _is_mark(decorator: ast.expr) -> bool:
    return ast.unparse(decorator).rpartition(".")[2] == data.__name__


def _source_of(named: Named) -> Path:
    """Return the file of a module. Its packages are not imported, as `importlib.util.find_spec` would."""
    places: Sequence[str] | None = [*filter(None, [named.folder]), *sys.path]
    spec: ModuleSpec | None = None
    for name in _prefixes(named.module):
        spec = PathFinder.find_spec(name, places) if places is not None else None
        places = spec.submodule_search_locations if spec else None
    if spec is None or not spec.has_location or not str(spec.origin).endswith(".py"):
        raise named.refusal(f"there is no {named.module.replace('.', '/')}.py in its folder or installed")
    return Path(str(spec.origin))


def _prefixes(module: str) -> Iterator[str]:
    """Yield a, a.b, a.b.c."""
    parts = module.split(".")
    return (".".join(parts[: count + 1]) for count in range(len(parts)))


def check_object(named: Named, found: object, model_type: type) -> None:
    """Raise ConfigError unless it is a class of `model_type`, or a marked function, that its module defines.

    An instance, an import from elsewhere or a function of another purpose is never called.
    """
    if getattr(found, "__module__", None) != named.module:
        raise named.refusal(f"is not defined in {named.module}")
    is_model = isinstance(found, type) and issubclass(found, model_type)
    if named.is_model and not is_model:
        raise named.refusal(f"is no {model_type.__name__}")
    is_data = isinstance(found, FunctionType) and vars(found).get(MARK) is True
    if not named.is_model and not is_data:
        raise named.refusal("the function is not marked with @hankelboard.data")
