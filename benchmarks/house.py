"""How the code base is built: folders, imports, functions, types.

    python -m benchmarks.house

Modules are those below the packages, wherever the packages are imported from: `storage.journal` and
`hankelboard.storage.journal` are the same file. Imports inside functions count, those for type checkers only
do not. A chain is the longest way through the imports that visits no module twice; modules that import each
other in a circle count as one.
"""

import ast
import statistics
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = tuple(name for name in ("storage", "settings", "comparison", "trainer", "app")
                 if (ROOT / name / "__init__.py").exists())  # fmt: skip
ONE_NAME = "hankelboard"
Row = tuple[str, ...]
Imports = dict[str, set[str]]


def rows() -> list[Row]:
    trees = {module_name(path): ast.parse(path.read_text()) for path in files()}
    lengths = sorted(function_lengths(trees))
    chain, circles = longest_chain(imports(trees))
    strict = mypy_files()
    return [
        ("what", "figure"),
        *((f"modules in {folder}", str(count)) for folder, count in sorted(folders().items())),
        ("modules", str(len(trees))),
        ("lines", f"{sum(len(path.read_text().splitlines()) for path in files()):,}"),
        ("functions and methods", f"{len(lengths):,}"),
        ("lines of a function: median, 95th percentile, longest",
         f"{statistics.median(lengths):.0f}, {lengths[len(lengths) * 95 // 100]}, {lengths[-1]}"),
        ("longest import chain", f"{len(chain)} modules: {' → '.join(chain)}"),
        ("modules in circles of imports", "; ".join(" ↔ ".join(sorted(c)) for c in circles) or "none"),
        ("files that mypy checks", f"{len(strict)} of {len(trees)} ({len(strict) / len(trees):.0%})"),
    ]  # fmt: skip


def files() -> list[Path]:
    """Files of the packages, without __init__.py that say nothing beyond a docstring."""
    found = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    found += sorted((ROOT / ONE_NAME).glob("*.py"))  # what lies there besides links
    return [path for path in found if path.name != "__init__.py" or len(ast.parse(path.read_text()).body) > 1]


def module_name(path: Path) -> str:
    """`trainer.cli` of trainer/cli/__init__.py: from the folders, not from the name of the import."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def folders() -> Counter[str]:
    """How many modules lie directly in each folder."""
    return Counter(f"{path.parent.relative_to(ROOT)}/" for path in files())


def function_lengths(trees: dict[str, ast.Module]) -> Iterator[int]:
    """Lines of each function, from `def` to its end, decorators not counted."""
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                yield node.end_lineno - node.lineno + 1


def imports(trees: dict[str, ast.Module]) -> Imports:
    """Which of our modules each module imports."""
    return {
        module: {name for name in imported(tree) if name in trees} - {module}
        for module, tree in trees.items()
    }


def imported(node: ast.AST) -> Iterator[str]:
    """Names of everything that is imported below a node, as modules and as members of modules."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (short(alias.name) for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            yield short(child.module)
            yield from (short(f"{child.module}.{alias.name}") for alias in child.names)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        else:
            yield from imported(child)


def short(name: str) -> str:
    return name.removeprefix(f"{ONE_NAME}.")


def longest_chain(graph: Imports) -> tuple[list[str], list[set[str]]]:
    """The longest chain, importer first, by one module of each circle; and the circles."""
    circles = {frozenset(round_trip(graph, module)) for module in graph}
    circle_of = {module: circle for circle in circles for module in circle}

    @cache
    def below(circle: frozenset[str]) -> tuple[frozenset[str], ...]:
        beyond = {circle_of[name] for module in circle for name in graph[module]} - {circle}
        return (circle, *max((below(one) for one in beyond), key=lambda way: (len(way), str(sorted(way[0]))),
                             default=()))  # fmt: skip

    chain = max((below(circle) for circle in circles), key=lambda way: (len(way), str(sorted(way[0]))))
    return [min(circle) for circle in chain], [set(circle) for circle in circles if len(circle) > 1]


def round_trip(graph: Imports, module: str) -> set[str]:
    """A module and those that it reaches and that reach it."""
    return {module} | {name for name in reached(graph, module) if module in reached(graph, name)}


def reached(graph: Imports, module: str) -> set[str]:
    found: set[str] = set()
    ahead = [module]
    while ahead:
        new = graph[ahead.pop()] - found
        found |= new
        ahead += new
    return found


def mypy_files() -> set[Path]:
    """Files that the configuration of mypy names, links followed, if it is strict; overrides are not seen."""
    mypy = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    paths = [path for name in mypy["files"] for path in ROOT.glob(name)]
    named = [one.resolve() for path in paths for one in (path, *path.glob("*"))]
    product = {path.resolve() for path in files()}
    return {path for path in product if mypy.get("strict") and any(path.is_relative_to(one) for one in named)}


if __name__ == "__main__":
    for row in rows():
        print(" | ".join(row), flush=True)
