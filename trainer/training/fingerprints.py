"""SHA-256 of what an attempt learns from, and of the user's own modules that it runs.

Of people's modules the files are read, not what Python made of them: those that the configuration names, and
what these import, as far as it lies in the same package or, for a module without one, beside it.
"""

import ast
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from hankelboard.settings.config import Config
from hankelboard.settings.families import FAMILIES
from hankelboard.settings.tasks import TASKS
from hankelboard.storage.fingerprints import MODEL, SPLITS
from hankelboard.storage.schema import Fingerprints
from hankelboard.trainer.data.task import Split, Task

OURS = "hankelboard"
DATA = "data.task"


def fingerprints(config: Config, task: Task) -> Fingerprints:
    """Return the fingerprints of a task and of the own modules that a configuration names."""
    family, row = FAMILIES.get(config.model.family), TASKS.get(config.data.task)
    named = {
        MODEL: family.layer if family else config.model.family,
        DATA: row.loader if row else config.data.task,
    }
    sources = {key: sources_of(name.partition(":")[0]) for key, name in named.items()}
    return {
        "data": {name: split_fingerprint(getattr(task, name), rounded=task.rounded) for name in SPLITS},
        "sources": {key: files for key, files in sources.items() if files},
    }


def split_fingerprint(split: Split, *, rounded: bool = False) -> str:
    """Return the fingerprint of inputs and labels: of each the type, the shape and the bytes.

    Parameters
    ----------
    rounded : bool
        Leave out the bytes of the inputs, which processors round differently.
    """
    hash = hashlib.sha256()
    for tensor, known in ((split.inputs, not rounded), (split.labels, True)):
        hash.update(f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}\n".encode())
        if known:
            hash.update(_bytes(tensor))
    return hash.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().data


def sources_of(module: str) -> dict[str, str]:
    """Return SHA-256 by file, relative to the folder that the package lies in; none for modules of ours."""
    loaded = sys.modules.get(module)
    file = getattr(loaded, "__file__", None)
    if module.partition(".")[0] == OURS or not file:
        return {}
    sources = _Sources(module, Path(file))
    return {path.relative_to(sources.root).as_posix(): _sha256(path) for path in sorted(sources.files())}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class _Sources:
    """The files of a module and of what it imports from its own package."""

    def __init__(self, module: str, file: Path):
        depth = module.count(".") + (file.name == "__init__.py")
        self.root = file.parents[depth]
        self._package = module.partition(".")[0]
        self._alone = depth == 0  # a module without a package: what lies beside it counts
        self._first = module, file

    def files(self) -> set[Path]:
        """Return all files, looked through for imports from the first one on."""
        found: set[Path] = set()
        waiting = [self._first, *self._parents(self._first[0])]
        while waiting:
            module, file = waiting.pop()
            if file not in found:
                found.add(file)
                waiting += self._imported(module, file)
        return found

    def _imported(self, module: str, file: Path) -> Iterator[tuple[str, Path]]:
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):  # compiled
            return
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        for name in _names(tree, package):
            if (path := self._find(name)) is not None:
                yield name, path
                yield from self._parents(name)

    def _parents(self, module: str) -> Iterator[tuple[str, Path]]:
        while module := module.rpartition(".")[0]:
            if (path := self._find(module)) is not None:
                yield module, path

    def _find(self, name: str) -> Path | None:
        """Return the file of a module of the package; None where it is another's, or only a name in one."""
        if not name or (name.partition(".")[0] != self._package and not self._beside(name)):
            return None
        place = self.root.joinpath(*name.split("."))
        candidates = (place / "__init__.py", place.with_name(f"{place.name}.py"))
        return next((path for path in candidates if path.is_file()), None)

    def _beside(self, name: str) -> bool:
        return self._alone and not self.root.name.endswith("-packages")


def _names(tree: ast.AST, package: str) -> Iterator[str]:
    """Yield what may be modules that a file imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, package)
            yield base
            yield from (f"{base}.{alias.name}" if base else alias.name for alias in node.names)


def _base(node: ast.ImportFrom, package: str) -> str:
    """Return the module that `from … import` names, dots resolved."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    above = parts[: len(parts) - node.level + 1]
    return ".".join([*above, *([node.module] if node.module else [])])
