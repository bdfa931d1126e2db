"""Every example in a docstring of the product is run: found in its source, so under decorators too."""

import ast
import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("access", "app", "comparison", "settings", "storage", "trainer")


def _examples():
    """(Module, line, text) of each docstring that has an example."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(("hankelboard", *path.relative_to(ROOT).with_suffix("").parts))
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Expr(value=ast.Constant(value=str(text))) if ">>>" in text:
                        yield pytest.param(module, node.lineno, text, id=f"{module}:{node.lineno}")


@pytest.mark.parametrize(("module", "line", "text"), list(_examples()))
def test_an_example_gives_what_it_shows(module, line, text):
    scope = dict(vars(import_module(module.removesuffix(".__init__"))))
    example = doctest.DocTestParser().get_doctest(text, scope, module, None, line)
    said = []
    assert doctest.DocTestRunner().run(example, out=said.append).failed == 0, "".join(said)
